"""Tasks that have stopped, and why: what ECS says of them, and the first errors of their logs.

ECS keeps a stopped task for about an hour.
Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.clients import Clients

_FAILED = ("TaskFailedToStart", "EssentialContainerExited")
_SICK = "health check"  # such a task is stopped by the scheduler, as one that is not needed is
_AT_ONCE = 100  # tasks that DescribeTasks takes
_LOOKED_AT = 100  # lines of a log
_SHOWN = 3  # lines of it that an error tells
_ERRORS = ("error", "traceback", "exception", "fatal", "critical")


@dataclass(frozen=True)
class Stopped:
    """A task that failed: its revision, and the reason that ECS and its containers give.

    `at` is when ECS decided to stop it; aware.
    """

    id: str
    revision: str
    reason: str
    at: datetime | None = None


def read_failed(ecs: Any, *, cluster: str, service: str) -> tuple[Stopped, ...]:
    """The tasks of a service that failed within the last hour; not those that were sent away.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
    """
    pages = ecs.get_paginator("list_tasks").paginate(
        cluster=cluster,
        serviceName=service,
        desiredStatus="STOPPED",
        PaginationConfig={"PageSize": _AT_ONCE},
    )
    found = []
    for page in pages:
        if page["taskArns"]:
            answer = ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])
            found += [_stopped(one) for one in answer["tasks"] if has_failed(one)]
    return tuple(found)


def has_failed(task: Mapping[str, Any]) -> bool:
    """Whether a stopped task failed by itself, as ECS describes it. Pure."""
    sick = _SICK in task.get("stoppedReason", "").lower()
    return task.get("stopCode") in _FAILED or sick


def first_errors(clients: Clients, task: Stopped) -> list[str]:
    """The first lines of error in the logs of a task; its last lines when none looks like one.

    Empty where it has no log: a task that was never started writes none.
    """
    logs = clients.aws("logs")
    answer = clients.aws("ecs").describe_task_definition(taskDefinition=task.revision)
    found: list[str] = []
    for container in answer["taskDefinition"]["containerDefinitions"]:
        options = container.get("logConfiguration", {}).get("options", {})
        if "awslogs-stream-prefix" not in options:
            continue
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task.id}"
        try:
            page = logs.get_log_events(
                logGroupName=options["awslogs-group"],
                logStreamName=stream,
                startFromHead=True,
                limit=_LOOKED_AT,
            )
        except logs.exceptions.ResourceNotFoundException:
            continue
        found += [event["message"].strip() for event in page["events"]]
    return telling(found)


def telling(lines: list[str]) -> list[str]:
    """Of the lines of a log those that tell most: the first errors, else the last ones. Pure."""
    errors = [line for line in lines if any(word in line.lower() for word in _ERRORS)]
    return errors[:_SHOWN] or lines[-_SHOWN:]


def _stopped(task: Mapping[str, Any]) -> Stopped:
    told = [task.get("stoppedReason", "")]
    for container in task.get("containers", ()):
        if container.get("reason"):
            told.append(container["reason"])
        if container.get("exitCode"):
            told.append(f"{container['name']} exited with {container['exitCode']}")
    return Stopped(
        id=task["taskArn"].rsplit("/", 1)[-1],
        revision=task["taskDefinitionArn"].rsplit("/", 1)[-1],
        reason=", ".join(dict.fromkeys(one for one in told if one)),
        at=task.get("stoppingAt") or task.get("stoppedAt"),
    )
