"""`python -m scripts.sync_usage_to_db`: what was counted and never written is written now.

What the counters in Redis say and the table does not know is what was lost. It is read and written
under the lock that all who move usage share, one row for each counter that is ahead, with the
moment when it was read: whoever still holds rows of before knows that they are in it. So nothing
is written twice, however often this runs and whoever else writes.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from studio_sandbox.data_plane import stores, usage
from studio_sandbox.seed.keys import COUNTERS

_KINDS = {counter: kind for kind, counter in COUNTERS.items()}
_WAIT_S = 60  # for others who move usage
_WRITTEN = """
    SELECT user_id::text, kind, sum(amount)::bigint FROM usage_logs
    WHERE created_at >= %(month)s AND created_at < %(month)s + interval '1 month'
    GROUP BY user_id, kind
"""
Counter = tuple[str, str]  # user, kind
Counted = dict[datetime, dict[Counter, int]]  # by month, as the table has it: UTC without a zone


def main() -> None:
    """Write what is missing, and say how much that was, as one line of the log."""
    began = time.monotonic()
    database = stores.connect(os.environ["AI_STUDIO_DATABASE_URL"])
    with closing(database), database, database.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{_WAIT_S}s'")
        usage.take_lock(cursor, wait=True)
        counted, counted_us = _counted(os.environ["AI_STUDIO_REDIS_URL"])
        rows = [
            _row(month, counter, missing, counted_us)
            for month, counters in counted.items()
            for counter, missing in _missing(cursor, month, counters).items()
        ]
        amounts = usage.insert(cursor, rows)
    _say(
        "usage synced",
        rows=len(amounts),
        amount=sum(amounts),
        counters=sum(map(len, counted.values())),
        took_ms=round((time.monotonic() - began) * 1000),
    )


def _counted(url: str) -> tuple[Counted, int]:
    """What the counters say, and when they said it by the clock of Redis."""
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=10) as server:
        keys = [key for key in server.scan_iter("usage:*", count=1000) if key.count(":") == 3]
        values, now = server.pipeline(transaction=True).mget(keys or "-").time().execute()
    found: Counted = {}
    for key, value in zip(keys, values, strict=False):
        _, counter, user, month = key.split(":")
        if counter in _KINDS and value is not None:
            counters = found.setdefault(datetime.strptime(month, "%Y-%m"), {})  # noqa: DTZ007  UTC
            counters[user, _KINDS[counter]] = int(value)
    return found, usage.microseconds(now)


def _missing(cursor: Any, month: datetime, counters: dict[Counter, int]) -> dict[Counter, int]:
    """How far each counter is ahead of the table."""
    cursor.execute(_WRITTEN, {"month": month})
    written = {(user, kind): total for user, kind, total in cursor.fetchall()}
    differences = {one: total - written.get(one, 0) for one, total in counters.items()}
    return {one: missing for one, missing in differences.items() if missing > 0}


def _row(month: datetime, counter: Counter, missing: int, counted_us: int) -> tuple[Any, ...]:
    """One row for one counter, in its month; which models it was, nobody knows any more."""
    user, kind = counter
    now = datetime.fromtimestamp(counted_us / 1e6, UTC).replace(tzinfo=None)
    after = (month + timedelta(days=31)).replace(day=1)
    moment = min(now, after - timedelta(microseconds=1))
    about = json.dumps({"source": usage.SYNCED, "counted_us": counted_us})
    return str(uuid.uuid4()), user, kind, missing, None, moment, about


def _say(message: str, **more: Any) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"timestamp": moment, "level": "INFO", "message": message, "trace_id": None,
            "user_id": None}  # fmt: skip
    sys.stdout.write(json.dumps(line | more) + "\n")


if __name__ == "__main__":
    main()
