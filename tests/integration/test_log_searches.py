"""Searches against a stub that keeps AWS's rules: page size, latency, quota of the account."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook import settings
from runbook.clients import Clients
from runbook.studio import logs
from studio_sandbox.proofs import log_stub
from studio_sandbox.proofs.log_searches import (
    NAMES,
    Compared,
    Taken,
    environment_of,
)

LINES = 6_000


@pytest.fixture
def stub() -> Iterator[ThreadingHTTPServer]:
    server = log_stub.serve(LINES, page_bytes=150_000)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def clients(
    stub: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clients]:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    file = environment_of(tmp_path, f"http://127.0.0.1:{stub.server_port}")
    found = Clients(settings.load_file(file))
    yield found
    found.close()


def search(clients: Clients, service: str, pattern: str = "") -> list[str]:
    start, end = log_stub.START_MS, log_stub.START_MS + log_stub.LENGTH_MS
    when = logs.Window(*(datetime.fromtimestamp(ms / 1000, UTC) for ms in (start, end)))
    found = logs.search(
        clients.aws("logs"),
        clients.environment.logs,
        groups={service: NAMES[service]},
        window=when,
        pattern=pattern,
    )
    return [f"{event.time_ms}\t{event.text}" for event in found]


def wanted(service: str, pattern: str = "") -> list[str]:
    end = log_stub.START_MS + log_stub.LENGTH_MS
    return list(log_stub.expected(LINES, NAMES[service], log_stub.START_MS, end, pattern))


def test_two_who_search_at_once_share_the_quota_and_both_get_every_line(
    stub: ThreadingHTTPServer, clients: Clients
) -> None:
    _ = clients.aws("logs")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: search(clients, name), ("gateway", "worker")))
    assert found == [wanted("gateway"), wanted("worker")]
    handler: Any = stub.RequestHandlerClass
    assert handler.account.asked["requests"] >= 8  # several pages of each


def test_a_pattern_finds_the_lines_that_match(clients: Clients) -> None:
    assert search(clients, "backend", "ERROR") == wanted("backend", "ERROR")


def compared(**seconds: float) -> Compared:
    """What a run with these times of the widest search comes to."""
    found = Compared()
    for name in (
        "two minutes of one group",
        "every line of one group",
        "every line of four groups",
    ):
        found.taken[name] = {client: Taken(took, 100, 10, 5) for client, took in seconds.items()}
    return found


def test_the_proof_holds_when_nothing_is_slower_and_the_widest_is_three_times_as_fast() -> None:
    assert not compared(runbook=10, aws=29.9).holds
    assert compared(runbook=10, aws=30).holds
    assert "holds" in compared(runbook=10, aws=30).table()
    slower = compared(runbook=10, aws=30)
    slower.taken["two minutes of one group"]["aws"].seconds = 8.9
    assert slower.doubts == ["two minutes of one group: slower than aws"]
    wrong = compared(runbook=10, aws=30)
    wrong.taken["every line of one group"]["runbook"].wrong = "line 3 is another"
    assert not wrong.holds
    grown = compared(runbook=10, aws=30)
    grown.taken["every line of four groups"]["runbook"].peak_mib = 126
    assert not grown.holds
    assert not compared(runbook=10).holds  # with nobody to compare with
