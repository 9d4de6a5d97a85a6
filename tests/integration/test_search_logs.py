"""search-logs on the sandbox: the events that the `aws` command has, and what is made of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.errors import BadInput
from runbook.studio import logs
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

SETTINGS = settings.load("sandbox").logs
GATEWAY = SETTINGS.groups["gateway"]


def ours(
    logs_client: Any, when: logs.Window, group: str, pattern: str = ""
) -> list[tuple[int, str]]:
    found = logs.search(logs_client, SETTINGS, groups={"x": group}, window=when, pattern=pattern)
    return [(event.time_ms, event.id) for event in found]


@pytest.mark.parametrize("pattern", ["", '{ $.level = "ERROR" }', "?WARN ?ERROR", "%50[0-9]%"])
def test_events_are_those_of_the_aws_command_in_the_same_order(
    box: Box, logs_client: Any, exported: dict[str, str], pattern: str  # noqa: F811
) -> None:  # fmt: skip
    aws = installed("aws")
    when = logs.window(minutes=600)
    asked = ["--start-time", str(when.start_ms), "--end-time", str(when.end_ms)]
    asked += ["--filter-pattern", pattern] if pattern else []
    told = say(
        aws, "logs", "filter-log-events", "--log-group-name", GATEWAY, *asked,
        "--query", "events[].[timestamp,eventId]", env=exported,
    )  # fmt: skip
    theirs = [(time_ms, event_id) for time_ms, event_id in json.loads(told)]
    assert theirs
    assert ours(logs_client, when, GATEWAY, pattern) == theirs


def test_all_services_come_merged_by_time(box: Box, logs_client: Any) -> None:
    when = logs.window(minutes=600)
    merged = list(logs.search(logs_client, SETTINGS, groups=SETTINGS.groups, window=when))
    assert [e.time_ms for e in merged] == sorted(event.time_ms for event in merged)
    for service, group in SETTINGS.groups.items():
        mine = [(event.time_ms, event.id) for event in merged if event.service == service]
        assert mine == ours(logs_client, when, group)


def test_a_trace_goes_through_all_services_that_saw_it(box: Box, logs_client: Any) -> None:
    when = logs.window(minutes=600)
    found = logs.find(logs_client, SETTINGS, window=when)
    trace = logs.trace(logs_client, SETTINGS, trace_id=found.suspect, window=when)
    everything = logs.search(logs_client, SETTINGS, groups=SETTINGS.groups, window=when)
    wanted = [event for event in everything if found.suspect in event.text]
    assert [line.event for line in trace.lines] == wanted
    assert len({line.event.service for line in trace.lines}) >= 2
    assert trace.hops().began_ms.min() == 0


def test_a_pattern_that_aws_cannot_read_is_refused_in_words(box: Box, logs_client: Any) -> None:
    with pytest.raises(BadInput, match="pattern: AWS cannot read") as refused:
        logs.find(logs_client, SETTINGS, window=logs.window(minutes=5), pattern="{ $.level = ")
    assert "?ERROR ?WARN" in refused.value.next


def test_a_service_without_a_log_group_is_told_and_stops_nobody(box: Box, logs_client: Any) -> None:
    groups = {**SETTINGS.groups, "mailer": "/ecs/ai-studio-mail"}
    more = SETTINGS.model_copy(update={"groups": groups})
    found = logs.find(logs_client, more, window=logs.window(minutes=600))
    assert found.missing == ("mailer",)
    assert found.status == "warning"
    assert found.lines > 1000


def write(logs_client: Any, group: str, *messages: str) -> None:
    streams = logs_client.describe_log_streams(logGroupName=group, logStreamNamePrefix="test")
    if not streams["logStreams"]:
        logs_client.create_log_stream(logGroupName=group, logStreamName="test")
    now_ms = int(time.time() * 1000)
    logs_client.put_log_events(
        logGroupName=group,
        logStreamName="test",
        logEvents=[{"timestamp": now_ms, "message": message} for message in messages],
    )


@pytest.fixture
def writer(fresh_box: Box, logs_client: Any) -> Iterator[Callable[[], None]]:
    """Keeps writing one line to two services until the test is over."""
    done = threading.Event()

    def keep_on() -> None:
        number = 0
        while not done.wait(0.1):
            number += 1
            write(
                logs_client, GATEWAY, json.dumps({"level": "ERROR", "message": f"gateway {number}"})
            )
            write(logs_client, SETTINGS.groups["worker"], f"\x1b[31mعربي {number}")

    thread = threading.Thread(target=keep_on)
    thread.start()
    yield keep_on
    done.set()
    thread.join()


def test_lines_are_followed_while_they_are_written(
    writer: Any, logs_client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = logs.tail(logs_client, SETTINGS, seconds=60)
    seen: dict[str, logs.Event] = {}
    for event in found:
        seen[event.service] = event
        if {"gateway", "worker"} <= set(seen):
            break
    assert seen["worker"].text.startswith("\x1b[31mعربي")
    logs.follow(logs_client, SETTINGS, seconds=1, services="gateway", pattern="gateway")
    told = capsys.readouterr().out
    assert "Followed for up to 1 s" in told
    assert "gateway" in told


def test_the_section_runs_headless_and_its_result_is_what_the_library_finds(
    box: Box, logs_client: Any
) -> None:
    from tests.integration.test_clear_stuck_jobs import runbook

    told = runbook("run", "search-logs", "-p", "minutes", "600", "-p", "newest", "5")
    assert (told.code, told.json["verdict"]) == (0, "succeeded"), told.err
    result = told.json["result"]
    assert result["status"] == "ok"
    found = logs.find(logs_client, SETTINGS, window=logs.window(minutes=600))
    assert (result["lines"], result["errors"]) == (found.lines, found.errors)
    notebook = nbformat.read(Path(told.json["notebook"]), as_version=4)
    text = json.dumps(notebook)
    assert result["says"].split(".")[0] in text
    assert set(SETTINGS.groups.values()) == set(names.LOG_GROUPS.values())
