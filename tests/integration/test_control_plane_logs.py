"""An hour of logs in four groups, found again by filter patterns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

GATEWAY, BACKEND = names.LOG_GROUPS[names.GATEWAY], names.LOG_GROUPS[names.BACKEND]
Line = dict[str, Any]


def messages(logs: Any, group: str, pattern: str = "") -> list[str]:
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern=pattern
    )
    return [event["message"] for page in pages for event in page["events"]]


def parsed(found: list[str]) -> list[Line]:
    return [json.loads(text) for text in found if text.startswith("{")]


@pytest.mark.parametrize("group", names.LOG_GROUPS.values())
def test_group_has_the_hour_before_the_anchor_in_the_order_of_time(
    aws: Callable[..., Any], control_plane: Any, group: str
) -> None:
    events = aws("logs").filter_log_events(logGroupName=group)["events"]
    times = [event["timestamp"] / 1000 for event in events]
    end = control_plane.anchor.timestamp()
    assert len(times) > 500
    assert times == sorted(times)
    assert end - timedelta(hours=1).total_seconds() <= times[0]
    assert times[-1] < end


def test_streams_are_those_of_the_running_tasks(aws: Callable[..., Any]) -> None:
    streams = aws("logs").describe_log_streams(logGroupName=BACKEND)["logStreams"]
    tasks = aws("ecs").list_tasks(cluster=names.CLUSTER, serviceName=names.BACKEND)["taskArns"]
    expected = {f"ecs/backend/{arn.rsplit('/', 1)[1]}" for arn in tasks}
    assert {stream["logStreamName"] for stream in streams} == expected


def test_lines_are_json_colours_and_arabic(aws: Callable[..., Any]) -> None:
    found = messages(aws("logs"), GATEWAY)
    lines = parsed(found)
    assert 0 < len(found) - len(lines) < len(lines)
    assert all({"timestamp", "level", "message", "trace_id", "user_id"} <= set(o) for o in lines)
    assert any("\x1b[" in text for text in found)
    assert any("عمّان" in text for text in found)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ('{ $.level = "ERROR" }', lambda o: o["level"] == "ERROR"),
        ("{ $.status = 502 }", lambda o: o.get("status") == 502),
        ("{ $.status = 5* }", lambda o: str(o.get("status", "")).startswith("5")),
        ("{ $.latency_ms > 5000 }", lambda o: o.get("latency_ms", 0) > 5000),
        (
            '{ $.level = "ERROR" && $.status = 502 }',
            lambda o: o["level"] == "ERROR" and o.get("status") == 502,
        ),
        (
            '{ ($.status = 429) || ($.model = "veo-*" && $.latency_ms >= 3000) }',
            lambda o: (
                o.get("status") == 429
                or (o.get("model", "").startswith("veo-") and o.get("latency_ms", 0) >= 3000)
            ),
        ),
        ("{ $.status NOT EXISTS }", lambda o: "status" not in o),
        ('{ $.prompt = "*شعارًا*" }', lambda o: "شعارًا" in o.get("prompt", "")),
        (
            "{ $.model = %gpt-4o|^claude% }",
            lambda o: "gpt-4o" in o.get("model", "") or o.get("model", "").startswith("claude"),
        ),
    ],
)
def test_json_pattern_finds_what_a_reader_would(
    aws: Callable[..., Any], pattern: str, fits: Callable[[Line], bool]
) -> None:
    expected = [one for one in parsed(messages(aws("logs"), GATEWAY)) if fits(one)]
    assert expected
    assert parsed(messages(aws("logs"), GATEWAY, pattern)) == expected


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("ERROR", lambda text: "ERROR" in text),
        ("usage_meter", lambda text: "usage_meter" in text),
        ("?WARN ?ERROR", lambda text: "WARN" in text or "ERROR" in text),
        ("ERROR -502", lambda text: "ERROR" in text and "502" not in text),
        ('"timed out, retried"', lambda text: "timed out, retried" in text),
        ("%WARN|ERROR%", lambda text: "WARN" in text or "ERROR" in text),
    ],
)
def test_terms_find_what_a_reader_would(
    aws: Callable[..., Any], pattern: str, fits: Callable[[str], bool]
) -> None:
    expected = [text for text in messages(aws("logs"), GATEWAY) if fits(text)]
    assert expected
    assert messages(aws("logs"), GATEWAY, pattern) == expected


def test_one_trace_is_followed_through_the_groups(aws: Callable[..., Any]) -> None:
    (failed, *_) = parsed(messages(aws("logs"), BACKEND, "{ $.latency_ms > 100 }"))
    pattern = f'{{ $.trace_id = "{failed["trace_id"]}" }}'
    assert failed in parsed(messages(aws("logs"), BACKEND, pattern))
    assert parsed(messages(aws("logs"), GATEWAY, pattern))


def test_pages_join_without_a_gap(aws: Callable[..., Any]) -> None:
    logs, found = aws("logs"), list[str]()
    token: dict[str, str] = {}
    while True:
        page = logs.filter_log_events(logGroupName=GATEWAY, filterPattern="ERROR", limit=7, **token)
        found += [event["message"] for event in page["events"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == messages(logs, GATEWAY, "ERROR")


@pytest.mark.parametrize("pattern", ["{ $.level = ", "[a, b", "user-id"])
def test_bad_pattern_is_refused(aws: Callable[..., Any], pattern: str) -> None:
    with pytest.raises(ClientError, match="Invalid filter pattern") as refused:
        aws("logs").filter_log_events(logGroupName=GATEWAY, filterPattern=pattern)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterException"


def test_written_event_is_found_at_once(changing: Callable[..., Any]) -> None:
    logs, now_ms = changing("logs"), int(time.time() * 1000)
    stream = logs.describe_log_streams(logGroupName=BACKEND)["logStreams"][0]["logStreamName"]
    logs.put_log_events(
        logGroupName=BACKEND,
        logStreamName=stream,
        logEvents=[{"timestamp": now_ms, "message": '{"level": "ERROR", "message": "drilled"}'}],
    )
    assert len(messages(logs, BACKEND, '{ $.message = "drilled" }')) == 1
