"""What was changed lately, and by whom: calls that CloudTrail has, and the pipeline's own file.

Calls of the runbook's are left out of `by others`, but not out of the list: they are changes too.

Source: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
(CloudTrail is some minutes late) and https://docs.github.com/en/rest/repos/contents
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.studio import cloudtrail, github

TRAIL, ACTIVITY = "CloudTrail", "the pipeline's file"
_MOST = 200  # calls that are read
_NAMES = 3  # that a change tells
_SMALL_TALK = ("AssumeRole", "StartQuery", "StopQuery", "CreateLogStream", "CreateLogGroup")
_LINE = re.compile(r"^- (?P<at>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z) (?P<what>.*)$")


@dataclass(frozen=True)
class Changed:
    """One change. `about` are the names in it; `ours`: the runbook made it."""

    at: datetime  # aware, UTC
    what: str
    by: str
    about: tuple[str, ...]
    source: str
    ours: bool = False

    def concerns(self, name: str) -> bool:
        """Whether it names this thing."""
        return any(name == one or name in re.split(r"[/:]", one) for one in self.about)

    @property
    def says(self) -> str:
        """In a few words."""
        about = f" of {', '.join(self.about[:_NAMES])}" if self.about else ""
        return f"{self.what}{about} at {self.at:%H:%M:%S} UTC by {self.by}"


def read_trail(client: Any, *, since: datetime, until: datetime) -> tuple[Changed, ...]:
    """Calls that changed something, newest first; refused ones are left out."""
    calls = cloudtrail.read_changes(client, since=since, until=until, most=_MOST)
    return tuple(
        Changed(
            call.at.astimezone(UTC),
            call.action,
            call.who.rpartition("/")[2],
            call.resources,
            TRAIL,
            ours=bool(call.run),
        )
        for call in reversed(calls)
        if not call.error and call.action not in _SMALL_TALK
    )


def read_activity(clients: Clients, *, since: datetime) -> tuple[Changed, ...]:
    """Deployments as the pipeline has written them down, newest first.

    Raises BadInput where the environment names no such file, NotReachable when GitHub does not
    answer or refuses.
    """
    wanted = clients.environment.github
    if wanted is None or not wanted.activity:
        raise BadInput(f"{clients.environment.name} keeps no file of deployments.")
    text = github.read_activity(clients)
    lines = [match for line in text.splitlines() if (match := _LINE.match(line))]
    found = [
        Changed(
            datetime.fromisoformat(match["at"]).astimezone(UTC),
            match["what"].replace("`", ""),
            "the pipeline",
            (),
            ACTIVITY,
        )
        for match in lines
    ]
    return tuple(one for one in reversed(found) if one.at >= since)
