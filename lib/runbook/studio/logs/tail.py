"""Lines while they are written: a live tail, for so many seconds and no longer.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartLiveTail.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runbook.errors import BadInput, Failed
from runbook.settings import Logs
from runbook.studio.logs.lines import Event, Line
from runbook.studio.logs.search import arn_of, groups_of
from runbook.wait import SYSTEM_CLOCK, Clock

_MOST_GROUPS = 10  # of one session
_ENDED = {
    "SessionTimeoutException": "AWS ends a session after three hours",
    "SessionStreamingException": "AWS could not go on",
}


def follow(
    logs: Any, settings: Logs, *, seconds: int, services: str = "", pattern: str = ""
) -> None:
    """Print each line as it is written, for `seconds`; an interrupt ends it sooner, and softly.

    Says how many lines there were. Nothing is followed for 0 seconds. Raises BadInput for a
    negative number, an unknown service, or more log groups than one session takes.
    """
    if seconds < 0:
        raise BadInput(f"follow_s: expected 0 or more, found {seconds}.")
    if not seconds:
        print("Not followed: follow_s is 0.")
        return
    told = 0
    try:
        for event in tail(logs, settings, seconds=seconds, services=services, pattern=pattern):
            print(Line(event).terminal(), flush=True)
            told += 1
    except KeyboardInterrupt:
        print("Interrupted.")
    print(f"Followed for up to {seconds} s: {told:,} lines.")


def tail(
    logs: Any,
    settings: Logs,
    *,
    seconds: float,
    services: str = "",
    pattern: str = "",
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[Event]:
    """Events as they are written. AWS sends an update each second, empty or not.

    Of more than 500 lines a second AWS sends a sample; the first time, a line says so. Raises
    Failed when AWS ends the session before its time.
    """
    groups = groups_of(settings, services)
    arns = {service: arn_of(logs, group) for service, group in groups.items()}
    there = [arn for arn in arns.values() if arn]
    if not 1 <= len(there) <= _MOST_GROUPS:
        raise BadInput(f"services: from 1 to {_MOST_GROUPS} log groups can be followed.")
    names = {group: service for service, group in groups.items()}
    deadline = clock.monotonic() + seconds
    asked = {"logEventFilterPattern": pattern} if pattern else {}
    stream = logs.start_live_tail(logGroupIdentifiers=there, **asked)["responseStream"]
    try:
        sampled = False
        for update in stream:
            _refuse_an_end(update)
            told = update.get("sessionUpdate", {})
            if told.get("sessionMetadata", {}).get("sampled") and not sampled:
                sampled = True
                print("More than 500 lines a second: from here on this is a sample.")
            found = sorted(told.get("sessionResults", ()), key=lambda one: one["timestamp"])
            for one in found:
                service = names.get(one["logGroupIdentifier"].split(":", 1)[-1], "?")
                yield Event(one["timestamp"], service, one["message"], "", one["logStreamName"])
            if clock.monotonic() >= deadline:
                return
    finally:
        stream.close()


def _refuse_an_end(update: Any) -> None:
    for name, why in _ENDED.items():
        if name in update:
            raise Failed(f"The live tail ended: {why}.", next="Run the cell again.")
