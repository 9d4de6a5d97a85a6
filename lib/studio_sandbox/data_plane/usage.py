"""Usage: counted in Redis as it happens, written to the database once, some seconds later."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.data_plane.stores import Stores

# Whoever moves usage to the database holds this advisory lock of PostgreSQL's meanwhile.
ADVISORY_LOCK = "usage_flush"
SYNCED = "sync_usage_to_db"  # the source of rows that were made from counters alone
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext(%s))"
_AWAIT_LOCK = "SELECT pg_advisory_xact_lock(hashtext(%s))"
_INSERT = """
    INSERT INTO usage_logs (id, user_id, kind, amount, model, created_at, meta_json)
    SELECT given.id::uuid, users.id, given.kind, amount::integer, model, moment, meta_json::jsonb
    FROM (VALUES %s) AS given (id, user_id, kind, amount, model, moment, meta_json)
    JOIN users ON users.id::text = given.user_id
    ON CONFLICT (id) DO NOTHING
    RETURNING amount
"""
_TOTAL = """
    SELECT coalesce(sum(amount), 0)::bigint FROM usage_logs
    WHERE user_id::text = %s AND kind = %s AND created_at >= date_trunc('month', %s::timestamp)
"""
_COVERED = """
    SELECT user_id::text, kind, max((meta_json ->> 'counted_us')::bigint) FROM usage_logs
    WHERE kind = ANY (%s) AND created_at >= %s AND meta_json ->> 'source' = %s
    GROUP BY user_id, kind
"""
_MOST_PENDING = 50_000  # beyond which the oldest is lost: hours with a database that is gone


@dataclass(frozen=True)
class Used:
    """What one request used. `kind` is the table's: tokens, images, video."""

    user_id: str
    kind: str
    amount: int
    model: str
    route: str


@dataclass(frozen=True)
class _Row:
    id: str
    used: Used
    moment: datetime  # UTC without a zone, as the table has it
    counted_us: int  # when it was counted, in microseconds by the clock of Redis
    new_counter: str  # the counter's key, if there was none: it was cleared, or the month is new


class Meter:
    """Counters in Redis, and the rows that are still to be written. Safe between threads."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._pending: list[_Row] = []
        self._lock = threading.Lock()
        self._flushing = threading.Lock()

    @property
    def pending(self) -> int:
        """How many rows wait."""
        with self._lock:
            return len(self._pending)

    def count(self, redis_url: str, used: Used) -> None:
        """Count in Redis, and remember the row. Raises redis's errors: then nothing is counted."""
        moment = datetime.now(UTC).replace(tzinfo=None)
        key = _counter(used, moment)
        with self._lock:
            pipe = self._stores.redis(redis_url).pipeline(transaction=True)
            total, now = pipe.incrby(key, used.amount).time().execute()
            new = key if total == used.amount else ""
            self._pending.append(_Row(str(uuid.uuid4()), used, moment, microseconds(now), new))
            del self._pending[:-_MOST_PENDING]

    def flush(self, database_url: str, redis_url: str) -> int:
        """Write what waits, each row once; how many. Raises psycopg2's and redis's errors.

        A row keeps its id until it is known to be written: whatever is repeated or cut off
        between here and the server, it is in the table once. What was counted before the product's
        script last wrote what counters said is in its rows, and is not written again. A counter
        that had been cleared is set to what the database knows, so that nobody's month begins
        anew. Of a user who is not in the table nothing is written.
        """
        with self._flushing:
            with self._lock:
                rows = list(self._pending)
            if not rows:
                return 0
            with self._stores.database(database_url) as cursor:
                if not take_lock(cursor, wait=False):
                    return 0  # somebody else moves usage: next time
                insert(cursor, [_values(row) for row in _uncovered(cursor, rows)])
                totals = _totals(cursor, rows)
            with self._lock:
                del self._pending[: len(rows)]
                self._recount(redis_url, totals)
            return len(rows)

    def drop(self) -> None:
        """Forget what waits: everything was replaced."""
        with self._flushing, self._lock:
            self._pending.clear()

    def _recount(self, redis_url: str, totals: dict[str, int]) -> None:
        waiting: Counter[str] = Counter()
        for row in self._pending:
            waiting[_counter(row.used, row.moment)] += row.used.amount
        for key, total in totals.items():
            self._stores.redis(redis_url).set(key, total + waiting[key])


def take_lock(cursor: Any, *, wait: bool) -> bool:
    """Hold the lock of all who move usage until the transaction ends; False: another has it."""
    cursor.execute(_AWAIT_LOCK if wait else _TRY_LOCK, (ADVISORY_LOCK,))
    return bool(wait or cursor.fetchone()[0])


def insert(cursor: Any, values: list[tuple[Any, ...]]) -> list[int]:
    """Write rows of usage, as `_INSERT` names their values; the amounts of those that are new.

    A row whose id is there already is left as it is.
    """
    from psycopg2.extras import execute_values

    return [amount for (amount,) in execute_values(cursor, _INSERT, values, fetch=True)]


def microseconds(now: tuple[int, int]) -> int:
    """What TIME of Redis answers, as one number."""
    return now[0] * 1_000_000 + now[1]


def _counter(used: Used, moment: datetime) -> str:
    # imports redis, for which no start has to wait
    from studio_sandbox.seed.keys import COUNTERS

    return f"usage:{COUNTERS[used.kind]}:{used.user_id}:{moment:%Y-%m}"


def _values(row: _Row) -> tuple[Any, ...]:
    one, about = row.used, json.dumps({"route": row.used.route})
    return row.id, one.user_id, one.kind, one.amount, one.model, row.moment, about


def _uncovered(cursor: Any, rows: list[_Row]) -> list[_Row]:
    """Those that no row of the product's script stands for already."""
    oldest = min(row.moment for row in rows)
    cursor.execute(_COVERED, (sorted({row.used.kind for row in rows}), oldest, SYNCED))
    until = {(user, kind): counted_us for user, kind, counted_us in cursor.fetchall()}
    return [row for row in rows if row.counted_us > until.get((row.used.user_id, row.used.kind), 0)]


def _totals(cursor: Any, rows: list[_Row]) -> dict[str, int]:
    """What the database knows of counters that were new."""
    found = {}
    for row in rows:
        if row.new_counter:
            cursor.execute(_TOTAL, (row.used.user_id, row.used.kind, row.moment))
            found[row.new_counter] = int(cursor.fetchone()[0])
    return found
