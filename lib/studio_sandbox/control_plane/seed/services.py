"""The four services: their revisions, what runs, what scales them, who is registered where."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import autoscaling
from studio_sandbox.control_plane.moto_adapter.ecs import Containers, Deployed, Placement
from studio_sandbox.control_plane.moto_adapter.elbv2 import LoadBalancing
from studio_sandbox.control_plane.seed import identities, images, releases
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.control_plane.seed.load_balancer import Balancer
from studio_sandbox.control_plane.seed.network import Network
from studio_sandbox.control_plane.seed.releases import Release
from studio_sandbox.control_plane.seed.world import World, digest, uuid

_TARGET_PERCENT = 70.0
_MORE_MEMORY_SINCE = 5  # the release that doubled the tasks of backend and gateway


def seed(
    world: World,
    network: Network,
    balancer: Balancer,
    secret_arns: dict[str, str],
    digests: dict[str, str],
) -> dict[str, list[str]]:
    """Cluster and services in a steady state; gives the ids of each one's running tasks."""
    containers = Containers(world.account, world.region, names.CLUSTER)
    containers.create_cluster()
    tasks = {}
    for service in names.SERVICES:
        arn = _revisions(world, containers, service, secret_arns)
        deployed = _deployed(world, service, network, balancer, arn, digests[service])
        tasks[service] = containers.service(deployed)
        _register_targets(world, service, balancer, deployed.placements)
        _scale(world, service)
    return tasks


def seed_waiting(
    world: World,
    network: Network,
    balancer: Balancer,
    secret_arns: dict[str, str],
    digests: dict[str, str],
) -> None:
    """The same cluster and services, without a task: they wait for a failover."""
    containers = Containers(world.account, world.region, names.CLUSTER)
    containers.create_cluster()
    for service in names.SERVICES:
        arn = _revisions(world, containers, service, secret_arns)
        there = _deployed(world, service, network, balancer, arn, digests[service])
        containers.service(
            replace(there, desired=0, placements=[], subnets=network.private, events=[])
        )
        _scale(world, service, minimum=0)


def deployment_id(service: str, index: int) -> str:
    """The id of a service's deployment of one release."""
    return f"ecs-svc/{int(digest(f'deployment/{service}/{index}', 16), 16) % 10**19:019d}"


def deployer(world: World) -> str:
    """Who registered every revision: the workflow's session."""
    return f"arn:aws:sts::{world.account}:assumed-role/{names.DEPLOY_ROLE}/GitHubActions"


def _revisions(
    world: World, containers: Containers, service: str, secret_arns: dict[str, str]
) -> str:
    arn = ""
    first = SERVICE_FACTS[service].first_revision
    for number, release in enumerate(releases.of_service(world, service), start=first):
        arn = containers.revision(
            _definition(world, service, release, secret_arns),
            number=number,
            registered=release.registered,
            by=deployer(world),
        )
    return arn


def _definition(
    world: World, service: str, release: Release, secret_arns: dict[str, str]
) -> dict[str, Any]:
    facts = SERVICE_FACTS[service]
    memory = _memory_mib(service, release)
    return {
        "family": service,
        "network_mode": "awsvpc",
        "requires_compatibilities": ["FARGATE"],
        "cpu": str(facts.cpu),
        "memory": str(memory),
        "execution_role_arn": identities.execution_role(world, service),
        "task_role_arn": identities.task_role(world, service),
        "ephemeral_storage": {"sizeInGiB": 30},
        "runtime_platform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "container_definitions": [_container(world, service, release, secret_arns)],
        "tags": [{"key": "git-sha", "value": release.sha}],
    }


def _memory_mib(service: str, release: Release) -> int:
    memory = SERVICE_FACTS[service].memory_mib
    grew = memory > 1024 and release.index < _MORE_MEMORY_SINCE
    return memory // 2 if grew else memory


def _container(
    world: World, service: str, release: Release, secret_arns: dict[str, str]
) -> dict[str, Any]:
    facts = SERVICE_FACTS[service]
    environment = facts.environment | {"GIT_SHA": release.sha}
    container: dict[str, Any] = {
        "name": names.container(service),
        "image": images.uri(world, service, release.sha),
        "essential": True,
        "cpu": facts.cpu,
        "memory": _memory_mib(service, release),
        "command": list(facts.command),
        "portMappings": [],
        "environment": [{"name": k, "value": v} for k, v in sorted(environment.items())],
        "secrets": [{"name": name, "valueFrom": secret_arns[name]} for name in facts.secrets],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": names.LOG_GROUPS[service],
                "awslogs-region": world.region,
                "awslogs-stream-prefix": "ecs",
            },
        },
    }
    if facts.port:
        container["portMappings"] = [
            {"containerPort": facts.port, "hostPort": facts.port, "protocol": "tcp"}
        ]
    return container


def _deployed(
    world: World,
    service: str,
    network: Network,
    balancer: Balancer,
    revision: str,
    image_digest: str,
) -> Deployed:
    release = releases.of_service(world, service)[-1]
    deployed = release.registered + timedelta(seconds=4)
    return Deployed(
        name=service,
        task_definition=revision,
        desired=SERVICE_FACTS[service].desired,
        placements=_placements(service, network),
        security_groups=[network.service_group],
        deployment_id=deployment_id(service, release.index),
        deployed=deployed,
        created=world.ago(days=410),
        deployed_by=deployer(world),
        image_digest=image_digest,
        load_balancers=_targets(service, balancer),
        events=_events(world, service, deployment_id(service, release.index), deployed),
    )


def _placements(service: str, network: Network) -> list[Placement]:
    number = names.SERVICES.index(service)
    return [
        Placement(
            subnet=network.private[n % len(network.private)],
            zone=network.zones[n % len(network.zones)],
            address=f"10.20.1{n % len(network.private)}.{40 + number * 16 + n}",
        )
        for n in range(SERVICE_FACTS[service].desired)
    ]


def _targets(service: str, balancer: Balancer) -> list[dict[str, Any]]:
    port = SERVICE_FACTS[service].port
    if not port:
        return []
    return [
        {
            "targetGroupArn": balancer.groups[service],
            "containerName": names.container(service),
            "containerPort": port,
        }
    ]


def _events(
    world: World, service: str, deployment: str, deployed: datetime
) -> list[dict[str, Any]]:
    """Newest first: a steady state every six hours since the deployment was completed."""
    done = deployed + timedelta(seconds=171)
    events = [
        (deployed + timedelta(seconds=6), "has started 1 tasks."),
        (deployed + timedelta(seconds=109), "registered 1 targets in (target-group)."),
        (done - timedelta(seconds=20), "has stopped 1 running tasks."),
        (done, f"(deployment {deployment}) deployment completed."),
    ]
    steady = done
    while steady <= world.anchor:
        events.append((steady, "has reached a steady state."))
        steady += timedelta(hours=6)
    return [
        {
            "id": uuid(f"event/{service}/{n}"),
            "createdAt": moment,
            "message": f"(service {service}) {text}",
        }
        for n, (moment, text) in enumerate(events)
    ][::-1]


def _register_targets(
    world: World, service: str, balancer: Balancer, placements: list[Placement]
) -> None:
    port = SERVICE_FACTS[service].port
    if port:
        elb = LoadBalancing(world.account, world.region)
        for placement in placements:
            elb.register(balancer.groups[service], placement.address, port)


def _scale(world: World, service: str, *, minimum: int | None = None) -> None:
    facts = SERVICE_FACTS[service]
    autoscaling.scale_on_cpu(
        world.account,
        world.region,
        service=f"service/{names.CLUSTER}/{service}",
        minimum=facts.desired if minimum is None else minimum,
        maximum=facts.scale_to,
        policy=names.scaling_policy(service),
        target_percent=_TARGET_PERCENT,
        created=world.ago(days=398),
    )
