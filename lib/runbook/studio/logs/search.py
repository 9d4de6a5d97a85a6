"""Log lines of all services at once, merged by time, however many there are.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
Quota: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from runbook.errors import BadInput, Failed
from runbook.settings import Logs
from runbook.studio.logs import pages
from runbook.studio.logs.lines import Event
from runbook.studio.logs.pages import Page, Piece, Raw
from runbook.wait import SYSTEM_CLOCK, Clock, Pace

# Pages asked for or waiting, of all groups together: what a search holds in memory. More than the
# quota starts while one page is under way.
_AHEAD_LEAST, _AHEAD_MOST, _AHEAD_S = 12, 32, 2.5
_WORTH_CUTTING = 1.3  # of the quota: what cutting gains before it costs more than it gains
_TRIES = 6  # of one page that AWS has no turn for


@dataclass(frozen=True)
class Window:
    """A stretch of time, both ends in."""

    start: datetime  # aware, UTC
    end: datetime

    @property
    def start_ms(self) -> int:
        return int(self.start.timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        return int(self.end.timestamp() * 1000)

    @property
    def minutes(self) -> float:
        return (self.end - self.start).total_seconds() / 60


def window(*, minutes: int, until: str = "", clock: Clock = SYSTEM_CLOCK) -> Window:
    """The `minutes` before `until` (ISO 8601, UTC where it names no zone; empty: now).

    Raises BadInput for less than a minute, and for a time that is none.
    """
    if minutes < 1:
        raise BadInput(f"minutes: expected 1 or more, found {minutes}.")
    try:
        end = datetime.fromisoformat(until) if until else clock.now()
    except ValueError:
        raise BadInput(
            f"until: expected a time such as 2026-01-31T03:15 (UTC), found {until!r}."
        ) from None
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    return Window(end - timedelta(minutes=minutes), end)


def groups_of(settings: Logs, services: str = "") -> dict[str, str]:
    """Log groups by service: of those named, with commas between, or of all.

    Raises BadInput for a service that the environment does not know.
    """
    names = [name.strip() for name in services.split(",") if name.strip()] or list(settings.groups)
    unknown = [name for name in names if name not in settings.groups]
    if unknown or not names:
        known = ", ".join(settings.groups) or "none"
        raise BadInput(f"services: {', '.join(unknown)} has no log group; there are: {known}.")
    return {name: settings.groups[name] for name in names}


def missing(logs: Any, groups: Mapping[str, str]) -> list[str]:
    """Services whose log group does not exist: they have never written a line."""
    return [service for service, group in groups.items() if not arn_of(logs, group)]


def arn_of(logs: Any, group: str) -> str:
    """The ARN of a log group, without `:*`; empty where there is none."""
    pages_ = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=group)
    found = (one for page in pages_ for one in page["logGroups"] if one["logGroupName"] == group)
    return next((str(one["arn"]).removesuffix(":*") for one in found), "")


def search(
    logs: Any,
    settings: Logs,
    *,
    groups: Mapping[str, str],
    window: Window,
    pattern: str = "",
) -> Iterator[Event]:
    """Events that match a filter pattern of CloudWatch's, of all groups, in the order of time.

    A generator: what has been taken is forgotten. Of one group, events come exactly as
    `aws logs filter-log-events` has them. Raises BadInput for a pattern that AWS cannot read.
    """
    asker = _Asker(logs, pattern, Pace(settings.requests_per_second))
    wanted = int(_AHEAD_S * settings.requests_per_second)
    total = max(_AHEAD_LEAST, min(_AHEAD_MOST, wanted))

    def side_by_side() -> bool:
        """Whether the quota allows for more than one request of each group at a time."""
        return settings.requests_per_second * asker.took_s > _WORTH_CUTTING * len(groups)

    with ThreadPoolExecutor(total, thread_name_prefix="logs") as pool:
        found = [
            _events(
                service,
                pages.read(
                    partial(asker.fetch, group),
                    pool,
                    start_ms=window.start_ms,
                    end_ms=window.end_ms,
                    ahead=max(2, total // len(groups)),
                    side_by_side=side_by_side,
                ),
            )
            for service, group in groups.items()
        ]
        try:
            yield from heapq.merge(*found, key=lambda event: event.time_ms)
        finally:
            pool.shutdown(cancel_futures=True)


def _events(service: str, read: Iterator[list[Raw]]) -> Iterator[Event]:
    for page in read:
        for event in page:
            yield Event(
                event["timestamp"],
                service,
                event["message"],
                event["eventId"],
                event["logStreamName"],
            )


class _Asker:
    """Asks for pages, each in its turn. `took_s` is how long they take of late."""

    def __init__(self, logs: Any, pattern: str, pace: Pace) -> None:
        self._logs, self._pattern, self._pace = logs, pattern, pace
        self.took_s = 0.5

    def fetch(self, group: str, piece: Piece) -> Page:
        """One page. Raises Failed when AWS has no turn for too long."""
        asked = {
            "logGroupName": group,
            "startTime": piece.start_ms,
            "endTime": piece.end_ms,
            **({"filterPattern": self._pattern} if self._pattern else {}),
            **({"nextToken": piece.token} if piece.token else {}),
        }
        for _ in range(_TRIES):
            self._pace.turn()
            began = time.monotonic()
            try:
                answer = self._logs.filter_log_events(**asked)
            except self._logs.exceptions.ClientError as error:
                self._understand(error)
            else:
                self.took_s += 0.3 * (time.monotonic() - began - self.took_s)
                return Page(answer["events"], answer.get("nextToken", ""))
        raise Failed(
            f"AWS refused to read {group} {_TRIES} times: others use up the account's rate.",
            next="Wait a minute, or search one service, or a shorter time.",
        )

    def _understand(self, error: Any) -> None:
        """Pause when AWS asks for that. Raises everything else, a bad pattern in our words."""
        code = error.response["Error"]["Code"]
        if code == "ThrottlingException":
            self._pace.pause(1)
        elif code == "InvalidParameterException" and self._pattern:
            raise BadInput(
                f"pattern: AWS cannot read {self._pattern!r}: {error.response['Error']['Message']}",
                next='Patterns look like ERROR, "two words", ?ERROR ?WARN, { $.level = "ERROR" }.',
            ) from error
        else:
            raise error
