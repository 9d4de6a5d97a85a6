"""Tasks that live: launched into a subnet, moved from status to status, stopped with a reason.

moto's task keeps what AWS shows; what the scheduler has to remember of it (since when, how its
health checks go) stands beside it in a `Life`.
Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core, ecr, ecs, elbv2, logs
from studio_sandbox.control_plane.one_off import OneOff

_FIRST_ADDRESS = 100  # of a subnet; the seeded tasks and the data stores are below


@dataclass
class Life:
    """What the scheduler remembers of a task. Times are of a clock that never jumps."""

    since: float = -math.inf  # when it came into its status
    started: float = -math.inf
    answers_well: bool | None = True  # what its last health check found; None before the first
    answers_since: float = -math.inf
    health: str = "healthy"  # of its target
    exit_code: int | None = None  # what its container exits with, once it has stopped
    # what its container was given, secrets as they were then; None until it is pulled
    environment: dict[str, str] | None = field(default=None, repr=False)
    run: OneOff | None = None  # the command of a task of its own


@dataclass(frozen=True)
class Launch:
    """What a task is launched from and for."""

    cluster: str
    revision: str
    group: str
    started_by: str
    network: dict[str, Any]
    overrides: dict[str, Any] | None = None
    tags: list[dict[str, str]] | None = None


@dataclass(frozen=True)
class Target:
    """Where a task is reached through a load balancer."""

    group: str
    port: int


class LiveTask:
    """One task of moto's, as the scheduler handles it."""

    def __init__(self, account: str, region: str, task: Any) -> None:
        self._task = task
        self._account, self._region = account, region
        if not hasattr(task, "sandbox"):  # a seeded one: it has run since long ago
            task.sandbox, task.execution_stopped_at = Life(), None
        self.life: Life = task.sandbox

    @property
    def described(self) -> Any:
        """moto's own, for an answer."""
        return self._task

    @property
    def id(self) -> str:
        return str(self._task.id)

    @property
    def status(self) -> str:
        return str(self._task._status)

    @property
    def wanted(self) -> bool:
        """Whether it shall run; a task that is being stopped shall not."""
        return bool(self._task.desired_status == "RUNNING")

    @property
    def service(self) -> str:
        """The service that it belongs to; empty for a task of its own."""
        kind, _, name = self._task.group.partition(":")
        return name if kind == "service" else ""

    @property
    def deployment(self) -> str:
        return str(self._task.started_by)

    @property
    def revision(self) -> Any:
        ecs_backend = core.backend("ecs", self._account, self._region)
        return ecs_backend.describe_task_definition(self._task.task_definition_arn)

    @property
    def revision_name(self) -> str:
        """`family:number`."""
        return str(self._task.task_definition_arn.rsplit("/", 1)[-1])

    @property
    def image(self) -> str:
        return str(self._task.containers[0].image)

    @property
    def command(self) -> list[str]:
        """What its container runs."""
        own = self._override.get("command")
        return list(own or self.revision.container_definitions[0].get("command") or [])

    @property
    def own_environment(self) -> dict[str, str]:
        """What it was given beside what its revision says."""
        return {one["name"]: one["value"] for one in self._override.get("environment") or []}

    @property
    def _override(self) -> dict[str, Any]:
        given = (self._task.overrides or {}).get("containerOverrides") or [{}]
        return dict(given[0])

    @property
    def address(self) -> str:
        return _detail(self._task, "privateIPv4Address")

    @property
    def subnet(self) -> str:
        return _detail(self._task, "subnetId")

    @property
    def zone(self) -> str:
        return str(self._task.availability_zone)

    def in_status_s(self, now: float) -> float:
        """How long it has been in its status."""
        return now - self.life.since

    def move(self, status: str, now: float) -> None:
        """Come into the next status."""
        self._task._status, self.life.since = status, now
        self._task.version += 1

    def pull(self) -> None:
        """Begin to pull the image."""
        self._task.pull_started_at = core.now()
        self._task.connectivity, self._task.connectivity_at = "CONNECTED", core.now()

    def activate(self, targets: list[Target], now: float) -> None:
        """The image is there: register with the target groups, whose checks begin."""
        self._task.pull_stopped_at = core.now()
        self._task.containers[0].image_digest = ecr.digest(self._account, self.image)
        for target in targets:
            elbv2.register(self._account, self._region, target.group, self.address, target.port)
        self.life.health = "initial" if targets else "healthy"
        self.life.answers_well, self.life.answers_since = None, now
        self.move("ACTIVATING", now)

    def run(self, now: float) -> None:
        """The container runs."""
        self._task.started_at = core.now()
        self._task.containers[0].last_status = "RUNNING"
        self.life.started = now
        self.move("RUNNING", now)

    def check(self, targets: list[Target], health: str, codes: str = "") -> None:
        """Change the health of its targets."""
        self.life.health = health
        for target in targets:
            elbv2.mark(self._account, self._region, target.group, self.address, health, codes)

    def stop(self, now: float, *, reason: str, code: str, exit_code: int | None = 143) -> None:
        """Begin to stop it: it drains first if it ran. 143 is how SIGTERM ends a container."""
        ran = self.status in ("ACTIVATING", "RUNNING")
        self._task.desired_status = "STOPPED"
        self._task.stopped_reason, self._task.stop_code = reason, code
        self._task.stopping_at = core.now()
        self.life.exit_code = exit_code if ran else None
        self.move("DEACTIVATING", now)

    def fail(self, now: float, *, reason: str) -> None:
        """It could not start: no container of it ever ran."""
        self.stop(now, reason=reason, code="TaskFailedToStart", exit_code=None)
        self._task.containers[0].reason = reason
        self.move("DEPROVISIONING", now)

    def fail_to_start(self, now: float, *, reason: str, exit_code: int) -> None:
        """Its image is there, and its container was made and could not be started."""
        self._task.pull_stopped_at = core.now()
        self.fail(now, reason=reason)
        self._task.stopped_reason = "Task failed to start"
        self.life.exit_code = exit_code

    def exit(self, now: float, exit_code: int) -> None:
        """Its essential container ended by itself."""
        self.stop(now, reason="Essential container in task exited", code="EssentialContainerExited")
        self.life.exit_code = exit_code
        self._end_container()

    def drain(self, targets: list[Target]) -> None:
        """Its targets get no new requests."""
        for target in targets:
            elbv2.mark(self._account, self._region, target.group, self.address, "draining")

    def leave(self, targets: list[Target], now: float) -> None:
        """Its targets are gone, and the container is told to end."""
        for target in targets:
            elbv2.remove(self._account, self._region, target.group, self.address)
        self.move("STOPPING", now)

    def release(self, now: float) -> None:
        """The container has ended; the network interface is taken away."""
        self._end_container()
        self.move("DEPROVISIONING", now)

    def stopped(self, now: float) -> None:
        """Nothing of it is left but its description."""
        self._end_container()
        self._task.stopped_at = core.now()
        self._task.health_status = self._task.containers[0].health_status = "UNKNOWN"
        self._task.connectivity = None
        interface = _detail(self._task, "networkInterfaceId")
        core.backend("ec2", self._account, self._region).enis.pop(interface, None)
        for attachment in self._task.attachments:
            attachment["status"] = "DELETED"
        self.move("STOPPED", now)

    def say(self, text: str) -> None:
        """Write a line into its log stream, if it has one."""
        container = self.revision.container_definitions[0]
        options = container.get("logConfiguration", {}).get("options", {})
        if group := options.get("awslogs-group"):
            prefix = options.get("awslogs-stream-prefix", "ecs")
            stream = f"{prefix}/{container['name']}/{self.id}"
            logs.append(self._account, self._region, group, stream, text)

    def _end_container(self) -> None:
        container = self._task.containers[0]
        container.last_status, container.exitCode = "STOPPED", self.life.exit_code
        container.health_status = "UNKNOWN"
        if self._task.execution_stopped_at is None:
            self._task.execution_stopped_at = core.now()


def launch(account: str, region: str, wanted: Launch, now: float) -> LiveTask:
    """A task in PROVISIONING, in that of its subnets which has the fewest."""
    backend = core.backend("ecs", account, region)
    subnet = _emptiest(account, region, wanted.network["awsvpcConfiguration"]["subnets"])
    address = _free_address(account, region, subnet)
    network = {
        "awsvpcConfiguration": {"securityGroups": [], **wanted.network["awsvpcConfiguration"]}
    }
    network["awsvpcConfiguration"]["subnets"] = [subnet]
    with ecs.next_address(address):
        (task,) = backend.run_task(
            wanted.cluster, wanted.revision, 1, wanted.overrides, wanted.started_by,
            wanted.tags, "FARGATE", network, wanted.group, "1.4.0",
        )  # fmt: skip
    _describe(account, region, task, subnet, address)
    task.sandbox = Life(since=now, answers_well=None, health="initial")
    return LiveTask(account, region, task)


def all_of(account: str, region: str) -> list[LiveTask]:
    """All tasks of a region, the stopped ones that are still listed among them."""
    clusters = core.backend("ecs", account, region).tasks.values()
    return [LiveTask(account, region, task) for tasks in clusters for task in tasks.values()]


def forget_stopped(account: str, region: str, *, after_s: float, now: float) -> None:
    """Drop tasks that stopped so long ago: AWS shows them for an hour."""
    for tasks in core.backend("ecs", account, region).tasks.values():
        for arn, task in list(tasks.items()):
            life = getattr(task, "sandbox", None)
            if life and task._status == "STOPPED" and now - life.since > after_s:
                del tasks[arn]


def _describe(account: str, region: str, task: Any, subnet: str, address: str) -> None:
    """Everything that AWS says of a Fargate task, and moto does not."""
    revision = core.backend("ecs", account, region).describe_task_definition(
        task.task_definition_arn
    )
    task._status, task.version = "PROVISIONING", 1
    task.created_at = core.now()
    task.availability_zone = _subnet(account, region, subnet).availability_zone
    task.platform_family, task.health_status = "Linux", "UNKNOWN"
    task.cpu, task.memory = revision.cpu, revision.memory
    task.ephemeral_storage = revision.ephemeral_storage
    task.enable_execute_command, task.stopped_reason = True, None
    task.execution_stopped_at = None
    (container,) = task.containers
    container.last_status, container.exitCode = "PENDING", None
    container.health_status = "UNKNOWN"
    container.task_arn = task.task_arn
    container.container_arn = "{}/{}".format(
        task.task_arn.replace(":task/", ":container/"), container.container_arn.split("/")[-1]
    )
    container.runtime_id = f"{task.id.replace('-', '')}-{int(address.split('.')[-1]) + 527074092}"
    container.network_interfaces = [
        {"attachmentId": task.attachments[0]["id"], "privateIpv4Address": address}
    ]


def _emptiest(account: str, region: str, subnets: list[str]) -> str:
    used = [task.subnet for task in all_of(account, region) if task.wanted]
    return min(subnets, key=used.count)


def _free_address(account: str, region: str, subnet: str) -> str:
    interfaces = core.backend("ec2", account, region).enis.values()
    used = {interface.private_ip_address for interface in interfaces}
    network = ipaddress.ip_network(_subnet(account, region, subnet).cidr_block)
    addresses = map(str, list(network.hosts())[_FIRST_ADDRESS - 1 :])
    return next(address for address in addresses if address not in used)


def _subnet(account: str, region: str, subnet: str) -> Any:
    return core.backend("ec2", account, region).get_subnet(subnet)


def _detail(task: Any, name: str) -> str:
    details = task.attachments[0]["details"]
    return next(str(one["value"]) for one in details if one["name"] == name)
