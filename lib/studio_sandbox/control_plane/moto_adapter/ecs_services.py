"""Services that move: deployments that replace each other, events, counts of their tasks.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import (
    Launch,
    LiveTask,
    Target,
    all_of,
    launch,
)

_MOST_EVENTS = 100
_INCONSISTENT_AFTER = 9  # failures in a row, from when on tasks are launched ever more slowly
_PAUSE_S = 15.0


@dataclass
class Rollout:
    """What the scheduler remembers of a service. Times are of a clock that never jumps."""

    completed: str = ""  # the last deployment that completed, and its revision
    completed_revision: str = ""
    moving: bool = False  # not steady since the last event that said so
    steady_since: float = math.inf
    failures: int = 0  # in a row, of any deployment
    next_launch: float = -math.inf


class LiveService:
    """One service of moto's, as the scheduler handles it."""

    def __init__(self, account: str, region: str, service: Any) -> None:
        self._service = service
        self._account, self._region = account, region
        if not hasattr(service, "sandbox"):
            primary = service.deployments[0]
            service.sandbox = Rollout(primary["id"], primary["taskDefinition"])
        self.rollout: Rollout = service.sandbox

    @classmethod
    def begin(cls, account: str, region: str, service: Any, limits: Any) -> LiveService:
        """A service that was just created: its first deployment is to come."""
        service.deployment_configuration = {
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            **(limits or {}),
        }
        service.platform_family, service.created_at = "Linux", core.now()
        service.running_count = service.pending_count = 0
        (first,) = service.deployments
        first.update(
            id=deployment_id(),
            taskDefinition=service.task_definition,
            runningCount=0,
            pendingCount=0,
            platformVersion="1.4.0",
            platformFamily="Linux",
            rolloutState="IN_PROGRESS",
        )
        first["rolloutStateReason"] = f"ECS deployment {first['id']} in progress."
        made = cls(account, region, service)
        made.rollout.moving = True
        return made

    @property
    def name(self) -> str:
        return str(self._service.name)

    @property
    def desired(self) -> int:
        return int(self._service.desired_count)

    @property
    def deployments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._service.deployments
        return found

    @property
    def primary(self) -> dict[str, Any]:
        return self.deployments[0]

    @property
    def targets(self) -> list[Target]:
        return [
            Target(one["targetGroupArn"], one["containerPort"])
            for one in self._service.load_balancers
        ]

    @property
    def grace_s(self) -> float:
        """For how long a task may fail its checks after it started."""
        return float(self._service.health_check_grace_period_seconds or 0)

    @property
    def least_healthy(self) -> int:
        """How many healthy tasks a rollout leaves."""
        percent = int(self._service.deployment_configuration["minimumHealthyPercent"])
        return math.ceil(self.desired * percent / 100)

    @property
    def most_tasks(self) -> int:
        """How many tasks a rollout may have at once."""
        percent = int(self._service.deployment_configuration["maximumPercent"])
        return math.floor(self.desired * percent / 100)

    @property
    def breaker(self) -> tuple[bool, bool]:
        """Whether the circuit breaker is on, and whether it rolls back."""
        found = self._service.deployment_configuration.get("deploymentCircuitBreaker") or {}
        return bool(found.get("enable")), bool(found.get("rollback"))

    def tasks(self) -> list[LiveTask]:
        """Its tasks, but for those that have stopped."""
        return [
            task
            for task in all_of(self._account, self._region)
            if task.service == self.name and task.status != "STOPPED"
        ]

    def event(self, text: str) -> None:
        """Say something in its events: the newest is the first."""
        from moto.moto_api._internal import mock_random

        message = f"(service {self.name}) {text}"
        event = {"id": str(mock_random.uuid4()), "createdAt": core.now(), "message": message}
        self._service.events = [event, *self._service.events][:_MOST_EVENTS]

    def revise(self, image: str, *, by: str, settings: dict[str, str]) -> str:
        """Register its revision again with another image and other settings; gives the ARN."""
        backend = core.backend("ecs", self._account, self._region)
        now = backend.describe_task_definition(self._service.task_definition)
        container = dict(now.container_definitions[0], image=image)
        kept = [one for one in container.get("environment", []) if one["name"] not in settings]
        new = [{"name": name, "value": value} for name, value in settings.items()]
        container["environment"] = sorted([*kept, *new], key=lambda one: one["name"])
        made = backend.register_task_definition(
            now.family,
            [container, *now.container_definitions[1:]],
            network_mode=now.network_mode,
            requires_compatibilities=now.requires_compatibilities,
            cpu=now.cpu,
            memory=now.memory,
            task_role_arn=now.task_role_arn,
            execution_role_arn=now.execution_role_arn,
            ephemeral_storage=now.ephemeral_storage,
            runtime_platform=now.runtime_platform,
        )
        made.registered_at, made.registered_by = core.now(), by
        return str(made.arn)

    def deploy(self, revision: str, *, deployment: str = "", reason: str = "") -> None:
        """A new primary deployment; those before it stay until their tasks are replaced."""
        made = deployment or deployment_id()
        now = core.now()
        earlier = [one for one in self.deployments if one["id"] != made]
        for one in earlier:
            one["status"] = "ACTIVE"
        again = next((one for one in self.deployments if one["id"] == made), None)
        primary = again or {**self.primary, "id": made, "createdAt": now}
        primary.update(
            status="PRIMARY",
            failedTasks=0,
            taskDefinition=revision,
            desiredCount=self.desired,
            updatedAt=now,
            rolloutState="IN_PROGRESS",
            rolloutStateReason=reason or f"ECS deployment {made} in progress.",
        )
        self._service.deployments = [primary, *earlier]
        self._service.task_definition = revision
        self.rollout.moving, self.rollout.steady_since = True, math.inf
        self.rollout.failures, self.rollout.next_launch = 0, -math.inf
        self.count()

    def scale(self, desired: int) -> None:
        """Change how many tasks it wants; that is no new deployment."""
        if desired != self.desired:
            self._service.desired_count = desired
            self.primary.update(desiredCount=desired, updatedAt=core.now())
            self.rollout.moving = True

    def configure(self, **wanted: Any) -> None:
        """Set what is not None; of the deployment configuration only what is given."""
        if limits := wanted.pop("deployment_configuration", None):
            self._service.deployment_configuration |= limits
        for name, value in wanted.items():
            if value is not None:
                setattr(self._service, name, value)

    def launch(self, count: int, now: float) -> list[LiveTask]:
        """Start tasks of the primary deployment."""
        wanted = Launch(
            cluster=self._service.cluster_name,
            revision=self._service.task_definition,
            group=f"service:{self.name}",
            started_by=self.primary["id"],
            network=self._service.network_configuration,
        )
        return [launch(self._account, self._region, wanted, now) for _ in range(count)]

    def complete(self) -> None:
        """The primary deployment is the one to come back to."""
        made = self.primary["id"]
        self.primary.update(
            rolloutState="COMPLETED",
            rolloutStateReason=f"ECS deployment {made} completed.",
            updatedAt=core.now(),
        )
        self.rollout.completed = made
        self.rollout.completed_revision = self.primary["taskDefinition"]

    def fail(self) -> None:
        """The primary deployment launches nothing any more."""
        self.primary.update(
            rolloutState="FAILED",
            rolloutStateReason="ECS deployment circuit breaker: tasks failed to start.",
            updatedAt=core.now(),
        )

    def succeeded(self, task: LiveTask) -> None:
        """One of its tasks came up: failures are counted in a row."""
        for one in self.deployments:
            if one["id"] == task.deployment:
                one["failedTasks"] = 0
                self.rollout.failures = 0

    def failed(self, task: LiveTask, now: float) -> None:
        """One of its tasks failed; the more in a row, the later the next is launched."""
        for one in self.deployments:
            if one["id"] == task.deployment:
                one["failedTasks"] += 1
        self.rollout.failures += 1
        self.rollout.moving = True
        if self.rollout.failures == _INCONSISTENT_AFTER:
            self.event(
                "is unable to consistently start tasks successfully. For more information, see "
                "the Troubleshooting section of the Amazon ECS Developer Guide."
            )
        if self.rollout.failures >= _INCONSISTENT_AFTER:
            pause = _PAUSE_S * 2 ** min(self.rollout.failures - _INCONSISTENT_AFTER, 6)
            self.rollout.next_launch = now + pace.seconds(pause)

    def count(self) -> None:
        """Count tasks as they are described: running, and on their way to it."""
        tasks = self.tasks()
        for one in self.deployments:
            mine = [task for task in tasks if task.deployment == one["id"]]
            one["runningCount"] = sum(task.status == "RUNNING" for task in mine)
            one["pendingCount"] = sum(task.wanted and task.status != "RUNNING" for task in mine)
            if one is not self.primary:
                one["desiredCount"] = sum(task.wanted for task in mine)
        self._service.running_count = sum(task.status == "RUNNING" for task in tasks)
        self._service.pending_count = sum(
            task.wanted and task.status != "RUNNING" for task in tasks
        )

    def retire(self) -> None:
        """Forget earlier deployments of which no task is left."""
        used = {task.deployment for task in self.tasks()}
        self._service.deployments = [
            one for one in self.deployments if one is self.primary or one["id"] in used
        ]


def all_services(account: str, region: str) -> list[LiveService]:
    """All services of a region that are active."""
    found = core.backend("ecs", account, region).services.values()
    return [LiveService(account, region, one) for one in found if one.status == "ACTIVE"]


def count_clusters(account: str, region: str) -> None:
    """Count the tasks of each cluster as they are described."""
    backend = core.backend("ecs", account, region)
    for name, cluster in backend.clusters.items():
        tasks = [LiveTask(account, region, one) for one in backend.tasks.get(name, {}).values()]
        cluster.running_tasks_count = sum(task.status == "RUNNING" for task in tasks)
        cluster.pending_tasks_count = sum(
            task.wanted and task.status != "RUNNING" for task in tasks
        )


def deployment_id() -> str:
    """An id as ECS draws it: nineteen digits."""
    from moto.moto_api._internal import mock_random

    return f"ecs-svc/{mock_random.randint(10**18, 10**19 - 1)}"
