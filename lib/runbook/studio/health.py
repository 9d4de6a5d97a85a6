"""Health: what the Studio answers, how its tasks are, and whether it keeps its promises.

    found = health.read(rb.clients)
    found.findings()                status, one sentence, and the numbers
    found.endpoint_table(), found.target_table(), found.task_table(), found.promise_table()

Views of one thing: a task may run and answer nobody, or answer while half of them are gone; all
may answer while nobody gets what was paid for (promises.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.headline import Status, in_short, worst
from runbook.settings import Endpoints
from runbook.studio import alb, ecs, endpoints, promises
from runbook.studio.alb import Target
from runbook.studio.ecs import Service
from runbook.studio.endpoints import Answer
from runbook.studio.promises import Kept
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd

_PASSING = ("initial", "draining")  # a deployment has these


@dataclass(frozen=True)
class Health:
    """What was found. Nothing here asks anybody again."""

    settings: Endpoints
    answers: tuple[Answer, ...]
    targets: tuple[Target, ...]
    services: tuple[Service, ...]
    kept: Kept

    def endpoints(self) -> pd.DataFrame:
        """A row for each endpoint. Columns: status, service, by, url, says, answered, took."""
        import pandas as pd

        rows = []
        for answer in self.answers:
            status, says = endpoints.judge(answer, self.settings)
            rows.append(
                {
                    "status": status,
                    "service": answer.question.service,
                    "by": answer.question.by,
                    "url": answer.question.url,
                    "answer": answer.status,
                    "says": says,
                    "took": answer.took_words,
                }
            )
        return pd.DataFrame(rows)

    def groups(self) -> pd.DataFrame:
        """A row for each target group. Columns: status, group, one for each state, says."""
        import pandas as pd

        rows = []
        for group, members in groupby(self.targets, key=lambda one: one.group):
            targets = list(members)
            status, says = judge_group(targets)
            counts = {state: sum(one.state == state for one in targets)
                      for state in ("healthy", "unhealthy", *_PASSING)}  # fmt: skip
            rows.append({"status": status, "group": group, **counts, "says": says})
        return pd.DataFrame(rows)

    def tasks(self) -> pd.DataFrame:
        """A row for each service. Columns: status, service, desired, running, pending,
        revision, says."""
        import pandas as pd

        rows = []
        for service in self.services:
            status, says = judge_service(service)
            rows.append(
                {
                    "status": status,
                    "service": service.name,
                    "desired": service.desired_count,
                    "running": service.running_count,
                    "pending": service.pending_count,
                    "revision": service.task_definition,
                    "says": says,
                }
            )
        return pd.DataFrame(rows)

    def endpoint_table(self) -> Table:
        """Endpoints, to be read."""
        return Table(self.endpoints(), empty="The environment names no service.")

    def target_table(self) -> Table:
        """Target groups, to be read."""
        return Table(self.groups(), empty="The load balancer has no target group.")

    def task_table(self) -> Table:
        """Services, to be read."""
        return Table(self.tasks(), empty="The cluster has no service.")

    def promise_table(self) -> Table:
        """What customers rely on, to be read."""
        return self.kept.table()

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        frames = {"service": self.endpoints(), "group": self.groups(), "task": self.tasks()}
        statuses: list[Status] = [s for f in frames.values() if len(f) for s in f.status]
        statuses += [one.status for one in self.kept.promises]
        missing = [name for name, frame in frames.items() if frame.empty]
        status = worst(*statuses, *(("warning",) if missing else ()))
        return {
            "status": status,
            "says": self._sentence(),
            "endpoints": {one.question.url: one.status for one in self.answers},
            "unhealthy_targets": sum(one.state == "unhealthy" for one in self.targets),
            "promises": {one.name: one.status for one in self.kept.promises},
            "tasks": {one.name: [one.running_count, one.desired_count] for one in self.services},
        }

    def _sentence(self) -> str:
        told = [*self._bad("critical"), *self._bad("warning")]
        if told:
            return in_short(told)
        tasks = sum(one.running_count for one in self.services)
        return (
            f"{len(self.answers)} endpoints of {len(self.settings.services)} services answer, "
            f"{sum(one.state == 'healthy' for one in self.targets)} targets are healthy, "
            f"{tasks} tasks run of {sum(one.desired_count for one in self.services)} desired."
        )

    def _bad(self, status: Status) -> list[str]:
        """Everything of that status, in a few words each."""
        frames = ((self.endpoints(), "url"), (self.groups(), "group"), (self.tasks(), "service"))
        return [
            f"{row[name]}: {row['says']}"
            for frame, name in frames
            for row in frame.to_dict("records")
            if row["status"] == status
        ] + [f"{one.name}: {one.says}" for one in self.kept.promises if one.status == status]


def read(clients: Clients) -> Health:
    """Ask everybody. Raises BadInput for a load balancer or a cluster that is not there."""
    settings, balancer = clients.environment.endpoints, clients.aws("elbv2")
    alb_name = alb.read_balancer(balancer, settings.load_balancer)["DNSName"]
    asked = endpoints.questions(settings, alb_name=alb_name, what=["health"])
    return Health(
        settings,
        answers=tuple(endpoints.ask(clients, asked)),
        targets=alb.read_targets(balancer, settings.load_balancer),
        services=ecs.read_services(clients.aws("ecs"), cluster=clients.environment.ecs.cluster),
        kept=promises.read(clients),
    )


def judge_group(targets: list[Target]) -> tuple[Status, str]:
    """A group without a healthy target serves nobody; one sick target is a warning. Pure."""
    sick = [one for one in targets if one.state == "unhealthy"]
    told = f"{len(sick)} of {len(targets)} unhealthy: {sick[0].reason}" if sick else ""
    if not any(one.state == "healthy" for one in targets):
        return "critical", told or "no healthy target"
    if sick:
        return "warning", told
    passing = [one.state for one in targets if one.state in _PASSING]
    return "ok", f"{len(passing)} on the way in or out" if passing else "all healthy"


def judge_service(service: Service) -> tuple[Status, str]:
    """Tasks that run against those desired, and how its deployment fares. Pure."""
    if service.desired_count == 0:
        return "warning", "scaled to no task at all"
    if service.running_count == 0:
        return "critical", f"no task runs of {service.desired_count} desired"
    current = service.deployment
    failed = next((one for one in service.deployments if one.rollout_state == "FAILED"), None)
    if failed:
        return "warning", f"the deployment of {failed.task_definition} has failed"
    if current and "rolling back" in current.rollout_reason:
        return "warning", f"rolling back to {current.task_definition}"
    if current and current.failed_tasks:
        return "warning", f"{current.failed_tasks} tasks of {current.task_definition} did not start"
    if service.running_count < service.desired_count:
        missing = service.desired_count - service.running_count
        return "warning", f"{missing} of {service.desired_count} tasks are missing"
    if current and current.rollout_state == "IN_PROGRESS":
        return "ok", f"{current.task_definition} is being rolled out"
    return "ok", "all run"
