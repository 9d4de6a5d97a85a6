"""Rows of a real table: two workers at once, rows that a worker holds, jobs that went on since."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy
from tests.support import Bench, environment_in

from runbook.change import undo
from runbook.change.plan import Plan
from runbook.change.saved import SavedPlan
from runbook.errors import NotVerified, PlanStale
from runbook.record.runs import Run
from runbook.studio import jobs, rows
from studio_sandbox.box import Box

STUCK = 12


@pytest.fixture
def bench(fresh_box: Box, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(environment_in(tmp_path / "record"))
    with bench.clients.database_writer.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM jobs WHERE status = 'processing'"))
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO jobs (kind, status, updated_at) SELECT 'video_gen', 'processing', "
                "(now() AT TIME ZONE 'UTC') - make_interval(hours => n) "
                "FROM generate_series(2, :last) n"
            ),
            {"last": STUCK + 1},
        )
    yield bench
    bench.close()


def planned_requeue(bench: Bench) -> SavedPlan:
    stuck = jobs.find_stuck(bench.clients.database, older_than_minutes=60)
    plan: Plan = jobs.plan_requeue(stuck, outcome="pending", at_most=1000)
    return bench.save(*plan.changes)


def keys_of(planned: SavedPlan) -> list[str]:
    (change,) = planned.plan.changes
    assert change.rows
    return [row["key"] for row in planned.rows(change.rows)]


def states(bench: Bench, keys: list[str]) -> dict[str, str]:
    query = sqlalchemy.text("SELECT id::text, status FROM jobs WHERE id::text = ANY(:keys)")
    with bench.clients.database.connect() as connection:
        found: Any = connection.execute(query, {"keys": keys}).all()
    return dict(found)


def complete(bench: Bench, key: str) -> None:
    """A worker finishes this job."""
    query = sqlalchemy.text(
        "UPDATE jobs SET status = 'completed', updated_at = now() AT TIME ZONE 'UTC' "
        "WHERE id::text = :key"
    )
    with bench.clients.database_writer.begin() as connection:
        connection.execute(query, {"key": key})


def test_a_job_that_completed_since_is_touched_neither_by_apply_nor_by_undo(bench: Bench) -> None:
    planned, run = planned_requeue(bench), bench.begin()
    keys = keys_of(planned)
    assert len(keys) == STUCK
    complete(bench, keys[0])
    bench.door(run).apply(planned)
    assert states(bench, keys) == {keys[0]: "completed", **dict.fromkeys(keys[1:], "pending")}

    complete(bench, keys[1])
    back = bench.save(*undo.plan_undo(run).changes)
    assert set(keys_of(back)) == set(keys[1:])
    bench.door().apply(back)
    assert states(bench, keys) == {
        **dict.fromkeys(keys[:2], "completed"),
        **dict.fromkeys(keys[2:], "processing"),
    }


def test_undo_gives_each_row_its_own_time_back(bench: Bench) -> None:
    before = bench.checksum()
    run = bench.begin()
    bench.door(run).apply(planned_requeue(bench))
    assert bench.checksum() != before

    bench.door().apply(bench.save(*undo.plan_undo(run).changes))
    assert bench.checksum() == before


def test_a_row_that_a_worker_holds_is_passed_over(bench: Bench) -> None:
    planned = planned_requeue(bench)
    keys = keys_of(planned)
    held = bench.clients.database_writer.connect()
    held.execute(
        sqlalchemy.text("SELECT 1 FROM jobs WHERE id::text = :key FOR UPDATE"), {"key": keys[3]}
    )
    try:
        outcome = bench.door().apply(planned)
    finally:
        held.rollback()
        held.close()

    assert outcome.actual[0].found["rows"] == STUCK - 1
    assert states(bench, keys) == {
        **dict.fromkeys(keys, "pending"),
        keys[3]: "processing",
    }


def test_a_plan_none_of_whose_rows_is_left_is_stale(bench: Bench) -> None:
    planned = planned_requeue(bench)
    for key in keys_of(planned):
        complete(bench, key)
    with bench.unchanged(), pytest.raises(PlanStale, match="none of 12 rows"):
        bench.door().apply(planned)


def test_of_two_workers_that_race_the_requeue_nothing_is_lost_or_doubled(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a record of its own, and so no lock of the other's: the rows have to settle it."""
    monkeypatch.setattr(rows, "CHUNK", 1)  # so that the two overlap where they can
    workers = [Bench(environment_in(tmp_path / f"record-{number}")) for number in range(2)]
    plans = [planned_requeue(worker) for worker in workers]
    keys = keys_of(plans[0])
    go, let_go = os.pipe()
    pids = []
    for worker, planned in zip(workers, plans, strict=True):
        pid = os.fork()
        if pid == 0:
            _requeue_and_exit(worker, planned, go, let_go)
        pids.append(pid)
    os.close(let_go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.close(go)
    for worker in workers:
        worker.close()

    assert sum(codes) == STUCK, codes
    assert states(bench, keys) == dict.fromkeys(keys, "pending")


def _requeue_and_exit(worker: Bench, planned: SavedPlan, go: int, let_go: int) -> None:
    """In a fork: apply the plan when the parent says so; the exit code is the number of rows."""
    code = 99
    try:
        os.close(let_go)
        mine = Bench(worker.environment)  # connections are not shared with the parent
        door, _ = mine.door(), mine.clients.database_writer
        os.read(go, 1)
        try:
            code = sum(each.found["rows"] for each in door.apply(planned).actual)
        except PlanStale:
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def test_an_interrupt_before_a_chunk_is_committed_leaves_no_open_intent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, run = planned_requeue(bench), bench.begin()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlalchemy.Transaction, "commit", interrupted)
    with bench.unchanged(), pytest.raises(KeyboardInterrupt):
        bench.door(run).apply(planned)
    journal = Run(run.store, run.id).journal
    assert journal.unresolved() == []
    assert "intent" in [entry["entry"] for entry in journal.entries()]


def test_chunks_side_by_side_are_each_on_record_with_their_own_rows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)
    planned, run = planned_requeue(bench), bench.begin()
    bench.door(run).apply(planned)

    done = Run(run.store, run.id).journal.done()
    assert sorted(intent.detail["rows"] for intent, _ in done) == [[[n, n]] for n in range(STUCK)]
    assert len({intent.detail["xid"] for intent, _ in done}) == STUCK


def test_when_a_chunk_fails_those_under_way_end_and_no_other_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 1)
    planned, run = planned_requeue(bench), bench.begin()
    keys, update = keys_of(planned), rows._update

    def fails_at_the_fourth(connection: Any, batch: Any) -> Any:
        if keys[3] in batch.keys:
            raise OSError("the link is gone")
        return update(connection, batch)

    monkeypatch.setattr(rows, "_update", fails_at_the_fourth)
    with pytest.raises(OSError, match="the link is gone"):
        bench.door(run).apply(planned)
    journal = Run(run.store, run.id).journal
    made = {row for intent, _ in journal.done() for row, _ in intent.detail["rows"]}
    assert {0, 1, 2} <= made
    assert 3 not in made
    assert len(made) <= 6
    assert journal.unresolved() == []
    now = states(bench, keys)
    assert {n for n, key in enumerate(keys) if now[key] == "pending"} == made


def execute(bench: Bench, statement: str) -> None:
    with bench.clients.database_writer.begin() as connection:
        connection.execute(sqlalchemy.text(statement))


@pytest.mark.parametrize("what_it_does", ["RETURN NULL", "RETURN OLD"])
def test_a_row_that_the_server_leaves_as_it_was_is_not_verified(
    bench: Bench, what_it_does: str
) -> None:
    planned = planned_requeue(bench)
    keys = keys_of(planned)
    execute(
        bench,
        "CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {what_it_does}; END $$",
    )
    execute(
        bench,
        "CREATE TRIGGER stays BEFORE UPDATE ON jobs FOR EACH ROW "
        f"WHEN (OLD.id = '{keys[3]}') EXECUTE FUNCTION stays()",
    )
    try:
        with pytest.raises(NotVerified, match="1 of 12 rows of jobs"):
            bench.door().apply(planned)
    finally:
        execute(bench, "DROP TRIGGER stays ON jobs; DROP FUNCTION stays")
    assert states(bench, keys)[keys[3]] == "processing"


def test_a_row_that_was_written_again_at_once_has_moved_on_or_is_found_elsewhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = planned_requeue(bench)
    keys = keys_of(planned)
    verify = rows._verify

    def after_others(*arguments: Any) -> int:
        complete(bench, keys[0])
        execute(bench, f"UPDATE jobs SET payload_json = '{{}}' WHERE id = '{keys[1]}'")  # noqa: S608
        return verify(*arguments)

    monkeypatch.setattr(rows, "_verify", after_others)
    (actual,) = bench.door().apply(planned).actual
    assert (actual.found["rows"], actual.found["as_left"]) == (STUCK, STUCK - 1)


def test_rows_of_a_table_in_partitions_are_told_apart_by_their_keys(bench: Bench) -> None:
    """The first rows of two partitions have the same place."""
    parted = rows.Table("parted", key="id", stamp="", columns=("status",))
    execute(bench, "CREATE TABLE parted (id int PRIMARY KEY, status text) PARTITION BY LIST (id)")
    try:
        for n in range(4):
            execute(bench, f"CREATE TABLE parted_{n} PARTITION OF parted FOR VALUES IN ({n})")
        execute(bench, "INSERT INTO parted SELECT n, 'old' FROM generate_series(0, 3) AS n")
        before, after = {"status": "old"}, {"status": "new"}
        listed = [{"key": key, "before": before, "after": after} for key in ("1", "2")]
        change = rows.plan_update(parted, listed, before=before, after=after)
        (actual,) = bench.door().apply(bench.save(change)).actual

        with bench.clients.database.connect() as connection:
            query = sqlalchemy.text("SELECT id, status FROM parted ORDER BY id")
            found: Any = connection.execute(query).all()
        assert dict(found) == {0: "old", 1: "new", 2: "new", 3: "old"}
        assert (actual.found["rows"], actual.found["as_left"]) == (2, 2)
    finally:
        execute(bench, "DROP TABLE parted")


def test_stuck_jobs_are_copied_out_with_the_types_that_a_fetch_gives(bench: Bench) -> None:
    execute(
        bench,
        "UPDATE jobs SET user_id = (SELECT id FROM users LIMIT 1), updated_at = "
        "date_trunc('second', updated_at) WHERE id IN "
        "(SELECT id FROM jobs WHERE status = 'processing' LIMIT 5)",
    )
    found = jobs.find_stuck(bench.clients.database, older_than_minutes=60)
    with bench.clients.database.connect() as connection:
        query = sqlalchemy.text(
            "SELECT id::text, user_id::text, kind, status, created_at, updated_at, 1 AS attempts "
            "FROM jobs WHERE status = 'processing' ORDER BY updated_at, id"
        )
        fetched = pd.read_sql_query(query, connection)

    pd.testing.assert_frame_equal(found.drop(columns="age_minutes"), fetched)
    assert (found.age_minutes > 60).all()
    none = jobs.find_stuck(bench.clients.database, older_than_minutes=60 * 24 * 365)
    assert list(none.columns) == list(found.columns)
    assert (len(none), none.updated_at.dtype) == (0, found.updated_at.dtype)
