"""StartLiveTail: a stream of what is written to log groups, until the reader closes it.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartLiveTail.html
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.moto_adapter.logs_groups import compiled, group_named, invalid
from studio_sandbox.control_plane.overlay import Context, Stream, operation
from studio_sandbox.control_plane.request import AwsRequest

UPDATE_S = 0.2  # AWS: every second
_MOST_EVENTS = 500  # of one update; of more, AWS sends a sample
_MOST_GROUPS = 10


@operation("logs", "StartLiveTail")
def start_live_tail(asked: AwsRequest, context: Context) -> Stream:
    """Plain moto ends the session after its first update, with what was there before."""
    with core.LOCK:
        session = _Session(core.backend("logs", context.account, asked.region), asked.parameters)
    return Stream(session.events())


class _Session:
    """What is being read, and how far it was read."""

    def __init__(self, backend: Any, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._matches: Callable[[str], bool] = compiled(asked.get("logEventFilterPattern"))
        self._groups = [_by_arn(backend, arn) for arn in asked["logGroupIdentifiers"]]
        self._names, self._prefixes = _streams(asked)
        self._backend = backend
        self._read: dict[tuple[str, str], int] = {
            (group.name, name): len(stream.events)
            for group in self._groups
            for name, stream in group.streams.items()
        }

    def events(self) -> Iterator[bytes]:
        """The session's start, then an update each time, empty or not, while its groups exist."""
        yield _frame("initial-response", {})
        ids = {"requestId": str(uuid.uuid4()), "sessionId": str(uuid.uuid4())}
        yield _frame("sessionStart", {**self._asked, **ids})
        while True:
            time.sleep(UPDATE_S)
            with core.LOCK:
                if not self._exist():
                    return
                found = list(self._new())
            yield _frame(
                "sessionUpdate",
                {
                    "sessionMetadata": {"sampled": len(found) > _MOST_EVENTS},
                    "sessionResults": found[:_MOST_EVENTS],
                },
            )

    def _exist(self) -> bool:
        """Whether they are still the groups that they were: a reset makes others."""
        return all(self._backend.groups.get(group.name) is group for group in self._groups)

    def _new(self) -> Iterator[dict[str, Any]]:
        for group in self._groups:
            for name, stream in group.streams.items():
                read = self._read.get((group.name, name), 0)
                self._read[group.name, name] = len(stream.events)
                if not self._wants(name):
                    continue
                for event in stream.events[read:]:
                    if self._matches(event.message):
                        yield {
                            "logStreamName": name,
                            "logGroupIdentifier": f"{group.account_id}:{group.name}",
                            "message": event.message,
                            "timestamp": event.timestamp,
                            "ingestionTime": event.ingestion_time,
                        }

    def _wants(self, stream: str) -> bool:
        return (not self._names or stream in self._names) and (
            not self._prefixes or stream.startswith(self._prefixes)
        )


def _by_arn(backend: Any, arn: str) -> Any:
    if ":log-group:" not in arn or arn.endswith("*"):
        raise invalid(f"log groups are given by an ARN that does not end in *, not by {arn}")
    return group_named(backend, arn)


def _streams(asked: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    names = asked.get("logStreamNames") or []
    prefixes = tuple(asked.get("logStreamNamePrefixes") or ())
    groups = asked["logGroupIdentifiers"]
    if not 1 <= len(groups) <= _MOST_GROUPS:
        raise invalid(f"from 1 to {_MOST_GROUPS} log groups")
    if (names or prefixes) and len(groups) > 1:
        raise invalid("streams are chosen in one log group only")
    if names and prefixes:
        raise invalid("streams are chosen by name or by prefix")
    return names, prefixes


def _frame(kind: str, payload: dict[str, Any]) -> bytes:
    from moto.core.eventstream import EventStreamEncoder

    headers = {
        ":message-type": "event",
        ":event-type": kind,
        ":content-type": "application/json",
    }
    framed: bytes = EventStreamEncoder().encode_message(headers, json.dumps(payload).encode())
    return framed
