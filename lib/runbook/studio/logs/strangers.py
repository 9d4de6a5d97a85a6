"""Lines in a service's log group that none of its tasks wrote: a script, a session, a one-off task.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from runbook.studio.logs.lines import Event, Line

_STREAMS = 50  # of each group, the last that were written to
_LINES = 5  # of each stream


def read(
    logs: Any, groups: Mapping[str, str], *, tasks: Iterable[str], since: datetime
) -> tuple[Line, ...]:
    """The last lines since then of streams that end in the id of no task, oldest first."""
    known, since_ms = set(tasks), int(since.timestamp() * 1000)
    found = []
    for service, group in groups.items():
        try:
            answer = logs.describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=_STREAMS
            )
        except logs.exceptions.ResourceNotFoundException:
            continue
        for stream in answer["logStreams"]:
            name = stream["logStreamName"]
            fresh = stream.get("lastEventTimestamp", 0) >= since_ms
            if fresh and name.rpartition("/")[2] not in known:
                found += _lines(logs, service, group, name, since_ms)
    return tuple(sorted(found, key=lambda line: line.event.time_ms))


def _lines(logs: Any, service: str, group: str, stream: str, since_ms: int) -> list[Line]:
    page = logs.get_log_events(
        logGroupName=group, logStreamName=stream, startTime=since_ms, limit=_LINES
    )
    return [
        Line(Event(one["timestamp"], service, one["message"], "", stream)) for one in page["events"]
    ]
