"""Images in ECR, tagged with the git SHA that they were built from. The oldest have expired."""

from __future__ import annotations

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import ecr
from studio_sandbox.control_plane.seed import releases
from studio_sandbox.control_plane.seed.world import World

_MIB = 1024 * 1024
_SIZES_MIB = {names.FRONTEND: 142, names.BACKEND: 238, names.GATEWAY: 196, names.WORKER: 251}


def seed(world: World) -> dict[str, str]:
    """Repositories and images in both regions; gives the digest of each service's running one."""
    for service in names.SERVICES:
        _repository(world, service, world.config.backup_region)
    return {service: _repository(world, service, world.region) for service in names.SERVICES}


def uri(world: World, service: str, sha: str) -> str:
    """What a task definition calls the image of one SHA."""
    registry = f"{world.account}.dkr.ecr.{world.region}.amazonaws.com"
    return f"{registry}/{names.repository(service)}:{sha}"


def _repository(world: World, service: str, region: str) -> str:
    name = names.repository(service)
    ecr.repository(world.account, region, name, created=world.ago(days=412))
    digest = ""
    for release in releases.of_service(world, service):
        if release.image_kept:
            digest = ecr.image(
                world.account,
                region,
                name,
                tag=release.sha,
                pushed=release.built,
                size=_SIZES_MIB[service] * _MIB + release.index * 41_717,
            )
    return digest
