"""A task of its own: one command in a service's own image, followed to its exit code.

    ended = one_off.run(rb.clients, service="backend", command=["alembic", "current"])
    ended.exit_code, ended.lines

It has the service's task definition, its roles, secrets and network, and is no part of the service.
`ExecuteCommand` would be a person's terminal: no exit code, no log.

Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.studio.stopped import telling
from runbook.wait import Wait

_END_S = 3600.0
_LINES_S = 120.0  # for the last lines to come after the end


@dataclass(frozen=True)
class Ended:
    """What became of it: the exit code of its command, and what that wrote."""

    task: str
    exit_code: int
    lines: tuple[str, ...]

    @property
    def telling(self) -> str:
        """The lines that tell most, in one."""
        return " | ".join(telling([line for line in self.lines if line.strip()]))


def run(
    clients: Clients,
    *,
    service: str,
    command: Sequence[str],
    token: str = "",
    last_line: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Run a command once, follow its log line by line, and give its exit code.

    Started twice with one `token` (64 letters at most) it runs once. Logs come late: with
    `last_line` a command that ended well is waited for until that is there. Raises Failed, with
    AWS's reason, when it could not be started or was stopped, and DeadlinePassed.
    """
    token = token or str(uuid.uuid4())
    ecs, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    found = _described(ecs, cluster, service)
    definition = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])
    container = definition["taskDefinition"]["containerDefinitions"][0]
    answer = ecs.run_task(
        cluster=cluster,
        taskDefinition=found["taskDefinition"],
        launchType="FARGATE",
        networkConfiguration=found["networkConfiguration"],
        overrides={"containerOverrides": [{"name": container["name"], "command": [*command]}]},
        startedBy=token,
        clientToken=token,
    )
    if not answer["tasks"]:
        reasons = ", ".join(str(one.get("reason")) for one in answer["failures"])
        raise Failed(f"ECS does not start {' '.join(command)}: {reasons}.")
    task = answer["tasks"][0]["taskArn"]
    log = _Log(clients.aws("logs"), container, task.rsplit("/", 1)[-1], say)
    wait = Wait(_END_S, factor=clients.environment.waits.factor)

    def stopped() -> Mapping[str, Any] | None:
        log.read()
        (one,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        return one if one["lastStatus"] == "STOPPED" else None

    ended = wait.until(stopped, what=f"{' '.join(command)} to end")
    log.read()
    code = ended["containers"][0].get("exitCode")
    if code is None:
        reason = ended["containers"][0].get("reason") or ended.get("stoppedReason", "")
        raise Failed(f"{' '.join(command)} has not run to its end: {reason}")
    if code == 0 and last_line:
        Wait(_LINES_S).until(lambda: log.has(last_line), what=f"the log to end in {last_line}")
    return Ended(task.rsplit("/", 1)[-1], int(code), tuple(log.lines))


def is_running(clients: Clients, token: str) -> bool:
    """Whether a task that was started with this token is still on its way."""
    answer = clients.aws("ecs").list_tasks(
        cluster=clients.environment.ecs.cluster, startedBy=token, desiredStatus="RUNNING"
    )
    return bool(answer["taskArns"])


def exit_code(clients: Clients, token: str) -> int | None:
    """With what a task that was started with this token has ended; None when ECS does not say.

    ECS forgets a task about an hour after its end.
    """
    ecs, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    answer = ecs.list_tasks(cluster=cluster, startedBy=token, desiredStatus="STOPPED")
    if not answer["taskArns"]:
        return None
    (task,) = ecs.describe_tasks(cluster=cluster, tasks=answer["taskArns"])["tasks"]
    code: int | None = task["containers"][0].get("exitCode")
    return code


class _Log:
    """The lines of one task, as they come."""

    def __init__(
        self, logs: Any, container: Mapping[str, Any], task: str, say: Callable[[str], None]
    ) -> None:
        options = container.get("logConfiguration", {}).get("options", {})
        self._logs, self._say = logs, say
        self._group = options.get("awslogs-group", "")
        self._stream = f"{options.get('awslogs-stream-prefix')}/{container['name']}/{task}"
        self._token = ""
        self.lines: list[str] = []

    def read(self) -> None:
        """Whatever has come since."""
        for line in self._new() if self._group else ():
            self.lines.append(line)
            self._say(line)

    def has(self, line: str) -> bool:
        """Whether a line has come by now."""
        if line not in self.lines:
            self.read()
        return line in self.lines

    def _new(self) -> Iterator[str]:
        while True:
            more = {"nextToken": self._token} if self._token else {}
            try:
                page = self._logs.get_log_events(
                    logGroupName=self._group,
                    logStreamName=self._stream,
                    startFromHead=True,
                    **more,
                )
            except self._logs.exceptions.ResourceNotFoundException:
                return  # it has written nothing yet
            yield from (event["message"].rstrip("\n") for event in page["events"])
            if page["nextForwardToken"] == self._token:
                return
            self._token = page["nextForwardToken"]


def _described(ecs: Any, cluster: str, service: str) -> Mapping[str, Any]:
    answer = ecs.describe_services(cluster=cluster, services=[service])
    active = [one for one in answer["services"] if one["status"] != "INACTIVE"]
    if not active:
        raise BadInput(f"The cluster {cluster} has no active service {service}.")
    found: Mapping[str, Any] = active[0]
    return found
