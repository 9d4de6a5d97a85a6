"""Logs Insights over the seeded hour: the answers agree with the log lines themselves.

Plain moto answers every query with raw rows, and calls none malformed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

GATEWAY, BACKEND = names.LOG_GROUPS[names.GATEWAY], names.LOG_GROUPS[names.BACKEND]
DEADLINE_S = 30


@pytest.fixture
def hour(control_plane: Any) -> dict[str, int]:
    end = int(control_plane.anchor.timestamp())
    return {"startTime": end - 3600, "endTime": end}


def finished(logs: Any, query_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = logs.get_query_results(queryId=query_id)
        if answer["status"] not in ("Scheduled", "Running"):
            return dict(answer)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(answer: dict[str, Any]) -> list[dict[str, str]]:
    return [{one["field"]: one["value"] for one in row} for row in answer["results"]]


def ask(logs: Any, query: str, **where: Any) -> dict[str, Any]:
    where = where if "logGroupNames" in where else {"logGroupName": GATEWAY, **where}
    return finished(logs, logs.start_query(queryString=query, **where)["queryId"])


def lines(logs: Any, group: str) -> list[str]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"] for page in pages for event in page["events"]]


def test_statistics_by_model_are_those_of_the_lines(
    aws: Callable[..., Any], hour: dict[str, int]
) -> None:
    logs = aws("logs")
    found = ask(logs, "filter ispresent(model) | stats count(*) as n by model", **hour)
    requests = [json.loads(text) for text in lines(logs, GATEWAY) if text.startswith("{")]
    expected = Counter(one["model"] for one in requests if "model" in one)
    assert {row["model"]: int(row["n"]) for row in rows(found)} == expected
    assert found["statistics"]["recordsMatched"] == expected.total()
    assert found["statistics"]["recordsScanned"] == len(lines(logs, GATEWAY))
    assert found["statistics"]["bytesScanned"] == sum(
        len(text.encode()) for text in lines(logs, GATEWAY)
    )


def test_percentile_is_asked_for_with_pct_and_never_with_p95(
    aws: Callable[..., Any], hour: dict[str, int]
) -> None:
    logs = aws("logs")
    (row,) = rows(ask(logs, "stats pct(latency_ms, 95) as p95, max(latency_ms) as most", **hour))
    assert 0 < float(row["p95"]) < float(row["most"])
    with pytest.raises(logs.exceptions.MalformedQueryException) as refused:
        ask(logs, "stats p95(latency_ms)", **hour)
    location = refused.value.response["queryCompileError"]["location"]
    assert location == {"startCharOffset": 6, "endCharOffset": 9}
    assert "unexpected symbol found p95 at line 1 and position 6" in str(refused.value)


def test_one_trace_is_found_in_several_groups(
    aws: Callable[..., Any], hour: dict[str, int]
) -> None:
    logs = aws("logs")
    slow = [text for text in lines(logs, BACKEND) if '"latency_ms"' in text]
    trace = json.loads(slow[0])["trace_id"]
    query = f'fields @log, trace_id | filter trace_id = "{trace}" | sort @timestamp asc'
    found = rows(ask(logs, query, logGroupNames=[GATEWAY, BACKEND], **hour))
    assert {row["trace_id"] for row in found} == {trace}
    assert {row["@log"] for row in found} == {f"123456789012:{GATEWAY}", f"123456789012:{BACKEND}"}


def test_only_the_time_asked_for_is_scanned(aws: Callable[..., Any], hour: dict[str, int]) -> None:
    last_minutes = hour | {"startTime": hour["endTime"] - 600}
    scanned = [
        ask(aws("logs"), "stats count(*)", **when)["statistics"]["recordsScanned"]
        for when in (hour, last_minutes)
    ]
    assert 0 < scanned[1] < scanned[0]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"logGroupName": "/ecs/none"}, "ResourceNotFoundException"),
        ({"logGroupNames": [GATEWAY], "logGroupName": BACKEND}, "InvalidParameterException"),
        ({"startTime": 2_000_000_000}, "InvalidParameterException"),
        ({"queryString": "fields @message | pattern @message"}, "NotInTheSandbox"),
    ],
)
def test_query_that_cannot_be_answered_is_refused_at_once(
    aws: Callable[..., Any], hour: dict[str, int], change: dict[str, Any], code: str
) -> None:
    asked = {"queryString": "fields @message", "logGroupName": GATEWAY, **hour, **change}
    with pytest.raises(ClientError) as refused:
        aws("logs").start_query(**asked)
    assert refused.value.response["Error"]["Code"] == code


def test_queries_are_listed_and_a_finished_one_is_not_stopped(
    changing: Callable[..., Any], hour: dict[str, int]
) -> None:
    logs = changing("logs")
    query = "fields @message | limit 1"
    asked = logs.start_query(queryString=query, logGroupName=BACKEND, **hour)
    assert finished(logs, asked["queryId"])["status"] == "Complete"
    (listed, *_) = logs.describe_queries(logGroupName=BACKEND)["queries"]
    assert (listed["queryId"], listed["queryString"]) == (asked["queryId"], query)
    with pytest.raises(logs.exceptions.InvalidParameterException):
        logs.stop_query(queryId=asked["queryId"])
