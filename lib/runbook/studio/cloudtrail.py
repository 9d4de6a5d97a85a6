"""CloudTrail: who changed what in the account, whether by the runbook or past it.

A call that the runbook made has the id of its run in its user agent (`runbook/RUN`): that tells
what went through the door from what went past it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

_NAME = re.compile(  # a request's parameters that name what it is about
    r"(service|family|taskDefinition|secretId|bucket|bucketName|cluster|resourceId|alarm(s|Names?)"
    r"|.*(Identifier|GroupId|Name))$",
    re.I,
)
_NAMES = 3  # that are told
COMMAND = "-"  # the run of a command of ours that is none
_RUN = re.compile(r"\brunbook/(\S+)")


@dataclass(frozen=True)
class Call:
    """One call that changed something; `run` is the run that made it, `-` a command of ours."""

    at: datetime  # aware
    who: str
    action: str  # `UpdateService`
    source: str  # `ecs.amazonaws.com`
    resources: tuple[str, ...]  # names
    run: str
    error: str

    @property
    def says(self) -> str:
        """What was done, to what."""
        on = f" on {', '.join(self.resources[:_NAMES])}" if self.resources else ""
        return f"{self.source.partition('.')[0]} {self.action}{on}{self.error and ': '}{self.error}"


def read_changes(
    cloudtrail: Any, *, since: datetime, until: datetime, most: int = 500
) -> list[Call]:
    """The newest `most` calls that changed something, oldest first.

    CloudTrail shows a call up to 15 minutes late, and keeps it for 90 days.
    Source: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    return sorted(islice(_calls(cloudtrail, since, until), most), key=lambda call: call.at)


def _calls(cloudtrail: Any, since: datetime, until: datetime) -> Iterator[Call]:
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "ReadOnly", "AttributeValue": "false"}],
        StartTime=since,
        EndTime=until,
    )
    for page in pages:
        for event in page["Events"]:
            yield _call(event)


def _call(event: dict[str, Any]) -> Call:
    detail = json.loads(event["CloudTrailEvent"])
    ran = _RUN.search(detail.get("userAgent", ""))
    return Call(
        at=event["EventTime"],
        who=_who(detail.get("userIdentity", {}), event.get("Username", "")),
        action=event["EventName"],
        source=event["EventSource"],
        resources=_resources(event, detail.get("requestParameters") or {}),
        run=ran[1] if ran else "",
        error=detail.get("errorCode", ""),
    )


def _resources(event: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What a call is about: as CloudTrail lists it, and as the request names it; no ARNs."""
    listed = [one["ResourceName"] for one in event.get("Resources", ())]
    named = [
        each
        for key, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, str) and _NAME.fullmatch(key)
    ]
    short = (one.rpartition("/")[2] if one.startswith("arn:") else one for one in listed + named)
    return tuple(dict.fromkeys(short))


def _who(identity: dict[str, Any], user: str) -> str:
    """`user/oncall`, or `assumed-role/deploy/session`; an AWS service by its name."""
    arn = identity.get("arn", "")
    return arn.split(":", 5)[-1] if arn else identity.get("invokedBy", "") or user
