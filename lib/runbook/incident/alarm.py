"""An alarm as it arrives: by its name, or as the JSON that SNS or EventBridge delivers.

    event = alarm.parse(text)                   or alarm.named(clients, name)
    answered = alarm.answer(store, clients, event)

One that is raised opens an incident, or joins the one that is open; assess and the alarm's own
section run side by side under it, and the team is told what they found. Sections that would
change something only plan. One that is over is written down, and nothing runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from runbook.clients import Clients
from runbook.errors import BadInput, RunbookError
from runbook.incident.room import Room, open_room, open_rooms
from runbook.procedure.assess.suspect import Step
from runbook.record.store import Store
from runbook.run.sweep import run_section
from runbook.settings import Environment, WantedAlarm
from runbook.studio import cloudwatch

ASSESS = "assess"

_DIMENSION = re.compile(r"\{dimension:([^}]+)\}")


@dataclass(frozen=True)
class AlarmEvent:
    """One change of an alarm's state. `dimensions` are those of its metric."""

    name: str
    state: str = "ALARM"
    reason: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def says(self) -> str:
        """What happened, in one line."""
        return f"{self.name} is {self.state}{self.reason and ': '}{self.reason}"


def parse(text: str) -> AlarmEvent:
    """The event in a message of SNS's or EventBridge's, or of SNS's inside an SQS or HTTP envelope.

    Raises BadInput: no JSON, or none of an alarm.
    Sources: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    try:
        content = json.loads(text)
        while isinstance(content, dict) and isinstance(content.get("Message"), str):
            content = json.loads(content["Message"])
    except ValueError:
        content = None
    if isinstance(content, dict) and content.get("AlarmName"):
        return _of_sns(content)
    if isinstance(content, dict) and content.get("source") == "aws.cloudwatch":
        return _of_eventbridge(content)
    raise BadInput(
        "stdin: expected an alarm's message of SNS or EventBridge, as JSON; found "
        f"{text.strip()[:60]!r}.",
        next="Or name the alarm: ./runbook alarm NAME",
    )


def wanted(environment: Environment, name: str) -> WantedAlarm:
    """What the runbook says of an alarm. Raises BadInput: it knows none of that name."""
    if name not in environment.alarms:
        raise BadInput(
            f"The runbook has no alarm {name!r}; it has {', '.join(environment.alarms) or 'none'}.",
            next="Add it to parameters/alarms.yaml.",
        )
    return environment.alarms[name]


def named(clients: Clients, name: str) -> AlarmEvent:
    """An alarm by its name, raised, with the dimensions that CloudWatch knows of it, if it does."""
    from botocore.exceptions import BotoCoreError, ClientError

    dimensions: dict[str, str] = {}
    with suppress(BotoCoreError, ClientError, RunbookError):  # whoever has it in hand goes on
        for found in cloudwatch.read_alarms(clients.aws("cloudwatch"), names=[name]):
            for metric in cloudwatch.metrics_of(found):
                dimensions |= {one["Name"]: one["Value"] for one in metric.get("Dimensions", ())}
    return AlarmEvent(name, dimensions=dimensions)


def parameters(about: WantedAlarm, event: AlarmEvent) -> dict[str, Any]:
    """The parameters of an alarm's section, filled from the event. Pure.

    One that names a dimension which the event lacks is left out: its default holds.
    """
    filled = {name: _filled(value, event) for name, value in about.parameters.items()}
    return {name: value for name, value in filled.items() if value is not None}


@dataclass(frozen=True)
class Answered:
    """What was done about an alarm: the incident, if there is one, and a row for each section."""

    room: Room | None
    opened: bool
    rows: tuple[Mapping[str, Any], ...]

    @property
    def says(self) -> str:
        """What was found, and the way on, for the team."""
        return "\n".join([f"{row['section']}: {row['says']}" for row in self.rows] + self._way_on())

    def _way_on(self) -> list[str]:
        suspects = next((row["result"].get("suspects") for row in self.rows), None) or []
        return [
            f"→ {command(each['mend'])}  ({each['cause']}, {each['confidence']})"
            for each in suspects[:1]
            if each.get("mend")
        ]


def answer(store: Store, clients: Clients, event: AlarmEvent) -> Answered:
    """Do what an alarm asks for. Raises BadInput: the runbook does not know it."""
    environment = clients.environment
    about = wanted(environment, event.name)
    given = parameters(about, event)
    room = _joined(store, clients)
    if event.state != "ALARM":
        if room:
            room.write("alarm", event.says, alarm=event.name, state=event.state)
        return Answered(room, opened=False, rows=())
    opened = room is None
    if room is None:
        title = f"{about.title} {about.when}"
        room, _ = open_room(store, clients, title=title, severity=about.severity, tell=False)
    room.write("alarm", event.says, alarm=event.name, state=event.state)
    room.tell(f"{event.says}\n{ASSESS} and {about.section} run now.")
    asked = {ASSESS: {}, about.section: given}
    with ThreadPoolExecutor(len(asked), thread_name_prefix="alarm") as pool:
        rows = pool.map(
            lambda slug: run_section(
                slug, environment.name, parameters=asked[slug], incident=room.id
            ),
            asked,
        )
        answered = Answered(room, opened, tuple(rows))
    room.tell(answered.says)
    return answered


def command(action: Mapping[str, Any]) -> str:
    """The command that runs a section with its parameters, as one types it."""
    return Step(action["section"], action.get("parameters", {})).command


def _joined(store: Store, clients: Clients) -> Room | None:
    """The newest incident that is open, if it is young enough to have to do with this."""
    age = timedelta(minutes=clients.environment.incidents.join_minutes)
    young = (
        room
        for room in open_rooms(store, clients)
        if room.clock.now() - room.incident.opened_at <= age
    )
    return next(young, None)


def _filled(value: Any, event: AlarmEvent) -> Any:
    if not isinstance(value, str):
        return value
    wanted = set(_DIMENSION.findall(value))
    if wanted - event.dimensions.keys():
        return None
    return _DIMENSION.sub(lambda found: event.dimensions[found[1]], value)


def _of_sns(content: Mapping[str, Any]) -> AlarmEvent:
    trigger = content.get("Trigger", {})
    metrics = [trigger, *(_metric(one) for one in trigger.get("Metrics", ()))]
    dimensions = {
        one["name"]: one["value"] for metric in metrics for one in metric.get("Dimensions") or ()
    }
    return AlarmEvent(
        content["AlarmName"],
        content.get("NewStateValue", "ALARM"),
        content.get("NewStateReason", ""),
        dimensions,
    )


def _metric(query: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = query.get("MetricStat", {}).get("Metric", {})
    return found


def _of_eventbridge(content: Mapping[str, Any]) -> AlarmEvent:
    detail = content.get("detail", {})
    metrics = detail.get("configuration", {}).get("metrics", ())
    dimensions: dict[str, str] = {}
    for one in metrics:
        dimensions |= one.get("metricStat", {}).get("metric", {}).get("dimensions", {})
    state = detail.get("state", {})
    return AlarmEvent(
        detail.get("alarmName", ""),
        state.get("value", "ALARM"),
        state.get("reason", ""),
        dimensions,
    )
