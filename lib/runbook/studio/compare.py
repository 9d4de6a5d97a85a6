"""Two databases compared, table by table and row by row: what one has that the other has not.

Both are read in the order of their primary keys, side by side, in one pass with the memory of two
rows: a table of any size. A row is compared by a checksum of all its columns.

Source: https://www.postgresql.org/docs/current/catalog-pg-constraint.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook.table import Table

if TYPE_CHECKING:
    import sqlalchemy

STAMP = "created_at"  # of all tables that have rows of users; UTC without a time zone
_KEPT = 1000  # keys that are told, of each table
_AT_ONCE = 5000  # rows of one fetch
_WITHIN_S = 3600

_TABLES = """
    SELECT c.relname AS name,
           coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                     WHERE i.indrelid = c.oid AND i.indisprimary), '{}') AS key,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = :stamp
                   AND NOT a.attisdropped) AS stamped
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public' ORDER BY 1
"""
_SCHEMA = """
    SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type
           || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""
_KEYS = """
    SELECT conname AS name, conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
           (SELECT array_agg(quote_ident(attname) ORDER BY o) FROM unnest(conkey) WITH ORDINALITY
            AS k (n, o) JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = n) AS mine,
           (SELECT array_agg(quote_ident(attname) ORDER BY o) FROM unnest(confkey) WITH ORDINALITY
            AS k (n, o) JOIN pg_attribute a ON a.attrelid = confrelid AND a.attnum = n) AS theirs
    FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""


@dataclass
class Compared:
    """One table in both: rows that only one of them has, and rows whose content differs."""

    name: str
    now: int = 0
    restored: int = 0
    lost: int = 0  # only the one of now has them
    back: int = 0  # only the restored one has them
    differ: int = 0
    lost_keys: list[tuple[str, str]] = field(default_factory=list)  # the first of them, with stamp
    newest_now: str = ""
    newest_restored: str = ""
    missing: bool = False  # the restored one has no such table


@dataclass(frozen=True)
class Comparison:
    """A database beside its restored one. `orphans` are rows of the restored one without parent."""

    tables: tuple[Compared, ...]
    schema: tuple[str, ...]  # what differs, with - for now alone and + for restored alone
    orphans: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether the restored one is consistent in itself: its schema and its foreign keys."""
        return not self.schema and not any(self.orphans.values())

    @property
    def lost(self) -> int:
        """Rows that would be lost by using the restored one."""
        return sum(one.lost for one in self.tables)

    def table(self) -> Table:
        """Each table in both, to be read."""
        import pandas as pd

        rows = [
            {
                "table": one.name,
                "rows now": one.now,
                "restored": one.restored,
                "would be lost": one.lost,
                "come back": one.back,
                "other content": one.differ,
                "newest now": one.newest_now[:19],
                "newest restored": one.newest_restored[:19],
            }
            for one in self.tables
        ]
        return Table(pd.DataFrame(rows), empty="There is no table.")

    def integrity_table(self) -> Table:
        """Schema and foreign keys of the restored one, to be read."""
        import pandas as pd

        bad = {name: count for name, count in self.orphans.items() if count}
        rows = [
            ("schema", "as now" if not self.schema else "; ".join(self.schema[:5])),
            ("foreign keys", f"all {len(self.orphans)} hold" if not bad else
             "; ".join(f"{name}: {count:,} rows without parent" for name, count in bad.items())),
        ]  # fmt: skip
        return Table(pd.DataFrame(rows, columns=["what", "restored"]))

    def lost_table(self, *, at_most: int = 30) -> Table:
        """The first rows that would be lost, newest first, to be read."""
        import pandas as pd

        rows = [(one.name, key, stamp[:19]) for one in self.tables for key, stamp in one.lost_keys]
        rows.sort(key=lambda row: row[2], reverse=True)
        frame = pd.DataFrame(rows[:at_most], columns=["table", "key", STAMP])
        return Table(frame, empty="No row would be lost.")

    def as_data(self) -> dict[str, Any]:
        """All of it, for the record."""
        return {
            "lost": {one.name: one.lost for one in self.tables},
            "back": {one.name: one.back for one in self.tables},
            "differ": {one.name: one.differ for one in self.tables},
            "lost_keys": {one.name: [key for key, _ in one.lost_keys] for one in self.tables},
            "schema": list(self.schema),
            "orphans": dict(self.orphans),
        }


def compare(now: sqlalchemy.Engine, restored: sqlalchemy.Engine) -> Comparison:
    """Read both databases once. Nobody should write into them meanwhile."""
    import sqlalchemy

    with now.connect() as here, restored.connect() as there:
        for connection in (here, there):
            connection.execute(sqlalchemy.text(f"SET statement_timeout = '{_WITHIN_S}s'"))
        schemas = [set(one.execute(sqlalchemy.text(_SCHEMA)).scalars()) for one in (here, there)]
        known = _tables(there)
        compared = [
            _compare(here, there, name, *about) if name in known else Compared(name, missing=True)
            for name, about in _tables(here).items()
        ]
        return Comparison(
            tuple(compared),
            tuple(sorted([f"- {one}" for one in schemas[0] - schemas[1]]
                         + [f"+ {one}" for one in schemas[1] - schemas[0]])),
            _orphans(there),
        )  # fmt: skip


def _tables(connection: sqlalchemy.Connection) -> dict[str, tuple[list[str], bool]]:
    import sqlalchemy

    found = connection.execute(sqlalchemy.text(_TABLES), {"stamp": STAMP})
    return {name: (list(key), stamped) for name, key, stamped in found}


def _compare(
    here: sqlalchemy.Connection,
    there: sqlalchemy.Connection,
    name: str,
    key: list[str],
    stamped: bool,
) -> Compared:
    """Merge two ordered streams of keys: one pass over each."""
    query = _rows_query(name, key, stamped=stamped)
    found = Compared(name)
    ours, theirs = _rows(here, query), _rows(there, query)
    mine, other = next(ours, None), next(theirs, None)
    while mine or other:
        if mine and (other is None or mine[0] < other[0]):
            _only_now(found, mine)
            mine = next(ours, None)
        elif other and (mine is None or other[0] < mine[0]):
            found.restored, found.back = found.restored + 1, found.back + 1
            found.newest_restored = max(found.newest_restored, other[2])
            other = next(theirs, None)
        elif mine and other:
            found.now, found.restored = found.now + 1, found.restored + 1
            found.differ += mine[1] != other[1]
            found.newest_now = max(found.newest_now, mine[2])
            found.newest_restored = max(found.newest_restored, other[2])
            mine, other = next(ours, None), next(theirs, None)
    return found


def _only_now(found: Compared, row: Any) -> None:
    found.now, found.lost = found.now + 1, found.lost + 1
    found.newest_now = max(found.newest_now, row[2])
    if len(found.lost_keys) < _KEPT:
        found.lost_keys.append((row[0].decode(), row[2]))


def _rows_query(name: str, key: list[str], *, stamped: bool) -> str:
    """Key, checksum and time of each row; what has no key is known by its checksum alone."""
    row = f'md5("{name}"::text)'
    columns = " || '/' || ".join(f'"{one}"::text' for one in key) or row
    stamp = f"coalesce({STAMP}::text, '')" if stamped else "''"
    # bytes are ordered alike on both sides, whatever their collations
    return (
        f"SELECT convert_to({columns}, 'UTF8') AS key, {row}, {stamp} "  # noqa: S608  of the catalogue
        f'FROM "{name}" ORDER BY 1'
    )


def _rows(connection: sqlalchemy.Connection, query: str) -> Iterator[tuple[bytes, str, str]]:
    import sqlalchemy

    streamed = connection.execution_options(stream_results=True, max_row_buffer=_AT_ONCE)
    for key, checksum, stamp in streamed.execute(sqlalchemy.text(query)):
        yield bytes(key), checksum, stamp


def _orphans(connection: sqlalchemy.Connection) -> dict[str, int]:
    """Rows without a parent by foreign key: a restored server has not checked them."""
    import sqlalchemy

    found = {}
    for name, child, parent, mine, theirs in connection.execute(sqlalchemy.text(_KEYS)).all():
        joined = " AND ".join(f"p.{b} = c.{a}" for a, b in zip(mine, theirs, strict=True))
        given = " AND ".join(f"c.{a} IS NOT NULL" for a in mine)
        query = (
            f"SELECT count(*) FROM {child} c WHERE {given} AND NOT EXISTS "  # noqa: S608
            f"(SELECT FROM {parent} p WHERE {joined})"
        )
        found[name] = int(connection.execute(sqlalchemy.text(query)).scalar_one())
    return found
