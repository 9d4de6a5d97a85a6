"""Rows of a table as a kind of change: `sql-rows`, in chunks, each row judged by itself.

A chunk is one short transaction: rows that are still as planned are updated (those that somebody
else holds are passed over, SKIP LOCKED), the intent is put on record with the transaction's id and
just these rows, then it is committed: before that nothing has changed for anybody. What became of a
transaction whose commit was never answered is asked of the server (`pg_xact_status`), so that no
row is changed twice. Two chunks are under way at a time, each in a session of its own.

The set's header names the table, its key column and `stamp`: the column that is set to the time
of the change (UTC, without time zone) where a row's `after` does not give it.

Source: PostgreSQL documentation, SELECT (the locking clause) and Transaction ID functions.
"""

from __future__ import annotations

import gc
import json
import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import BadInput, NotVerified
from runbook.record.journal import Intent

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection, Engine, Transaction

KIND = "sql-rows"
CHUNK = 1000  # rows of one transaction: a worker never waits longer than it takes
_UNDER_WAY = 2  # chunks: the server is at work on one while the other is made ready or recorded

Row = dict[str, Json]
Chunk = Sequence[tuple[int, Row]]  # rows with their positions in the set
# Of rows: `keys` and `places` (ctid), each an array as the server writes it.
Places = dict[str, str]


@dataclass(frozen=True)
class Table:
    """The table that a set speaks of, and the columns of its rows; `stamp` empty: it has none."""

    name: str
    key: str
    stamp: str
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in filter(None, (self.name, self.key, self.stamp, *self.columns)):
            if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
                raise BadInput(f"{name!r} is not a plain table or column name.")

    def header(self) -> dict[str, Json]:
        """What the first line of the set's file says."""
        return {
            "table": self.name,
            "key": self.key,
            "stamp": self.stamp,
            "columns": list(self.columns),
        }

    @classmethod
    def of(cls, header: Mapping[str, Json]) -> Table:
        """The table that a header names."""
        return cls(header["table"], header["key"], header["stamp"], tuple(header["columns"]))

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"postgresql:{self.name}"


def plan_update(
    table: Table,
    rows: Iterable[Row],
    *,
    before: Json,
    after: Json,
    every: Mapping[str, Json] | None = None,
) -> Change:
    """The change of a set of rows; each has `key`, `before` and `after`.

    `before` and `after` of the change are its summary, for the reader; `every` has what all rows
    have in common.
    """
    made = RowSet.of(table.header(), rows, every=every)
    return Change(KIND, table.target, before, after, rows=made)


def as_of(value: Any) -> str:
    """A timestamp as PostgreSQL's JSON writes it: `2026-11-24T08:45:12.5`, UTC, no zone."""
    text: str = value.isoformat()
    return text


def times_as_of(values: pd.Series) -> list[str]:
    """Timestamps without time zone, as `as_of` writes one; of a million in a second."""
    import numpy as np

    texts: list[str] = np.datetime_as_string(values.to_numpy("datetime64[us]")).tolist()
    return texts


@dataclass
class _Done:
    """What became of some rows: how many were changed, and read back as we left them."""

    changed: int = 0
    as_left: int = 0
    after: Json = field(default_factory=dict)  # of one of them
    skipped: list[tuple[int, Row]] = field(default_factory=list)  # were held, or have moved
    stayed: int = 0  # of these: nobody held them, and yet the server left them as they were

    def add(self, other: _Done) -> None:
        self.changed += other.changed
        self.as_left += other.as_left
        self.after = self.after or other.after


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Update every row that is still as planned; a second look for those that were held."""
    table, writer = Table.of(rows.header), clients.database_writer
    total = change.rows.count if change.rows else 0
    all_done, seen = _Done(), 0
    for done in _two_at_a_time(lambda chunk: _apply_chunk(writer, table, chunk, steps), rows):
        all_done.add(done)
        all_done.skipped += done.skipped
        seen += done.changed + len(done.skipped)
        steps.progress(seen, total)
    for start in range(0, len(all_done.skipped), CHUNK):
        done = _apply_chunk(writer, table, all_done.skipped[start : start + CHUNK], steps)
        if done.stayed:
            raise _not_verified(table, done.stayed, total)
        all_done.add(done)
    counts = {"rows": all_done.changed, "as_left": all_done.as_left}
    return {**all_done.after, **counts, "moved_on": total - all_done.changed}


def _two_at_a_time(work: Callable[[Chunk], _Done], rows: Rows) -> Iterator[_Done]:
    """What becomes of each chunk, in their order. When one fails no other is begun, and those that
    are under way come to their end first."""
    pool = ThreadPoolExecutor(_UNDER_WAY, thread_name_prefix="rows")
    under_way: deque[Future[_Done]] = deque()
    gc.freeze()  # a chunk is soon forgotten: what was there before is not looked through for each
    try:
        for chunk in chunks(rows):
            under_way.append(pool.submit(work, chunk))
            if len(under_way) > _UNDER_WAY:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


def _apply_chunk(writer: Engine, table: Table, chunk: Chunk, steps: Steps) -> _Done:
    """One transaction, and a look at what it left. Raises NotVerified."""
    from sqlalchemy import text

    with writer.connect() as connection:
        with connection.begin() as transaction:
            stamp, xid = connection.execute(
                text(
                    "SELECT to_jsonb(now() AT TIME ZONE 'UTC') #>> '{}', pg_current_xact_id()::text"
                )
            ).one()
            batch = _Batch.of(table, [row for _, row in chunk]).stamped(stamp)
            changed, stayed, there = _update(connection, batch)
            others = [one for one in chunk if one[1]["key"] not in changed]
            if not changed:
                return _Done(skipped=others, stayed=stayed)
            mine = [index for index, row in chunk if row["key"] in changed]
            with steps.step({"rows": ranges(mine), "stamp": stamp, "xid": xid}) as step:
                with rolled_back_on_error(transaction):
                    transaction.commit()
                step.left["rows"] = len(mine)
        batch = batch.only(changed) if others else batch
        seen = _verify(connection, batch, there)
        return _Done(len(mine), seen, batch.after[0], others, stayed)


@dataclass(frozen=True)
class _Batch:
    """Rows that one statement is about: their keys, and their images on both sides, in order."""

    table: Table
    keys: list[str]
    before: list[Row]
    after: list[Row]

    @classmethod
    def of(cls, table: Table, rows: Sequence[Row]) -> _Batch:
        both = ([row[side] for row in rows] for side in ("before", "after"))
        return cls(table, [row["key"] for row in rows], *both)

    @property
    def alike(self) -> bool:
        """Whether all are to be the same."""
        return self.after.count(self.after[0]) == len(self.after)

    def stamped(self, stamp: str) -> _Batch:
        """The same, in which every `after` is known."""
        if self.alike:
            after = [_stamped(self.table, self.after[0], stamp)] * len(self.after)
        else:
            after = [_stamped(self.table, image, stamp) for image in self.after]
        return replace(self, after=after)

    def only(self, keys: Container[str]) -> _Batch:
        """Those of its rows that have one of these keys."""
        each = zip(self.keys, self.before, self.after, strict=True)
        kept = [{"key": k, "before": b, "after": a} for k, b, a in each if k in keys]
        return _Batch.of(self.table, kept)

    def but(self, keys: Container[str]) -> _Batch:
        """Those that have none of them."""
        return self.only({key for key in self.keys if key not in keys})

    def given(self, side: str) -> list[str]:
        """The columns that this side of the rows gives, as their first one does."""
        first = getattr(self, side)[0]
        columns = self.table.columns
        return [name for name in columns if _known(first.get(name, KNOWN_AFTER_APPLY))]

    def same(self, side: str) -> str:
        """Every column that this side of the rows gives is as given; a null equals a null."""
        given = self.given(side)
        return " AND ".join(f"t.{n} IS NOT DISTINCT FROM {side}.{n}" for n in given) or "true"

    def records(self, side: str) -> str:
        """The rows as `jsonb_populate_recordset` wants them."""
        key, given, images = self.table.key, self.given(side), getattr(self, side)
        if len(given) < len(images[0]):
            images = [{name: image.get(name) for name in given} for image in images]
        listed = [{key: k, **image} for k, image in zip(self.keys, images, strict=True)]
        return json.dumps(listed, ensure_ascii=False)

    def joined_after(self) -> tuple[str, str]:
        """Records of `after`, and how they are joined to the rows: one for all that are alike."""
        if self.alike:
            return replace(self, keys=self.keys[:1], after=self.after[:1]).records("after"), ""
        return self.records("after"), f" AND t.{self.table.key} = after.{self.table.key}"


@contextmanager
def rolled_back_on_error(transaction: Transaction) -> Iterator[None]:
    """Close the transaction before anybody asks what became of it: an open one cannot tell."""
    try:
        yield
    except BaseException:
        transaction.rollback()
        raise


def _update(connection: Connection, batch: _Batch) -> tuple[set[str], int, Places]:
    """Update the rows that are as planned and that nobody holds: their keys, how many of them the
    server left as they were (a trigger can), and where those are that it did not.

    They are found by key and locked first; where a row is (its ctid) stays true while it is. One
    that was written just before it was locked is not seen here: it is left for the second look.
    """
    from sqlalchemy import text

    name, key = batch.table.name, batch.table.key  # names: checked by Table
    assigned = ", ".join(f"{column} = after.{column}" for column in batch.table.columns)
    after, joined = batch.joined_after()
    query = text(
        f"WITH held AS (SELECT t.{key} AS key, t.ctid AS place FROM {_joined(batch, 'before')} "
        "FOR UPDATE OF t SKIP LOCKED), "
        f"done AS (UPDATE {name} t SET {assigned} FROM held, {_recordset(batch.table, 'after')} "
        f"WHERE t.ctid = held.place AND t.{key} = held.key{joined} "
        f"RETURNING t.{key}::text AS key, t.ctid AS place) "
        "SELECT (SELECT count(*) FROM held), array_agg(key), array_agg(key)::text, "
        "array_agg(place)::text FROM done"
    )
    found = connection.execute(query, {"before": batch.records("before"), "after": after})
    held, changed, keys, places = found.one()
    changed = set(changed or ())
    return changed, held - len(changed), {"keys": keys, "places": places}


def _verify(connection: Connection, batch: _Batch, there: Places) -> int:
    """How many of the rows read as we left them, most of them where we left them.

    Raises NotVerified when one reads as it was before.
    """
    from sqlalchemy import text

    name, key = batch.table.name, batch.table.key
    after, joined = batch.joined_after()
    query = text(
        f"SELECT array_agg(t.{key}::text) FROM {name} t, {_recordset(batch.table, 'after')} "
        "WHERE t.ctid = ANY (CAST(:places AS tid[])) "
        f"AND t.{key}::text = ANY (CAST(:keys AS text[])){joined} "  # partitions share places
        f"AND {batch.same('after')}"
    )
    seen = set(connection.execute(query, {**there, "after": after}).scalar_one() or ())
    if len(seen) == len(batch.keys):
        return len(seen)
    elsewhere = batch.but(seen)
    if unchanged := _count(connection, elsewhere, "before"):
        raise _not_verified(batch.table, unchanged, len(batch.keys))
    return len(seen) + _count(connection, elsewhere, "after")


def _not_verified(table: Table, unchanged: int, of: int) -> NotVerified:
    return NotVerified(
        f"{unchanged:,} of {of:,} rows of {table.name} read as before the change.",
        next="Look at the table before doing anything else.",
    )


def _count(connection: Connection, batch: _Batch, side: str) -> int:
    """How many of the rows are as their `before` or `after` says."""
    from sqlalchemy import text

    query = text(f"SELECT count(*) FROM {_joined(batch, side)}")
    return int(connection.execute(query, {side: batch.records(side)}).scalar_one())


def _joined(batch: _Batch, side: str) -> str:
    """The table `t`, joined to the rows by key, where they are as this side says."""
    name, key = batch.table.name, batch.table.key
    on = f"t.{key} = {side}.{key}"
    return f"{name} t JOIN {_recordset(batch.table, side)} ON {on} WHERE {batch.same(side)}"


def _recordset(table: Table, side: str) -> str:
    """The rows of that side, under its name."""
    return f"jsonb_populate_recordset(NULL::{table.name}, CAST(:{side} AS jsonb)) AS {side}"


def _known(value: Json) -> bool:
    return bool(value != KNOWN_AFTER_APPLY)


def _stamped(table: Table, after: Row, stamp: str) -> Row:
    """An `after` in which everything is known."""
    if not table.stamp or _known(after.get(table.stamp, KNOWN_AFTER_APPLY)):
        return after
    return {**after, table.stamp: stamp}


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while one row is as planned; in place when every row is; else it has moved."""
    if rows is None:
        return Judgement("moved", ("its rows are not on record",))
    table, planned, in_place = Table.of(rows.header), 0, 0
    with clients.database.connect() as connection:
        for chunk in chunks(rows):
            batch = _Batch.of(table, [row for _, row in chunk])
            if _count(connection, batch, "before"):
                return Judgement("to do")
            planned += len(chunk)
            in_place += _count(connection, batch, "after")
    if in_place == planned:
        return Judgement("holds")
    return Judgement("moved", (f"none of {planned:,} rows is as it was when this was planned",))


def settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """Whether the intent's transaction was committed; None while it is open, or long forgotten."""
    from sqlalchemy import text

    query = text("SELECT pg_xact_status(CAST(:xid AS xid8))")
    with clients.database.connect() as connection:
        status = connection.execute(query, {"xid": intent.detail["xid"]}).scalar_one()
    return {"committed": True, "aborted": False}.get(status)


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Each row that was changed, from what we left to what was there."""
    if rows is None or not done:
        return None
    table = Table.of(rows.header)
    stamps = {
        index: intent.detail["stamp"]
        for intent, _ in done
        for first, last in intent.detail["rows"]
        for index in range(first, last + 1)
    }
    back = [
        {
            "key": row["key"],
            "before": _stamped(table, row["after"], stamps[index]),
            "after": row["before"],
        }
        for index, row in enumerate(rows)
        if index in stamps
    ]
    before, after = ({**side, "rows": len(back)} for side in (change.after, change.before))
    return plan_update(table, back, before=before, after=after)


def _read(clients: Clients, target: str) -> Json:
    """Nothing: a set is judged row by row, never as a whole."""
    return {}


def _measure(change: Change) -> Mapping[str, float]:
    return {"rows": change.rows.count if change.rows else 0}


def chunks(rows: Rows) -> Iterator[list[tuple[int, Row]]]:
    numbered = enumerate(rows)
    while chunk := list(islice(numbered, CHUNK)):
        yield chunk


def ranges(indexes: Sequence[int]) -> list[list[int]]:
    """Positions as ranges, both ends in: `[0, 1, 2, 5]` is `[[0, 2], [5, 5]]`."""
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ranges


register(
    KIND,
    read=_read,
    apply_pieces=_apply,
    judge=_judge,
    settled=settled,
    measure=_measure,
    take_back=_take_back,
)
