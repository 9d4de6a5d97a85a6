"""Usage: counted in Redis at once, and written to `usage_logs` a little later.

The counter of a user, a kind and a month is `usage:KIND:USER:YYYY-MM`; the table's rows of that
month add up to it, but for what was counted since the last time usage was written. So a counter
that has not moved and still differs is a drift, and one that moves is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook.wait import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    import redis
    import sqlalchemy

KINDS = {"tokens": "tokens", "images": "images", "videos": "video"}  # in a key, in the table
TABLE = "usage_logs"
PATTERN = "usage:*:*:*"
_BY_MONTH = """
    SELECT kind, user_id::text, to_char(created_at, 'YYYY-MM'), sum(amount)::bigint
    FROM usage_logs GROUP BY 1, 2, 3
"""
_BATCH = 1000  # keys of one MGET
_SUMS = """
    SELECT kind, user_id::text, sum(amount)::bigint FROM usage_logs
    WHERE created_at >= :begin GROUP BY kind, user_id
"""
Counters = dict[tuple[str, str], int]  # by kind and user


@dataclass(frozen=True)
class Apart:
    """One counter that the table does not add up to."""

    user: str
    kind: str  # as the table has it
    counted: int
    written: int

    @property
    def amount(self) -> int:
        """What was counted less what was written."""
        return self.counted - self.written


def read_apart(
    redis: redis.Redis,
    database: sqlalchemy.Engine,
    *,
    settle_s: float,
    clock: Clock = SYSTEM_CLOCK,
) -> tuple[Apart, ...]:
    """Counters of this month that the table does not add up to, the furthest apart first.

    Where some differ it looks again after `settle_s`, in which what was counted is written: what
    has moved meanwhile is left out. The counters that are gone say nothing.
    """
    month = clock.now()
    first = _apart(_counted(redis, month), _written(database, month))
    if not first:
        return ()
    clock.sleep(settle_s)
    counted, written = _counted(redis, month), _written(database, month)
    found = [
        Apart(who[1], who[0], counted[who], written.get(who, 0))
        for who, amount in _apart(counted, written).items()
        if first.get(who) == amount
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.amount), one.user, one.kind)))


def read_drift(
    redis: redis.Redis,
    database: sqlalchemy.Engine,
    *,
    settle_s: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Counters:
    """By how much counters of this month are apart from the table, by kind and user."""
    found = read_apart(redis, database, settle_s=settle_s, clock=clock)
    return {(one.kind, one.user): one.amount for one in found}


def count_counters(redis: redis.Redis, *, clock: Clock = SYSTEM_CLOCK) -> int:
    """How many counters there are of this month."""
    return len(_counted(redis, clock.now()))


@dataclass(frozen=True)
class Counter:
    """One counter beside what the table has of it. `month` is YYYY-MM."""

    key: str
    kind: str
    user: str
    month: str
    counted: int
    written: int

    @property
    def apart(self) -> int:
        """How much more was counted than written."""
        return self.counted - self.written


def read_counters(redis: redis.Redis, database: sqlalchemy.Engine) -> dict[str, Counter]:
    """Every counter of every month, by key, beside the table's sum of its month.

    Counters are read first: what is written meanwhile makes them look unwritten, and never the
    other way round.
    """
    import sqlalchemy

    values = dict(_all_counted(redis))
    with database.connect() as connection:
        rows = connection.execute(sqlalchemy.text(_BY_MONTH)).all()
    sums = {(kind, user, month): int(amount) for kind, user, month, amount in rows}
    found = {}
    for key, counted in values.items():
        _, kind, user, month = key.split(":")
        written = sums.get((KINDS[kind], user, month), 0)
        found[key] = Counter(key, KINDS[kind], user, month, counted, written)
    return found


def _all_counted(redis: redis.Redis) -> Iterator[tuple[str, int]]:
    for keys in _batches(redis.scan_iter(PATTERN, count=_BATCH)):
        values: Any = redis.mget(keys)
        for key, value in zip(keys, values, strict=True):
            if value is not None and key.split(":")[1] in KINDS:
                yield key, int(value)


def _apart(counted: Counters, written: Counters) -> Counters:
    """What was counted less what was written, where they differ. Pure."""
    return {
        who: amount - written.get(who, 0)
        for who, amount in counted.items()
        if amount != written.get(who, 0)
    }


def _counted(redis: redis.Redis, month: datetime) -> Counters:
    found: Counters = {}
    for keys in _batches(redis.scan_iter(f"usage:*:*:{month:%Y-%m}", count=_BATCH)):
        values: Any = redis.mget(keys)
        for key, value in zip(keys, values, strict=True):
            _, kind, user, _ = key.split(":")
            if kind in KINDS and value is not None:
                found[KINDS[kind], user] = int(value)
    return found


def _batches(keys: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for key in keys:
        batch.append(key)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _written(database: sqlalchemy.Engine, month: datetime) -> Counters:
    import sqlalchemy

    begin = month.replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    with database.connect() as connection:
        rows = connection.execute(sqlalchemy.text(_SUMS), {"begin": begin})
        return {(kind, user): int(amount) for kind, user, amount in rows}


def summed(drift: Mapping[tuple[str, str], int]) -> tuple[int, int]:
    """How many users drift with more counted than written, and how many the other way."""
    more = {user for (_, user), amount in drift.items() if amount > 0}
    less = {user for (_, user), amount in drift.items() if amount < 0}
    return len(more), len(less)
