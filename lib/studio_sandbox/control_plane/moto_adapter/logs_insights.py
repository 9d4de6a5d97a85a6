"""Logs Insights: queries that are started, answered by a thread of their own, and kept.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field
from typing import Any

from studio_sandbox.control_plane import insights
from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.moto_adapter.logs_groups import group_named, invalid

_GIVEN_AS = ("logGroupName", "logGroupNames", "logGroupIdentifiers")
_KNOWN = {*_GIVEN_AS, "startTime", "endTime", "queryString", "limit", "queryLanguage"}
_UNFINISHED = ("Scheduled", "Running")


def patch(response: Any) -> None:
    """Plain moto answers every query with raw rows, and none is ever malformed."""
    response.start_query = _start_query
    response.stop_query = _stop_query
    response.get_query_results = _get_query_results
    response.describe_queries = _describe_queries


@dataclass
class _LiveQuery:
    """A query and what has become of it."""

    text: str
    groups: list[str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Scheduled"
    created_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    answer: insights.Answer = field(default_factory=lambda: insights.Answer([], 0))
    scanned: int = 0
    scanned_bytes: int = 0

    def run(self, query: insights.Query, events: list[insights.Event]) -> None:
        """Answer it, unless it is stopped meanwhile."""
        self._become("Running")
        try:
            self.answer = query.run(events)
            self.scanned = len(events)
            self.scanned_bytes = sum(len(event.message.encode()) for event in events)
            self._become("Complete")
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._become("Failed")

    def _become(self, status: str) -> None:
        if self.status in _UNFINISHED:
            self.status = status


def _start_query(self: Any) -> Any:
    """Refuse what is malformed, start all else."""
    from moto.core.responses import ActionResult

    asked: dict[str, Any] = json.loads(self.body)
    if unknown := sorted(set(asked) - _KNOWN):
        raise invalid(f"Unknown parameter: {', '.join(unknown)}")
    groups = _groups(self, asked)
    start_s, end_s = int(asked["startTime"]), int(asked["endTime"])
    if start_s > end_s:
        raise invalid("startTime must not be after endTime")
    query = _compile(asked["queryString"], asked.get("limit"))
    live = _LiveQuery(asked["queryString"], [group.name for group in groups])
    _queries(self)[live.id] = live
    events = [
        event
        for group in groups
        for event in _events(self.current_account, group, start_s * 1000, end_s * 1000)
    ]
    threading.Thread(target=live.run, args=(query, events), name="insights", daemon=True).start()
    return ActionResult({"queryId": live.id})


def _compile(text: str, limit: int | None) -> insights.Query:
    try:
        return insights.compile_query(text, limit=limit)
    except insights.MalformedQuery as wrong:
        location = {"startCharOffset": wrong.start, "endCharOffset": wrong.end}
        raise SandboxError(
            str(wrong),
            code="MalformedQueryException",
            status=400,
            details={"queryCompileError": {"location": location, "message": str(wrong)}},
        ) from wrong


def _groups(response: Any, asked: dict[str, Any]) -> list[Any]:
    given = [asked[name] for name in _GIVEN_AS if asked.get(name)]
    if len(given) != 1:
        raise invalid(f"exactly one of {', '.join(_GIVEN_AS)} is needed")
    names = [given[0]] if isinstance(given[0], str) else given[0]
    return [group_named(response.logs_backend, name) for name in names]


def _events(account: str, group: Any, start_ms: int, end_ms: int) -> list[insights.Event]:
    return [
        insights.Event(
            time_ms=event.timestamp,
            ingested_ms=event.ingestion_time,
            message=event.message,
            stream=stream.log_stream_name,
            log=f"{account}:{group.name}",
            pointer=base64.b64encode(f"{group.name}@{event.event_id:012}".encode()).decode(),
        )
        for stream in group.streams.values()
        for event in stream.events
        if start_ms <= event.timestamp <= end_ms
    ]


def _stop_query(self: Any) -> Any:
    """Stop what is not finished. The answer of a stopped query is empty."""
    from moto.core.responses import ActionResult

    query = _query(self)
    if query.status not in _UNFINISHED:
        raise invalid(f"Query {query.id} has ended with status {query.status}.")
    query.status = "Cancelled"
    return ActionResult({"success": True})


def _get_query_results(self: Any) -> Any:
    """The rows once it is complete, and what it cost."""
    from moto.core.responses import ActionResult

    query = _query(self)
    done = query.status == "Complete"
    statistics = {
        "recordsMatched": float(query.answer.matched) if done else 0.0,
        "recordsScanned": float(query.scanned) if done else 0.0,
        "bytesScanned": float(query.scanned_bytes) if done else 0.0,
        "estimatedRecordsSkipped": 0.0,
        "estimatedBytesSkipped": 0.0,
        "logGroupsScanned": float(len(query.groups)),
    }
    return ActionResult(
        {
            "queryLanguage": "CWLI",
            "status": query.status,
            "results": query.answer.rows if done else [],
            "statistics": statistics,
        }
    )


def _describe_queries(self: Any) -> Any:
    """All queries of late, newest first."""
    from moto.core.responses import ActionResult

    group, status = self._get_param("logGroupName"), self._get_param("status")
    found = [
        {
            "queryLanguage": "CWLI",
            "queryId": query.id,
            "queryString": query.text,
            "status": query.status,
            "createTime": query.created_ms,
            "logGroupName": query.groups[0],
        }
        for query in reversed(_queries(self).values())
        if group in (None, *query.groups) and status in (None, query.status)
    ]
    return ActionResult({"queries": found[: int(self._get_param("maxResults") or 1000)]})


def _queries(response: Any) -> dict[str, _LiveQuery]:
    kept: dict[str, _LiveQuery] = response.logs_backend.__dict__.setdefault("sandbox_queries", {})
    return kept


def _query(response: Any) -> _LiveQuery:
    try:
        return _queries(response)[response._get_param("queryId")]
    except KeyError:
        raise SandboxError(
            "The specified query does not exist.", code="ResourceNotFoundException", status=400
        ) from None
