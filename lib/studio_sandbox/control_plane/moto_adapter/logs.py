"""CloudWatch Logs: patterns that filter, events in the order of time.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import (
    core,
    logs_insights,
    logs_tail,  # noqa: F401  answers StartLiveTail
)
from studio_sandbox.control_plane.moto_adapter.logs_groups import compiled, invalid

_MOST_EVENTS = 10_000  # of one page, as AWS has it


def patch() -> None:
    """Plain moto lets every event through a JSON, `?` or `-` pattern."""
    from moto.logs import metric_filters, models, responses

    logs_insights.patch(responses.LogsResponse)
    models.EventMessageFilter = _Pattern
    models.LogGroup.filter_log_events = _filter_log_events
    responses.LogsResponse.test_metric_filter = _test_metric_filter
    if hasattr(metric_filters, "EventMessageFilter"):
        metric_filters.EventMessageFilter = _Pattern


class _Pattern:
    """A filter pattern where moto keeps its own kind."""

    def __init__(self, pattern: str | None) -> None:
        self.matches = compiled(pattern)


def _filter_log_events(
    self: Any,
    log_group_name: str,
    log_stream_names: list[str],
    start_time: int | None,
    end_time: int | None,
    limit: int | None,
    next_token: str | None,
    filter_pattern: str | None,
    interleaved: bool,
) -> tuple[list[dict[str, Any]], str | None, list[dict[str, Any]]]:
    """Events of all streams by time. Plain moto answers stream by stream."""
    matches = compiled(filter_pattern)
    streams = [s for n, s in self.streams.items() if not log_stream_names or n in log_stream_names]
    after = _position(next_token)
    size = min(limit or _MOST_EVENTS, _MOST_EVENTS)
    page: list[dict[str, Any]] = []
    token = None
    for event, stream in heapq.merge(*map(_ordered, streams), key=lambda pair: _key(pair[0])):
        if _key(event) <= after or not _within(event, start_time, end_time):
            continue
        if not matches(event.message):
            continue
        if len(page) == size:
            token = f"{page[-1]['timestamp']}@{page[-1]['eventId']}"
            break
        page.append({**event.to_filter_dict(), "logStreamName": stream})
    searched = [{"logStreamName": s.log_stream_name, "searchedCompletely": True} for s in streams]
    return page, token, searched


def _ordered(stream: Any) -> Iterator[tuple[Any, str]]:
    return ((event, stream.log_stream_name) for event in sorted(stream.events, key=_key))


def _key(event: Any) -> tuple[int, int]:
    return event.timestamp, event.event_id


def _within(event: Any, start: int | None, end: int | None) -> bool:
    return (start is None or event.timestamp >= start) and (end is None or event.timestamp <= end)


def _position(token: str | None) -> tuple[int, int]:
    if not token:
        return (-1, -1)
    moment, _, number = token.partition("@")
    if not (moment.isdecimal() and number.isdecimal()):
        raise invalid("The specified nextToken is invalid.")
    return int(moment), int(number)


def _test_metric_filter(self: Any) -> Any:
    """Which of the given messages a pattern matches; plain moto has no such operation."""
    from moto.core.responses import ActionResult

    matches = compiled(self._get_param("filterPattern"))
    messages = self._get_param("logEventMessages")
    found = [
        {"eventNumber": number, "eventMessage": text, "extractedValues": {}}
        for number, text in enumerate(messages, start=1)
        if matches(text)
    ]
    return ActionResult({"matches": found})


@dataclass(frozen=True)
class Line:
    """One event: milliseconds since the epoch, the stream that it is in, and the text."""

    time_ms: int
    stream: str
    text: str


def put_group(
    account: str,
    region: str,
    name: str,
    *,
    retention_days: int,
    created: datetime,
    lines: Iterable[Line],
) -> None:
    """A log group with events that arrived when they happened; lines must be in their order."""
    from moto.logs.models import LogEvent

    group = core.backend("logs", account, region).create_log_group(name, {})
    group.set_retention_policy(retention_days)
    group.creation_time = core.naive(created)
    for line in lines:
        stream = group.streams.get(line.stream)
        if stream is None:
            group.create_log_stream(line.stream)
            stream = group.streams[line.stream]
            stream.creation_time = group.creation_time
        event = LogEvent(line.time_ms + 900, {"timestamp": line.time_ms, "message": line.text})
        stream.events.append(event)
        stream.stored_bytes += len(line.text)
    for stream in group.streams.values():
        stream.last_ingestion_time = core.from_ms(stream.events[-1].ingestion_time)


def forget(account: str, region: str, name: str, before_ms: int) -> None:
    """Drop a group's events from before a moment, in milliseconds since the epoch."""
    group = core.backend("logs", account, region).groups.get(name)
    for stream in group.streams.values() if group else ():
        old = sum(1 for event in stream.events if event.timestamp < before_ms)
        if old:  # they stand in the order in which they came
            stream.stored_bytes -= sum(len(event.message) for event in stream.events[:old])
            del stream.events[:old]


def append(account: str, region: str, name: str, stream: str, text: str) -> None:
    """Write one line now, making its stream when there is none; nothing without the group."""
    from moto.logs.models import LogEvent

    group = core.backend("logs", account, region).groups.get(name)
    if group is None:
        return
    if stream not in group.streams:
        group.create_log_stream(stream)
    now_ms = int(time.time() * 1000)
    found = group.streams[stream]
    found.events.append(LogEvent(now_ms, {"timestamp": now_ms, "message": text}))
    found.stored_bytes += len(text)
    found.last_ingestion_time = core.from_ms(now_ms)
