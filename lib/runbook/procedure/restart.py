"""Restarting a service: all of its tasks, a few at a time, or just the one that is sick.

found = restart.read(rb.clients, service="…", task="")
found.table(), found.plan()
after = restart.follow(rb.clients, found, plan.changes)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.procedure import rollout, scale
from runbook.procedure.scale import Scaled
from runbook.studio import ecs, tasks
from runbook.studio.tasks import Task
from runbook.table import Table


@dataclass(frozen=True)
class Restart:
    """A service and its tasks; `task` names the one to stop, empty: all are replaced."""

    about: Scaled
    tasks: tuple[Task, ...]
    task: str = ""

    def table(self) -> Table:
        """Each task with how it fares."""
        return tasks.table(self.tasks, self.about.targets)

    def plan(self) -> Plan:
        """The plan that replaces all tasks, or stops the one. Pure. Raises BadInput."""
        if not self.task:
            return ecs.plan_restart(self.about.service)
        running = [one for one in self.tasks if one.status == "RUNNING"]
        chosen = tasks.choose(self.tasks, self.task)
        return tasks.plan_stop(chosen, others=sum(one != chosen for one in running))

    def renewed(self, before: Restart, changes: Sequence[Change]) -> bool:
        """Whether nothing of what was to go still runs, and as many tasks as before do, healthy."""
        stopped = {one.target for one in changes if one.kind == tasks.KIND}
        gone = stopped or {one.target for one in before.tasks}
        there = {one.target for one in self.tasks}
        return self.about.steady() and not gone & there


def read(clients: Clients, *, service: str, task: str = "") -> Restart:
    """A service and its tasks. Raises BadInput: the cluster has no such service."""
    cluster = clients.environment.ecs.cluster
    return Restart(
        scale.read(clients, service=service),
        tasks.read_tasks(clients.aws("ecs"), cluster=cluster, service=service),
        task,
    )


def follow(clients: Clients, before: Restart, changes: Sequence[Change]) -> Restart:
    """Follow a restart to its end: the deployment by its own id, or the task and what replaces it.

    Returns the service as it is then. Raises Failed for a deployment that is given up, and
    DeadlinePassed.
    """
    rollout.follow(clients, changes)
    for change in changes:
        if change.kind == tasks.KIND:
            tasks.wait_stopped(clients, change.target)
    scale.follow(clients, service=before.about.service.name)
    return read(clients, service=before.about.service.name)
