"""Every AWS call that was made, with who made it: what CloudTrail's look-up answers from.

Unlike CloudTrail it holds data events too, and at once: tests prove with it that planning
mutates nothing. Look-ups leave out what CloudTrail does not record by default.
Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane.aws_error import SandboxError

KEPT = 100_000

# Object and log data, and metrics, are data events: recorded only by a trail that asks for them.
_DATA_EVENTS = {
    "s3": ("GetObject", "PutObject", "DeleteObject", "DeleteObjects", "HeadObject", "CopyObject"),
    "logs": ("PutLogEvents", "FilterLogEvents", "GetLogEvents"),
    "monitoring": ("GetMetricData", "GetMetricStatistics", "PutMetricData"),
}
_S3_NAMES = {"Bucket": "bucketName", "Key": "key"}
_HIDDEN = {"secretstring", "secretbinary", "masteruserpassword", "password", "authtoken"}


@dataclass(frozen=True)
class Call:
    """One call. `source` is the service's name as CloudTrail writes it: `ecs.amazonaws.com`."""

    number: int
    time: str
    source: str
    action: str
    region: str
    read_only: bool
    user: str
    arn: str
    access_key: str
    user_agent: str
    source_ip: str
    request_id: str
    status: int
    error: str
    parameters: dict[str, Any]

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.time)


class CallLog:
    """The last calls, numbered from 1. Safe between threads."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._number = 0
        self._lock = threading.Lock()

    def record(self, **fields: Any) -> None:
        """Add a call; its parameters lose whatever CloudTrail hides."""
        fields["parameters"] = hide(fields["parameters"])
        with self._lock:
            self._number += 1
            self._calls.append(Call(number=self._number, **fields))

    def since(self, number: int) -> dict[str, Any]:
        """Calls after `number`, and `last`: the number to ask with next time."""
        with self._lock:
            calls = [asdict(call) for call in self._calls if call.number > number]
            return {"calls": calls, "last": self._number}

    def clear(self) -> None:
        """Forget all calls; numbers go on, so that a reader never sees one twice."""
        with self._lock:
            self._calls.clear()

    def look_up(self, request: dict[str, Any]) -> dict[str, Any]:
        """CloudTrail's LookupEvents: newest first, one attribute at most, paged by 50."""
        attributes = request.get("LookupAttributes") or []
        if len(attributes) > 1:
            raise SandboxError(
                "Only one lookup attribute can be specified.",
                code="InvalidLookupAttributesException",
                status=400,
            )
        with self._lock:
            found = [c for c in reversed(self._calls) if _visible(c) and _fits(c, request)]
        first = _offset(request.get("NextToken"))
        page = found[first : first + min(int(request.get("MaxResults") or 50), 50)]
        answer: dict[str, Any] = {"Events": [_event(call) for call in page]}
        if first + len(page) < len(found):
            answer["NextToken"] = str(first + len(page))
        return answer


def hide(parameters: Any) -> Any:
    """Parameters as CloudTrail keeps them: the values of secrets are not there."""
    if isinstance(parameters, dict):
        return {
            key: "HIDDEN_DUE_TO_SECURITY_REASONS" if key.lower() in _HIDDEN else hide(value)
            for key, value in parameters.items()
        }
    if isinstance(parameters, list):
        return [hide(value) for value in parameters]
    return parameters


def _visible(call: Call) -> bool:
    return call.action not in _DATA_EVENTS.get(call.source.split(".")[0], ())


def _fits(call: Call, request: dict[str, Any]) -> bool:
    moment = call.moment.timestamp()
    if not float(request.get("StartTime") or 0) <= moment <= float(request.get("EndTime") or 4e9):
        return False
    values = {
        "EventId": call.request_id,
        "EventName": call.action,
        "EventSource": call.source,
        "ReadOnly": str(call.read_only).lower(),
        "Username": call.user,
        "AccessKeyId": call.access_key,
    }
    for attribute in request.get("LookupAttributes") or []:
        key, wanted = attribute["AttributeKey"], attribute["AttributeValue"]
        if key == "ResourceName":
            return wanted in _texts(call.parameters)
        if values.get(key) != wanted:
            return False
    return True


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_texts(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_texts(item) for item in value))
    text = str(value)
    return {text, text.rsplit("/", 1)[-1]}


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    if not token.isdecimal():
        raise SandboxError("Invalid token", code="InvalidNextTokenException", status=400)
    return int(token)


def _parameters(call: Call) -> dict[str, Any]:
    """As CloudTrail writes them: a bucket and a key have other names there than in the API."""
    if not call.source.startswith("s3."):
        return call.parameters
    return {_S3_NAMES.get(key, key): value for key, value in call.parameters.items()}


def _event(call: Call) -> dict[str, Any]:
    record = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "arn": call.arn, "userName": call.user,
                         "accessKeyId": call.access_key},
        "eventTime": call.moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": call.source,
        "eventName": call.action,
        "awsRegion": call.region,
        "sourceIPAddress": call.source_ip,
        "userAgent": call.user_agent,
        "requestParameters": _parameters(call) or None,
        "requestID": call.request_id,
        "eventID": call.request_id,
        "readOnly": call.read_only,
    }  # fmt: skip
    if call.error:
        record["errorCode"] = call.error
    return {
        "EventId": call.request_id,
        "EventName": call.action,
        "ReadOnly": str(call.read_only).lower(),
        "AccessKeyId": call.access_key,
        "EventTime": call.moment.timestamp(),
        "EventSource": call.source,
        "Username": call.user,
        "Resources": [],
        "CloudTrailEvent": json.dumps(record),
    }
