"""Scaling a service by hand: its tasks, the range that auto scaling keeps it in, what it costs.

    service = scale.read(rb.clients, service="gateway")
    service.table(desired_count=6)          now and then: tasks, capacity, cost
    service.plan(desired_count=6, move_range=False)
    scale.follow(rb.clients, service="gateway")

A number of tasks outside of the range is put back by auto scaling within minutes, so it is
refused, or the range moves with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Ecs
from runbook.studio import alb, autoscaling, ecs
from runbook.studio.alb import Target
from runbook.studio.autoscaling import Scaling
from runbook.studio.ecs import Service, Size
from runbook.table import Table
from runbook.wait import Wait

_START_S = 600.0  # for tasks to start, pass their health checks and be drained


@dataclass(frozen=True)
class Scaled:
    """A service with all that scaling it touches. `scaling` is None where nothing scales it."""

    service: Service
    size: Size
    scaling: Scaling | None
    targets: tuple[Target, ...]
    settings: Ecs

    def table(self, *, desired_count: int | None = None) -> Table:
        """Tasks, capacity and cost, now and with `desired_count` tasks."""
        import pandas as pd

        counts = {"now": self.service.desired_count}
        if desired_count is not None:
            counts["then"] = desired_count
        rows = {name: self._figures(count) for name, count in counts.items()}
        rows["now"]["running"] = str(self.service.running_count)
        rows["now"]["healthy targets"] = self._healthy()
        frame = pd.DataFrame(rows).fillna("").rename_axis("").reset_index()
        return Table(frame)

    def plan(self, *, desired_count: int, move_range: bool) -> Plan:
        """The plan that sets the number of tasks, and with `move_range` the range that holds it.

        Pure. Raises BadInput for a number outside of the range that is not to move.
        """
        plan = ecs.plan_scale(self.service, desired_count=desired_count)
        found = self.scaling
        if found is None or found.min_capacity <= desired_count <= found.max_capacity:
            return replace(plan, warnings=(*plan.warnings, *self._warnings()))
        held = f"{found.min_capacity} to {found.max_capacity}"
        if not move_range:
            raise BadInput(
                f"{self.service.name} scales from {held} tasks by itself; "
                f"{desired_count} would be put back within minutes.",
                next="Say move_range true to move the range too, or change it: adjust-autoscaling",
            )
        moved = autoscaling.plan_range(
            found,
            min_capacity=min(found.min_capacity, desired_count),
            max_capacity=max(found.max_capacity, desired_count),
        )
        return replace(
            plan,
            # the range first: outside of it the number of tasks does not last
            changes=(*moved.changes, *plan.changes),
            way_back=f"{plan.way_back} The range is set to {held} again.",
            warnings=(*plan.warnings, *moved.warnings, *self._warnings()),
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        tasks, healthy = self.service.running_count, self._healthy()
        missing = self.service.desired_count - tasks
        status = "ok" if missing == 0 and not self._unhealthy() else "warning"
        told = f", {healthy} healthy" if healthy else ""
        return {
            "status": status,
            "says": f"{self.service.name} runs {tasks} tasks of "
            f"{self.service.desired_count} desired{told}.",
            "desired": self.service.desired_count,
            "running": tasks,
            "usd_per_hour": round(self.usd(self.service.desired_count), 4),
        }

    def steady(self) -> bool:
        """Whether as many tasks run as are desired, and those behind the balancer are healthy."""
        there = self.service.running_count == self.service.desired_count
        leaving = any(target.state == "draining" for target in self.targets)
        return there and not self.service.pending_count and not self._unhealthy() and not leaving

    def _figures(self, count: int) -> dict[str, str]:
        figures = {
            "tasks": str(count),
            "vCPU": f"{count * self.size.vcpu:g}",
            "GiB": f"{count * self.size.gib:g}",
        }
        if self.settings.usd_per_vcpu_hour:
            figures["USD an hour"] = f"{self.usd(count):.3f}"
        if self.scaling:
            figures["range"] = f"{self.scaling.min_capacity} to {self.scaling.max_capacity}"
        return figures

    def usd(self, count: int) -> float:
        """What so many tasks cost an hour."""
        hour = self.settings
        one = self.size.vcpu * hour.usd_per_vcpu_hour + self.size.gib * hour.usd_per_gib_hour
        return count * one

    def _healthy(self) -> str:
        count = sum(target.state == "healthy" for target in self.targets)
        return f"{count} of {len(self.targets)}" if self.targets else ""

    def _unhealthy(self) -> int:
        wanted = self.service.desired_count > 0  # a group without tasks has nobody to be healthy
        bad = ("unhealthy", "initial", "none")
        return sum(target.state in bad for target in self.targets) if wanted else 0

    def _warnings(self) -> list[str]:
        warnings = []
        current = self.service.deployment
        if current and current.rollout_state == "IN_PROGRESS":
            warnings.append(f"{current.id} is still being rolled out; new tasks are of it.")
        if self.scaling and self.scaling.policies and not self.scaling.suspended:
            followed = ", ".join(one.metric for one in self.scaling.policies)
            warnings.append(
                f"Auto scaling follows {followed} and may move it again within the range."
            )
        return warnings


def read(clients: Clients, *, service: str) -> Scaled:
    """A service and what scales it. Raises BadInput: the cluster has no such service."""
    settings = clients.environment.ecs
    found = ecs.read_service(clients.aws("ecs"), cluster=settings.cluster, service=service)
    return Scaled(
        service=found,
        size=ecs.read_size(clients.aws("ecs"), task_definition=found.task_definition),
        scaling=autoscaling.find_scaling(
            clients.aws("application-autoscaling"), cluster=settings.cluster, service=service
        ),
        targets=alb.read_targets_of(clients.aws("elbv2"), found.target_groups),
        settings=settings,
    )


def follow(clients: Clients, *, service: str) -> Scaled:
    """Wait until the service is steady: as many tasks as desired, healthy, and none draining.

    Returns it as it is then. Raises DeadlinePassed after ten minutes (scaled by `waits.factor`).
    """
    wait = Wait(_START_S, factor=clients.environment.waits.factor)

    def steady() -> Scaled | None:
        found = read(clients, service=service)
        return found if found.steady() else None

    return wait.until(steady, what=f"{service} to run as many healthy tasks as desired")
