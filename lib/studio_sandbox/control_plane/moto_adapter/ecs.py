"""ECS: services whose tasks exist, revisions with a past, lists in AWS's order.

How tasks start, are replaced and stop is in `ecs_tasks`, `ecs_services` and `ecs_operations`.
What would need more than that says so: plain moto answers it and launches nothing.
Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/Welcome.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.moto_adapter import core, iam

_PAGE = 100
_NEED_TASKS = {
    "delete_service": "DeleteService: the four services stay",
    "start_task": "StartTask: Fargate has no instances to start tasks on",
    "execute_command": "ExecuteCommand: no container runs; one-off work is a task of its own",
}


def patch() -> None:
    """Lists in order and in pages, revisions with their author, tasks that stay as they are."""
    from moto.ecs import models, responses

    from studio_sandbox.control_plane.moto_adapter import ecs_operations

    response = responses.EC2ContainerServiceResponse
    response.list_task_definitions = _list_task_definitions
    response.list_tasks = _list_tasks
    response.register_task_definition = _signed(response.register_task_definition)
    for operation, reason in _NEED_TASKS.items():
        setattr(response, operation, _missing(reason))
    # moto moves a task one step towards STOPPED each time that it is described
    models.Task.advance = lambda self: None
    models.random_private_ip = lambda: _Addresses.next
    ecs_operations.patch()


class _Addresses:
    """The address that the next task gets; moto draws one that is in no subnet."""

    next = ""


@contextmanager
def next_address(address: str) -> Iterator[None]:
    """Give the task that is launched within this address."""
    _Addresses.next = address
    yield
    _Addresses.next = ""


def _missing(reason: str) -> Callable[[Any], Any]:
    def refuse(_self: Any) -> Any:
        raise NotInSandbox(reason)

    return refuse


def _signed(register: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Plain moto says neither when a revision was registered nor by whom."""

    def register_task_definition(self: Any) -> Any:
        answer = register(self)
        revision = answer.result["taskDefinition"]
        revision.registered_at = core.now()
        revision.registered_by = iam.caller(self.current_account, self.get_access_key()).arn
        return answer

    return register_task_definition


def _list_task_definitions(self: Any) -> Any:
    """Sorted by family and number. Plain moto ignores `sort`, `maxResults` and `nextToken`."""
    arns = self.ecs_backend.list_task_definitions(
        self._get_param("familyPrefix"), self._get_param("status") or "ACTIVE"
    )
    ordered = sorted(arns, key=_family_and_number, reverse=self._get_param("sort") == "DESC")
    return _page(self, "taskDefinitionArns", ordered)


def _list_tasks(self: Any) -> Any:
    """Running tasks unless asked otherwise. Plain moto ignores `serviceName` and lists all."""
    wanted = self._get_param("desiredStatus") or "RUNNING"
    tasks = self.ecs_backend.list_tasks(
        self._get_param("cluster") or "default",
        self._get_param("containerInstance"),
        self._get_param("family"),
        self._get_param("startedBy"),
        None,
        wanted,
    )
    service = (self._get_param("serviceName") or "").rsplit("/", 1)[-1]
    arns = [t.task_arn for t in tasks if not service or t.group == f"service:{service}"]
    return _page(self, "taskArns", arns)


def _page(response: Any, name: str, items: list[str]) -> Any:
    from moto.core.responses import ActionResult

    token = response._get_param("nextToken") or "0"
    if not token.isdecimal():
        raise SandboxError("Invalid token", code="InvalidParameterException", status=400)
    first, size = int(token), int(response._get_param("maxResults") or _PAGE)
    answer: dict[str, Any] = {name: items[first : first + size]}
    if first + size < len(items):
        answer["nextToken"] = str(first + size)
    return ActionResult(answer)


def _family_and_number(arn: str) -> tuple[str, int]:
    family, number = arn.rsplit("/", 1)[-1].rsplit(":", 1)
    return family, int(number)


@dataclass(frozen=True)
class Placement:
    """Where one task runs."""

    subnet: str
    zone: str
    address: str


@dataclass(frozen=True)
class Deployed:
    """A service as it stands: what runs, since when, behind which target group."""

    name: str
    task_definition: str
    desired: int
    placements: list[Placement]
    security_groups: list[str]
    deployment_id: str
    deployed: datetime
    created: datetime
    deployed_by: str
    image_digest: str
    load_balancers: list[dict[str, Any]]
    events: list[dict[str, Any]]
    subnets: list[str] = field(default_factory=list)  # where tasks will run, when none does yet


class Containers:
    """Cluster, revisions and services of one region, for the seed."""

    def __init__(self, account: str, region: str, cluster: str) -> None:
        self._ecs = core.backend("ecs", account, region)
        self._cluster = cluster

    def create_cluster(self) -> None:
        """The cluster, with Container Insights and both Fargate providers."""
        self._ecs.create_cluster(
            self._cluster,
            cluster_settings=[{"name": "containerInsights", "value": "enabled"}],
            capacity_providers=["FARGATE", "FARGATE_SPOT"],
        )

    def revision(
        self, definition: dict[str, Any], *, number: int, registered: datetime, by: str
    ) -> str:
        """Register one revision under a number of our choosing; gives its ARN."""
        made = self._ecs.register_task_definition(**definition)
        family = self._ecs.task_definitions[made.family]
        del family[made.revision]
        made.arn = made.arn.removesuffix(f":{made.revision}") + f":{number}"
        made.revision = number
        family[number] = made
        made.registered_at, made.registered_by = core.naive(registered), by
        return str(made.arn)

    def service(self, wanted: Deployed) -> list[str]:
        """A service in a steady state, with all of its tasks running; gives the tasks' ids."""
        subnets = wanted.subnets or [p.subnet for p in wanted.placements]
        network = _network(subnets, wanted.security_groups)
        made = self._ecs.create_service(
            self._cluster,
            wanted.name,
            wanted.desired,
            task_definition_str=wanted.task_definition,
            load_balancers=wanted.load_balancers,
            launch_type="FARGATE",
            platform_version="LATEST",
            propagate_tags="SERVICE",
            network_configuration=network,
        )
        _settle(made, wanted)
        tasks = [self._task(wanted, placement) for placement in wanted.placements]
        cluster = self._ecs.clusters[self._cluster]
        cluster.pending_tasks_count = 0
        cluster.running_tasks_count = len(self._ecs.tasks.get(self._cluster, ()))
        cluster.active_services_count = len(self._ecs.services)
        return tasks

    def _task(self, wanted: Deployed, placement: Placement) -> str:
        with next_address(placement.address):
            (task,) = self._ecs.run_task(
                self._cluster,
                wanted.task_definition,
                1,
                None,
                wanted.deployment_id,
                None,
                "FARGATE",
                _network([placement.subnet], wanted.security_groups),
                f"service:{wanted.name}",
                "1.4.0",
            )
        started = core.naive(wanted.deployed + timedelta(seconds=48))
        revision = self._ecs.describe_task_definition(wanted.task_definition)
        _run(task, revision, started, placement.zone)
        (container,) = task.containers
        container.last_status, container.exitCode = "RUNNING", None
        container.image_digest = wanted.image_digest
        container.task_arn = task.task_arn
        container.container_arn = "{}/{}".format(
            task.task_arn.replace(":task/", ":container/"), container.container_arn.split("/")[-1]
        )
        container.runtime_id = (
            f"{task.id.replace('-', '')}-{int(placement.address[-1]) + 527074092}"
        )
        container.network_interfaces = [
            {"attachmentId": task.attachments[0]["id"], "privateIpv4Address": placement.address}
        ]
        return str(task.id)


def _run(task: Any, revision: Any, started: datetime, zone: str) -> None:
    task._status = "RUNNING"
    task.created_at = started - timedelta(seconds=44)
    task.pull_started_at = started - timedelta(seconds=30)
    task.pull_stopped_at = started - timedelta(seconds=9)
    task.started_at = task.connectivity_at = started
    task.connectivity = "CONNECTED"
    task.health_status = "UNKNOWN"  # as AWS has it where a container has no check of its own
    task.availability_zone, task.platform_family = zone, "Linux"
    task.cpu, task.memory = revision.cpu, revision.memory
    task.ephemeral_storage = revision.ephemeral_storage
    task.version, task.enable_execute_command = 4, True
    task.stopped_reason = None


def _settle(service: Any, wanted: Deployed) -> None:
    service.created_at = core.naive(wanted.created)
    service.created_by = wanted.deployed_by
    service.running_count, service.pending_count = wanted.desired, 0
    service.platform_family, service.enable_execute_command = "Linux", True
    service.health_check_grace_period_seconds = 60 if wanted.load_balancers else None
    service.deployment_configuration = {
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
    }
    service.events = [
        {**event, "createdAt": core.naive(event["createdAt"])} for event in wanted.events
    ]
    (deployment,) = service.deployments
    deployment.update(
        id=wanted.deployment_id,
        createdAt=core.naive(wanted.deployed),
        updatedAt=core.naive(wanted.deployed + timedelta(seconds=171)),
        desiredCount=wanted.desired,
        runningCount=wanted.desired,
        pendingCount=0,
        failedTasks=0,
        platformVersion="1.4.0",
        platformFamily="Linux",
        rolloutState="COMPLETED",
        rolloutStateReason=f"ECS deployment {wanted.deployment_id} completed.",
    )


def _network(subnets: list[str], groups: list[str]) -> dict[str, Any]:
    return {
        "awsvpcConfiguration": {
            "subnets": list(dict.fromkeys(subnets)),
            "securityGroups": groups,
            "assignPublicIp": "DISABLED",
        }
    }
