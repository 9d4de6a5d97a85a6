"""Rows that are removed, and put back whole, as a kind of change: `sql-rows-removed`.

A row of the set is one row of the table, as JSON, absent where its side is null. A chunk is one
short transaction, as in `rows`: what is still exactly as planned is locked, what somebody holds is
passed over, and what became of a transaction whose commit was not answered is asked of the server.
A row that is there again is never written over.

Source: PostgreSQL documentation, JSON functions (jsonb_populate_recordset), INSERT (ON CONFLICT).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import NotVerified
from runbook.record.journal import Intent
from runbook.studio import rows as sql
from runbook.studio.rows import Row, Table

if TYPE_CHECKING:
    from sqlalchemy import Connection

KIND = "sql-rows-removed"


def plan_remove(table: Table, images: Iterable[Json]) -> Change:
    """The change that removes these rows, each given whole, as `to_jsonb` has it."""
    listed = [{"key": image[table.key], "before": image, "after": None} for image in images]
    return _change(table, listed, before=len(listed), after=0)


def _change(table: Table, listed: Sequence[Row], *, before: int, after: int) -> Change:
    rows = RowSet.of(table.header(), listed)
    return Change(KIND, table.target, {"rows": before}, {"rows": after}, rows=rows)


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Remove or put back what is still as planned, a chunk at a time; each is read back."""
    table, total, made = Table.of(rows.header), change.rows.count if change.rows else 0, 0
    for chunk in sql.chunks(rows):
        made += _apply_chunk(clients, table, chunk, steps)
        steps.progress(made, total)
    return {**change.after, "rows": made, "as_left": made, "moved_on": total - made}


def _apply_chunk(
    clients: Clients, table: Table, chunk: Sequence[tuple[int, Row]], steps: Steps
) -> int:
    from sqlalchemy import text

    removes = chunk[0][1]["after"] is None
    with clients.database_writer.connect() as connection, connection.begin() as transaction:
        ready = _lock(connection, table, chunk) if removes else _missing(connection, table, chunk)
        mine = [(index, row) for index, row in chunk if row["key"] in ready]
        if not mine:
            return 0
        xid = connection.execute(text("SELECT pg_current_xact_id()::text")).scalar_one()
        with steps.step({"rows": sql.ranges([index for index, _ in mine]), "xid": xid}) as step:
            with sql.rolled_back_on_error(transaction):
                (_delete if removes else _insert)(connection, table, mine)
                transaction.commit()
            step.left["rows"] = len(mine)
    _verify(clients, table, mine)
    return len(mine)


def _lock(connection: Connection, table: Table, chunk: Sequence[tuple[int, Row]]) -> set[str]:
    """Lock the rows that are exactly as planned and that nobody holds; returns their keys."""
    return _asked(
        connection,
        f"SELECT t.{table.key}::text FROM {table.name} t JOIN {_listed(table)} "  # noqa: S608
        "WHERE to_jsonb(t) = to_jsonb(l) FOR UPDATE OF t SKIP LOCKED",
        chunk,
        "before",
    )


def _missing(connection: Connection, table: Table, chunk: Sequence[tuple[int, Row]]) -> set[str]:
    """The keys of the rows that are not there."""
    query = f"SELECT t.{table.key}::text FROM {table.name} t JOIN {_listed(table)}"  # noqa: S608
    return {row["key"] for _, row in chunk} - _asked(connection, query, chunk, "after")


def _delete(connection: Connection, table: Table, mine: Sequence[tuple[int, Row]]) -> None:
    _asked(
        connection,
        f"DELETE FROM {table.name} t USING {_recordset(table)} l "  # noqa: S608
        f"WHERE t.{table.key} = l.{table.key} RETURNING t.{table.key}::text",
        mine,
        "before",
    )


def _insert(connection: Connection, table: Table, mine: Sequence[tuple[int, Row]]) -> None:
    _asked(
        connection,
        f"INSERT INTO {table.name} SELECT * FROM {_recordset(table)} ON CONFLICT DO NOTHING"  # noqa: S608
        f" RETURNING {table.key}::text",
        mine,
        "after",
    )


def _verify(clients: Clients, table: Table, mine: Sequence[tuple[int, Row]]) -> None:
    """Raises NotVerified when one of these rows reads as before the change."""
    states = _states(clients, table, mine)
    same = [key for key, state in states.items() if state == "before"]
    if same:
        raise NotVerified(
            f"{len(same):,} of {len(mine):,} rows of {table.name} read as before the change.",
            next="Look at the table before doing anything else.",
        )


def _states(clients: Clients, table: Table, chunk: Sequence[tuple[int, Row]]) -> dict[str, str]:
    """Of each row: `before`, `after`, or `moved`."""
    side = "before" if chunk[0][1]["after"] is None else "after"
    other = "after" if side == "before" else "before"
    listed = f"SELECT t.{table.key}::text FROM {table.name} t JOIN {_listed(table)}"  # noqa: S608
    with clients.database.connect() as connection:
        same = _asked(connection, f"{listed} WHERE to_jsonb(t) = to_jsonb(l)", chunk, side)
        there = _asked(connection, listed, chunk, side)
    return {
        row["key"]: side if row["key"] in same else "moved" if row["key"] in there else other
        for _, row in chunk
    }


def _recordset(table: Table) -> str:
    return f"jsonb_populate_recordset(NULL::{table.name}, CAST(:listed AS jsonb))"


def _listed(table: Table) -> str:
    return f"{_recordset(table)} l ON t.{table.key} = l.{table.key}"


def _asked(
    connection: Connection, query: str, chunk: Sequence[tuple[int, Row]], side: str
) -> set[str]:
    """The keys that a query gives for rows of one side; names in it are checked by Table."""
    from sqlalchemy import text

    listed = json.dumps([row[side] for _, row in chunk], ensure_ascii=False)
    return set(connection.execute(text(query), {"listed": listed}).scalars())


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while one row is as planned; in place when every row is; else it has moved."""
    if rows is None:
        return Judgement("moved", ("its rows are not on record",))
    table, moved = Table.of(rows.header), 0
    for chunk in sql.chunks(rows):
        states = list(_states(clients, table, chunk).values())
        if "before" in states:
            return Judgement("to do")
        moved += states.count("moved")
    if not moved:
        return Judgement("holds")
    return Judgement("moved", (f"{moved:,} rows of {table.name} are neither as planned nor gone",))


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Each row that was removed or put back, the other way round."""
    if rows is None or not done:
        return None
    made = {
        index
        for intent, _ in done
        for first, last in intent.detail["rows"]
        for index in range(first, last + 1)
    }
    back = [
        {"key": row["key"], "before": row["after"], "after": row["before"]}
        for index, row in enumerate(rows)
        if index in made
    ]
    count = len(back)
    removes = bool(back) and back[0]["after"] is None
    before, after = (count, 0) if removes else (0, count)
    return _change(Table.of(rows.header), back, before=before, after=after) if back else None


def _measure(change: Change) -> Mapping[str, float]:
    return {"rows": change.rows.count if change.rows else 0}


register(
    KIND,
    read=lambda clients, target: {},  # a set is judged row by row, never as a whole
    apply_pieces=_apply,
    judge=_judge,
    settled=sql.settled,
    measure=_measure,
    take_back=_take_back,
)
