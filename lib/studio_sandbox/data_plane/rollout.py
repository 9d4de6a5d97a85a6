"""What the deployment workflow does: an image for a commit, new revisions, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import core, ecr, ecs_services

ORDER = (names.BACKEND, names.GATEWAY, names.WORKER, names.FRONTEND)
_IMAGE_BYTES = 210 * 2**20
Tell = Callable[[str, dict[str, Any]], None]  # an ECS call of the workflow's, for CloudTrail


class Rollout:
    """Services brought to one commit's image, in their order. Ends with the first that fails."""

    def __init__(
        self, account: str, region: str, services: Sequence[str], sha: str, tell: Tell
    ) -> None:
        self._account, self._region, self._sha, self._tell = account, region, sha, tell
        self._left = [one for one in ORDER if one in services]
        self._deployment = ""
        self.failed = ""  # the service whose deployment failed, and why

    def step(self) -> bool:
        """Look how far it has come, and begin with the next service; whether it has ended."""
        if self._left and not self.failed:
            with core.LOCK:
                found = ecs_services.all_services(self._account, self._region)
                services = {one.name: one for one in found}
                self._follow(services)
        return bool(self.failed) or not self._left

    def _follow(self, services: dict[str, ecs_services.LiveService]) -> None:
        name = self._left[0]
        if name not in services:
            self.failed = f"{name}: no such service"
            return
        service = services[name]
        if not self._deployment:
            self._begin(service)
            return
        if service.primary["id"] != self._deployment or service.primary["rolloutState"] == "FAILED":
            self.failed = f"{name}: {service.primary['rolloutStateReason']}"
        elif service.primary["rolloutState"] == "COMPLETED":
            self._left.pop(0)
            self._deployment = ""

    def _begin(self, service: ecs_services.LiveService) -> None:
        name, registry = service.name, f"{self._account}.dkr.ecr.{self._region}.amazonaws.com"
        image = f"{registry}/{names.repository(name)}:{self._sha}"
        if not ecr.digest(self._account, image):
            ecr.image(
                self._account,
                self._region,
                names.repository(name),
                tag=self._sha,
                pushed=datetime.now(UTC),
                size=_IMAGE_BYTES,
            )
        role = f"arn:aws:sts::{self._account}:assumed-role/{names.DEPLOY_ROLE}/GitHubActions"
        revision = service.revise(image, by=role, settings={"GIT_SHA": self._sha})
        service.deploy(revision)
        self._deployment = service.primary["id"]
        self._tell("RegisterTaskDefinition", {"family": name})
        self._tell(
            "UpdateService",
            {"cluster": names.CLUSTER, "service": name, "taskDefinition": revision},
        )
