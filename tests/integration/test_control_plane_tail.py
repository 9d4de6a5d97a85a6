"""Live tail: what is written arrives while it is read, until the reader has seen enough.

Plain moto sends one update of what was there before, and closes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

GATEWAY, BACKEND = names.LOG_GROUPS[names.GATEWAY], names.LOG_GROUPS[names.BACKEND]


def arn(group: str) -> str:
    return f"arn:aws:logs:eu-central-1:123456789012:log-group:{group}"


def write(logs: Any, group: str, *messages: str, stream: str = "written-by-test") -> None:
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now_ms = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": now_ms, "message": message} for message in messages],
    )


class Tail:
    """A session, read event by event."""

    def __init__(self, logs: Any, *groups: str, **asked: Any) -> None:
        identifiers = [arn(group) for group in groups]
        answer = logs.start_live_tail(logGroupIdentifiers=identifiers, **asked)
        self.stream = answer["responseStream"]
        self.updates: Iterator[dict[str, Any]] = iter(self.stream)
        self.start = next(self.updates)["sessionStart"]

    def next(self) -> list[dict[str, Any]]:
        """What the next update has."""
        return list(next(self.updates)["sessionUpdate"]["sessionResults"])

    def until(self, count: int) -> list[dict[str, Any]]:
        """Updates, until they have `count` log events; each comes at once or with the next."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += self.next()
        return found


def test_lines_of_two_groups_arrive_while_they_are_written(changing: Callable[..., Any]) -> None:
    logs = changing("logs")
    tail = Tail(logs, GATEWAY, BACKEND)
    assert tail.start["logGroupIdentifiers"] == [arn(GATEWAY), arn(BACKEND)]
    assert tail.next() == []  # nothing of before
    for round_ in ("first", "second"):
        write(logs, GATEWAY, f"{round_} of the gateway")
        write(logs, BACKEND, f"{round_} of the backend")
        found = tail.until(2)
        assert {(one["logGroupIdentifier"], one["message"]) for one in found} == {
            (f"123456789012:{GATEWAY}", f"{round_} of the gateway"),
            (f"123456789012:{BACKEND}", f"{round_} of the backend"),
        }
    tail.stream.close()


def test_pattern_and_stream_choose_what_arrives(changing: Callable[..., Any]) -> None:
    logs = changing("logs")
    pattern = '{ $.level = "ERROR" }'
    tail = Tail(logs, GATEWAY, logEventFilterPattern=pattern, logStreamNamePrefixes=["wanted"])
    write(logs, GATEWAY, '{"level": "ERROR", "message": "elsewhere"}', stream="other")
    write(logs, GATEWAY, '{"level": "INFO"}', '{"level": "ERROR"}', stream="wanted-1")
    (found,) = tail.until(1)
    assert (found["message"], found["logStreamName"]) == ('{"level": "ERROR"}', "wanted-1")
    tail.stream.close()


def test_session_holds_nobody_up_and_ends_with_a_reset(fresh_control_plane: Any) -> None:
    logs = fresh_control_plane.client("logs")
    tail = Tail(logs, GATEWAY)
    assert logs.describe_log_groups()["logGroups"]
    fresh_control_plane.reset()
    rest = [update["sessionUpdate"]["sessionResults"] for update in tail.updates]
    assert not any(rest)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"logGroupIdentifiers": [GATEWAY]}, "InvalidParameterException"),
        ({"logGroupIdentifiers": [arn(GATEWAY) + ":*"]}, "InvalidParameterException"),
        ({"logGroupIdentifiers": [arn("/ecs/none")]}, "ResourceNotFoundException"),
        ({"logEventFilterPattern": "{ $.level = "}, "InvalidParameterException"),
        ({"logStreamNames": ["a"], "logStreamNamePrefixes": ["b"]}, "InvalidParameterException"),
    ],
)
def test_session_that_aws_would_not_open_is_refused(
    aws: Callable[..., Any], asked: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        aws("logs").start_live_tail(**{"logGroupIdentifiers": [arn(GATEWAY)], **asked})
    assert refused.value.response["Error"]["Code"] == code
