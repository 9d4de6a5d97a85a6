"""Ending a transaction: just that one of just that session, by a cancel where that is enough."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from tests.sections.running import approve, run, runbook

from runbook import settings
from runbook.change.kinds import kind_of
from runbook.change.plan import Change
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.studio import aurora, sessions
from runbook.wait import Wait
from studio_sandbox.box import Box

SLUG = "end-query"
_LONG = "SELECT count(*) FROM plans, pg_sleep(600)"


@dataclass(frozen=True)
class Still:
    """The Studio that does not move."""

    box: Box


@pytest.fixture
def clients(box: Box) -> Iterator[Clients]:
    found = Clients(settings.load("sandbox"))
    yield found
    found.close()


@pytest.fixture
def blocker(box: Box) -> Iterator[Any]:
    """A session that has `plans` for itself, and has forgotten that."""
    with closing(psycopg2.connect(box.database_url, application_name="psql")) as connection:
        connection.cursor().execute("LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")
        yield connection


@pytest.fixture
def waiter(box: Box, clients: Clients, blocker: Any) -> Iterator[Any]:
    """A session that wants to read `plans`, and waits behind the blocker."""
    with closing(psycopg2.connect(box.database_url, application_name="backend")) as connection:
        thread = threading.Thread(target=_read_plans, args=(connection,))
        thread.start()
        until(lambda: waiting_behind(clients, pid(blocker)) == 1)
        yield connection
        with suppress(psycopg2.Error):
            blocker.close()
        thread.join()


def _read_plans(connection: Any) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM plans")


def until(holds: Any) -> None:
    Wait(timeout_s=30, interval_s=0.05).until(holds, what="the sessions to come so far")


def pid(connection: Any) -> int:
    return int(connection.info.backend_pid)


def waiting_behind(clients: Clients, pid: int) -> int:
    return sum(pid in by for by in aurora.read_sessions(clients.database).blocked_by)


def alive(box: Box, pid: int) -> bool:
    with closing(psycopg2.connect(box.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,))
        return bool(cursor.fetchone()[0])


def in_the_background(connection: Any, *, again: bool) -> threading.Thread:
    """Run something long in the transaction; `again`: begin anew when it is cancelled."""

    def work() -> None:
        with suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
            with suppress(psycopg2.errors.QueryCanceled):
                connection.cursor().execute(_LONG)
            connection.rollback()
            if again:
                connection.cursor().execute(_LONG)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def planned(clients: Clients, pid: int = 0) -> Change:
    (change,) = sessions.read(clients, pid=pid).plan().changes
    return change


def active(clients: Clients, pid: int) -> bool:
    found = aurora.read_sessions(clients.database)
    return list(found[found.pid == pid].state) == ["active"]


def apply(clients: Clients, change: Change) -> Any:
    kind = kind_of(change)
    assert kind.apply is not None
    kind.apply(clients, change, None)  # type: ignore[arg-type]  # its own intent is not read
    return kind.read(clients, change.target)


def test_a_query_that_lets_go_keeps_its_session(box: Box, clients: Clients, blocker: Any) -> None:
    work = in_the_background(blocker, again=False)
    until(lambda: active(clients, pid(blocker)))

    left = apply(clients, planned(clients, pid(blocker)))

    work.join()
    assert left["transaction"] == "over"
    assert left["session"].startswith("since ")
    assert alive(box, pid(blocker))


def test_a_program_that_begins_again_loses_its_session(
    box: Box, clients: Clients, blocker: Any
) -> None:
    work = in_the_background(blocker, again=True)
    until(lambda: active(clients, pid(blocker)))

    left = apply(clients, planned(clients, pid(blocker)))

    work.join()
    assert left == {"session": "ended", "transaction": "over", "query": "none"}
    assert not alive(box, pid(blocker))


def test_the_next_transaction_of_a_session_is_not_the_one_that_was_planned(
    box: Box, clients: Clients, blocker: Any
) -> None:
    change = planned(clients, pid(blocker))
    blocker.rollback()
    blocker.cursor().execute("LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")

    assert kind_of(change).judge(clients, change, None).state == "holds"
    apply(clients, change)

    blocker.cursor().execute("SELECT 1")  # it has noticed nothing
    blocker.commit()


def test_without_a_pid_it_is_the_one_that_others_wait_for(
    clients: Clients, blocker: Any, waiter: Any
) -> None:
    found = sessions.read(clients, pid=0)

    assert found.findings()["blocker"] == pid(blocker)
    plan = found.plan()
    assert "psql (studio from 127.0.0.1)" in plan.title
    assert plan.title.endswith("1 wait behind it")
    assert not plan.reversible
    (told,) = plan.warnings
    assert "nothing that could be cancelled" in told
    assert "waits itself" in " ".join(sessions.read(clients, pid=pid(waiter)).plan().warnings)


def test_who_holds_nothing_or_is_not_there_is_refused(clients: Clients, blocker: Any) -> None:
    blocker.rollback()
    with pytest.raises(BadInput, match="holds nothing"):
        planned(clients, pid(blocker))
    with pytest.raises(BadInput, match="no client's session"):
        planned(clients, 1)
    assert sessions.read(clients, pid=0).plan().changes == ()


def test_a_table_that_somebody_has_for_himself_does_not_stop_whoever_looks(
    blocker: Any, waiter: Any, clients: Clients
) -> None:
    now = aurora.read_activity(clients.database, settings.load("sandbox").database)

    (plans,) = [row for row in now.tables.itertuples() if row.table == "plans"]
    assert plans.table_mib >= 0
    assert [one.pid for one in now.chain] == [pid(blocker), pid(waiter)]


def test_the_section_plans_applies_exactly_that_and_cannot_take_it_back(
    box: Box, clients: Clients, blocker: Any, waiter: Any
) -> None:
    studio = Still(box)
    digest = run(studio, SLUG)["plan"]["digest"]
    assert alive(box, pid(blocker))
    blocker.cursor().execute("SELECT 1")  # the same transaction, at something else
    approve(studio, digest)
    stale = run(studio, SLUG, apply=digest)
    assert (stale["verdict"], alive(box, pid(blocker))) == ("refused", True)

    digest = run(studio, SLUG)["plan"]["digest"]
    approve(studio, digest)
    applied = run(studio, SLUG, apply=digest)

    assert applied["verdict"] == "succeeded", applied["error"]
    assert applied["result"]["waiting"] == 0
    assert not alive(box, pid(blocker))
    assert alive(box, pid(waiter))
    refused = runbook(studio, "undo", applied["run_id"])
    assert "cannot be undone" in refused["error"]["message"]
