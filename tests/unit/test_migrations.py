"""What alembic writes is read, and what a migration's plan says."""

from __future__ import annotations

from dataclasses import replace

from runbook.procedure.migrate import Migration
from runbook.studio.aurora_backups import Window
from runbook.studio.ecs import Service
from runbook.studio.migrations import Ahead, Head, Step, statements

WRITTEN = """
INFO  [alembic.runtime.migration] Generating static SQL
BEGIN;

INFO  [alembic.runtime.migration] Running upgrade 1a -> 2b, an index
-- Running upgrade 1a -> 2b

CREATE INDEX ix ON payments
    (status);

UPDATE alembic_version SET version_num='2b' WHERE alembic_version.version_num = '1a';

COMMIT;
"""
AHEAD = Ahead((Step("2b", "an index"),), ("CREATE INDEX ix ON payments (status)",), ("DROP INDEX",))
FOUND = Migration(
    Window("db", None, None, 7, True),
    Service("cluster", "app", "app:7", 2, 2, 0, ()),
    Head(("1a",)),
    AHEAD,
    frozenset(),
    True,
)


def test_sql_is_what_is_left_without_alembics_own() -> None:
    assert statements(WRITTEN.splitlines()) == ("CREATE INDEX ix ON payments (status)",)


def test_the_snapshot_comes_first_and_has_a_name_of_its_own() -> None:
    assert [one.kind for one in FOUND.plan().changes] == ["aurora-snapshot-kept", "migration"]
    assert FOUND.snapshot_name == "db-before-2b"
    assert replace(FOUND, taken=frozenset({"db-before-2b"})).snapshot_name == "db-before-2b-2"


def test_without_a_snapshot_that_is_said() -> None:
    plan = replace(FOUND, snapshot=False).plan()
    assert [one.kind for one in plan.changes] == ["migration"]
    assert "No snapshot is taken before." in plan.warnings


def test_what_has_no_way_back_is_not_reversible_and_says_where_to_go() -> None:
    plan = replace(FOUND, ahead=replace(AHEAD, back=(), why_no_way_back="not written")).plan()
    assert not plan.changes[1].reversible
    assert "restore the snapshot db-before-2b" in plan.way_back
    assert FOUND.plan().changes[1].reversible


def test_nothing_is_planned_where_nothing_is_to_run() -> None:
    plan = replace(FOUND, ahead=Ahead(())).plan()
    assert plan.changes == ()
    assert plan.title == "The schema is at 1a already"


def test_locks_are_said() -> None:
    assert any("locked" in one for one in FOUND.plan().warnings)
    gentle = replace(AHEAD, sql=("CREATE INDEX CONCURRENTLY ix ON payments (status)",))
    assert not any("locked" in one for one in replace(FOUND, ahead=gentle).plan().warnings)
