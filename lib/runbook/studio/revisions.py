"""Revisions of a service: image, age, author, and whether tasks of it can start now.

    found = revisions.read(rb.clients, services, most=8)
    found["gateway"][0].faults      empty: image and secrets are there

A revision can start when each image is in ECR, and each secret exists and may be read by the role
that ECS starts tasks with. What lies elsewhere (another registry, a parameter of SSM) is not
looked at. That an older revision was healthy nobody keeps; tasks that failed within the last hour
are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.plan import Json
from runbook.clients import Clients
from runbook.studio import iam, secretsmanager, stopped
from runbook.studio.ecs import Service
from runbook.studio.secretsmanager import Listed

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_TAG = re.compile(r"[:@]([^:@/]+)$")
_READ = "secretsmanager:GetSecretValue"


@dataclass(frozen=True)
class Revision:
    """One revision of a service. `commit` is its first image's tag, `faults` why it cannot start.

    `failed` are its tasks that failed within the last hour.
    """

    service: str
    name: str  # family:revision
    commit: str
    registered_at: datetime
    by: str
    faults: tuple[str, ...] = ()
    failed: int = 0

    @property
    def number(self) -> int:
        """The revision within its family."""
        return int(self.name.rpartition(":")[2])


class _World:
    """What revisions need to start, asked for once: images, secrets, what roles may read."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._secrets: tuple[Listed, ...] | None = None
        self._images: dict[tuple[str, str, str], frozenset[str] | None] = {}
        self._policies: dict[str, list[Json] | None] = {}

    def faults(self, definition: Mapping[str, Any]) -> tuple[str, ...]:
        """Why tasks of a definition cannot start: one phrase each."""
        found = []
        role = definition.get("executionRoleArn", "").rsplit("/", 1)[-1]
        for container in definition["containerDefinitions"]:
            found.append(self._image_fault(container["image"]))
            found += [self._secret_fault(role, one) for one in container.get("secrets", ())]
        return tuple(dict.fromkeys(one for one in found if one))

    def _image_fault(self, image: str) -> str:
        parts = _IMAGE.fullmatch(image)
        if parts is None:
            return ""
        place = (parts["account"], parts["region"], parts["repository"])
        if place not in self._images:
            self._images[place] = self._read_images(*place)
        kept, wanted = self._images[place], parts["digest"] or parts["tag"] or "latest"
        if kept is None:
            return f"there is no repository {parts['repository']}"
        return "" if wanted in kept else "its image has left ECR"

    def _read_images(self, account: str, region: str, repository: str) -> frozenset[str] | None:
        """Tags and digests in a repository; None when there is no such repository.

        Source: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html
        """
        ecr = self._clients.aws("ecr", region=region)
        pages = ecr.get_paginator("list_images").paginate(
            registryId=account, repositoryName=repository
        )
        try:
            found = [one for page in pages for one in page["imageIds"]]
        except ecr.exceptions.RepositoryNotFoundException:
            return None
        return frozenset(value for one in found for value in one.values())

    def _secret_fault(self, role: str, secret: Mapping[str, str]) -> str:
        if not secretsmanager.is_secret(secret["valueFrom"]):
            return ""
        if self._secrets is None:
            self._secrets = secretsmanager.read_secrets(self._clients.aws("secretsmanager"))
        found = secretsmanager.referred(self._secrets, secret["valueFrom"])
        if found is None or found.deleted_at:
            return f"the secret of {secret['name']} does not exist"
        if role not in self._policies:
            self._policies[role] = self._read_policies(role)
        policies = self._policies[role]
        if policies is None:
            return f"there is no role {role}"
        allowed = iam.allows(policies, _READ, found.arn)
        return "" if allowed else f"{role} may not read {found.name}"

    def _read_policies(self, role: str) -> list[Json] | None:
        client = self._clients.aws("iam")
        try:
            return iam.read_role_policies(client, role)
        except client.exceptions.NoSuchEntityException:
            return None


def read(
    clients: Clients, services: Iterable[Service], *, most: int
) -> dict[str, tuple[Revision, ...]]:
    """The active revisions of each service's family by service, newest first, at most so many.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
    """
    world = _World(clients)
    return {one.name: tuple(_of_service(clients, world, one, most)) for one in services}


def faults_of(clients: Clients, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Why tasks of each of these revisions (`family:number`) cannot start; empty where they can."""
    world, ecs = _World(clients), clients.aws("ecs")
    return {
        name: world.faults(ecs.describe_task_definition(taskDefinition=name)["taskDefinition"])
        for name in dict.fromkeys(names)
    }


def _of_service(clients: Clients, world: _World, service: Service, most: int) -> Iterable[Revision]:
    ecs = clients.aws("ecs")
    failed = [
        task.revision
        for task in stopped.read_failed(ecs, cluster=service.cluster, service=service.name)
    ]
    for name in _newest(ecs, service.task_definition.rpartition(":")[0], most):
        definition = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        yield Revision(
            service.name,
            name,
            commit=_tag(definition["containerDefinitions"][0]["image"]),
            registered_at=definition["registeredAt"],
            by=definition.get("registeredBy", "").rsplit("/", 1)[-1],
            faults=world.faults(definition),
            failed=failed.count(name),
        )


def _newest(ecs: Any, family: str, most: int) -> list[str]:
    pages = ecs.get_paginator("list_task_definitions").paginate(
        familyPrefix=family, sort="DESC", PaginationConfig={"MaxItems": most}
    )
    names = (arn.rsplit("/", 1)[-1] for page in pages for arn in page["taskDefinitionArns"])
    return [name for name in names if name.rpartition(":")[0] == family]


def _tag(image: str) -> str:
    """What an image is tagged with: the git SHA that it was built from. A digest names itself."""
    found = _TAG.search(image)
    return found[1] if found else "latest"
