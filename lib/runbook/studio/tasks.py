"""Tasks of a service, one by one: which is sick, and stopping just that one.

ECS starts another in place of a task that is stopped. Stopping drains it from its target group
first, and it has the time to end that its revision gives it.

Kind of change: `ecs-task` (what ECS wants of it); target `ecs:CLUSTER/SERVICE/TASK`.

Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent
from runbook.studio.alb import Target
from runbook.table import Table
from runbook.wait import Wait

KIND = "ecs-task"
_STOP_S = 300.0  # for a task to be drained and to end
_LEAST = 6  # signs of an id that are enough to name a task
_RUNNING, _STOPPED = "RUNNING", "STOPPED"
_NO_CHECK = "UNKNOWN"  # or none that has been made yet


@dataclass(frozen=True)
class Task:
    """One task that runs, or is starting. `address` is where its targets are registered."""

    cluster: str
    service: str
    id: str
    revision: str
    status: str
    health: str
    started_at: datetime | None
    zone: str
    address: str

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"ecs:{self.cluster}/{self.service}/{self.id}"


def read_tasks(ecs: Any, *, cluster: str, service: str) -> tuple[Task, ...]:
    """The tasks of a service that ECS wants to run, the longest first.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
    """
    pages = ecs.get_paginator("list_tasks").paginate(
        cluster=cluster, serviceName=service, desiredStatus=_RUNNING
    )
    found: list[Task] = []
    for page in pages:
        if page["taskArns"]:
            answer = ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])
            found += [_task(cluster, service, one) for one in answer["tasks"]]
    return tuple(sorted(found, key=lambda one: (str(one.started_at or "~"), one.id)))


def choose(tasks: Iterable[Task], named: str) -> Task:
    """The task of that id, or of the only one that begins so. Raises BadInput. Pure."""
    listed = list(tasks)
    wanted = named.strip().rpartition("/")[2]  # of an ARN, too
    found = [one for one in listed if one.id.startswith(wanted)]
    if len(wanted) < _LEAST or len(found) != 1:
        raise BadInput(
            f"task: {named!r} is not one task that runs; name it by {_LEAST} signs of its id.",
            next=f"It has {', '.join(one.id for one in listed) or 'none'}.",
        )
    return found[0]


def plan_stop(task: Task, *, others: int) -> Plan:
    """The plan that stops one task; `others` is how many run beside it. Pure."""
    warnings = [] if others else ["It is the only one: nobody answers until another runs."]
    return Plan(
        title=f"Stop task {task.id} of {task.service}",
        risk="low",
        changes=(Change(KIND, task.target, {"wanted": _RUNNING}, {"wanted": _STOPPED}),),
        way_back="Nothing to take back: ECS starts another of the same revision in its place.",
        warnings=tuple(warnings),
    )


def table(tasks: Iterable[Task], targets: Iterable[Target]) -> Table:
    """Each task with how it fares, to be read.

    `health` is what containers' own checks say, where there are such; `target` what the load
    balancer finds.
    """
    import pandas as pd

    states = {one.id.rpartition(":")[0]: one.state for one in targets}
    rows = [
        {
            "task": one.id,
            "revision": one.revision,
            "status": one.status,
            "started": one.started_at.replace(tzinfo=None) if one.started_at else None,
            "zone": one.zone,
            "health": one.health,
            "target": states.get(one.address, ""),
        }
        for one in tasks
    ]
    frame = pd.DataFrame(rows)
    if rows and (frame.health == _NO_CHECK).all():
        frame = frame.drop(columns="health")
    return Table(frame, empty="No task runs.")


def wait_stopped(clients: Clients, target: str) -> None:
    """Wait until a task has stopped. Raises DeadlinePassed."""
    wait = Wait(_STOP_S, factor=clients.environment.waits.factor)
    wait.until(
        lambda: (_describe(clients, target) or {}).get("lastStatus", _STOPPED) == _STOPPED,
        what=f"{target.rpartition('/')[2]} to stop",
    )


def _task(cluster: str, service: str, found: dict[str, Any]) -> Task:
    details = {
        detail["name"]: detail["value"]
        for attachment in found.get("attachments", ())
        for detail in attachment.get("details", ())
        if "value" in detail
    }
    return Task(
        cluster=cluster,
        service=service,
        id=found["taskArn"].rpartition("/")[2],
        revision=found["taskDefinitionArn"].rpartition("/")[2],
        status=found["lastStatus"],
        health=found.get("healthStatus", ""),
        started_at=found.get("startedAt"),
        zone=found.get("availabilityZone", ""),
        address=details.get("privateIPv4Address", ""),
    )


def _describe(clients: Clients, target: str) -> dict[str, Any] | None:
    """A task in AWS's words; None once ECS has forgotten it: it remembers stopped ones an hour."""
    cluster, _, task = target.removeprefix("ecs:").split("/")
    answer = clients.aws("ecs").describe_tasks(cluster=cluster, tasks=[task])
    return next(iter(answer["tasks"]), None)


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    found = _describe(clients, target)
    return {"wanted": found["desiredStatus"] if found else _STOPPED}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Twice does the same: a task that is stopping is stopping."""
    cluster, _, task = change.target.removeprefix("ecs:").split("/")
    clients.aws("ecs").stop_task(
        cluster=cluster, task=task, reason=f"runbook {clients.run_id}: one sick task is replaced"
    )


register(
    KIND,
    read=_read,
    apply=_apply,
    measure=lambda change: {"tasks": 1},
    take_back=lambda change, rows, done: None,  # another one runs in its place: nothing is owed
)
