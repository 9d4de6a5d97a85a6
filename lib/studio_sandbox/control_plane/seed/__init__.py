"""The whole Studio, put into moto in process: one module a noun, each predictable by itself."""

from __future__ import annotations

from datetime import datetime

from studio_sandbox.control_plane.config import Config
from studio_sandbox.control_plane.seed import (
    identities,
    images,
    load_balancer,
    network,
    secrets,
    services,
)
from studio_sandbox.control_plane.seed.world import World


def everything(config: Config, anchor: datetime, *, seed: int) -> None:
    """Seed all of AWS as it stands at `anchor`; moto must be empty. Same input, same ids."""
    world = World(config=config, anchor=anchor, number=seed)
    secret_arns = secrets.seed(world)
    identities.seed(world, secret_arns)
    net = network.seed(world, world.region)
    balancer = load_balancer.seed(world, net)
    digests = images.seed(world)
    services.seed(world, net, balancer, secret_arns, digests)
