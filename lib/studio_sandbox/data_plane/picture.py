"""The part of AWS's state that requests pass through, copied at one moment under moto's lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studio_sandbox.control_plane import names, task_start
from studio_sandbox.control_plane.moto_adapter import (
    core,
    ecs_services,
    ecs_tasks,
    elbv2,
    route53,
    secretsmanager,
)
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import LiveTask
from studio_sandbox.control_plane.moto_adapter.elbv2 import Rule


@dataclass(frozen=True)
class Replica:
    """One task, as those see it who talk to it. `environment` is what it was started with."""

    id: str
    service: str
    status: str
    address: str
    revision: str
    image: str
    region: str
    environment: dict[str, str] = field(repr=False)
    wanted: bool = True


@dataclass(frozen=True)
class Picture:
    """Rules, targets (by group: addresses and their states), tasks, and how many are wanted."""

    rules: list[Rule]
    targets: dict[str, dict[str, str]]
    replicas: list[Replica]
    desired: dict[str, int]
    balancer: str  # its ARN
    groups: dict[str, str]  # the target group of each service that has one
    region: str

    def running(self, service: str) -> list[Replica]:
        """The tasks of a service that run and are not being stopped."""
        return [
            one
            for one in self.replicas
            if one.service == service and one.status == "RUNNING" and one.wanted
        ]

    def at(self, address: str) -> Replica | None:
        """The task that answers at an address: one that drains does, too."""
        found = [one for one in self.replicas if one.address == address]
        return next((one for one in found if one.status in ("RUNNING", "DEACTIVATING")), None)


def served_from(account: str, regions: Sequence[str]) -> tuple[str, str]:
    """The region, and the load balancer in it, that the API's name leads to."""
    with core.LOCK:
        dns_name = route53.led_to(account, names.API_HOST)
        found = ((region, elbv2.at(account, region, dns_name)) for region in regions)
        return next((one for one in found if one[1]), (regions[0], ""))


def nothing(region: str) -> Picture:
    """A region that does not answer."""
    return Picture([], {}, [], {}, "", {}, region)


def take(account: str, region: str, balancer: str = names.LOAD_BALANCER) -> Picture:
    """Copy what is there now."""
    with core.LOCK:
        services = ecs_services.all_services(account, region)
        tasks = ecs_tasks.all_of(account, region)
        return Picture(
            region=region,
            balancer=elbv2.find(account, region, balancer),
            rules=elbv2.rules(account, region, balancer),
            targets=elbv2.targets(account, region),
            replicas=[
                _replica(account, region, task)
                for task in tasks
                if task.service and task.status not in ("PROVISIONING", "STOPPED")
            ],
            desired={one.name: one.desired for one in services},
            groups={one.name: target.group for one in services for target in one.targets},
        )


def secret(account: str, region: str, name: str) -> str:
    """What a secret's current value is."""
    with core.LOCK:
        return secretsmanager.value(account, region, name)


def _replica(account: str, region: str, task: LiveTask) -> Replica:
    if task.life.environment is None:  # a seeded one: it started with what the seed has put
        task.life.environment = task_start.environment(account, task.revision)
    return Replica(
        id=task.id,
        service=task.service,
        status=task.status,
        address=task.address,
        revision=task.revision_name,
        image=task.image,
        region=region,
        environment=task.life.environment,
        wanted=task.wanted,
    )
