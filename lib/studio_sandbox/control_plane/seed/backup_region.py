"""The backup region as a pilot light: all that serves is defined there, and nothing runs.

Images and secrets are replicated (`images`, `secrets`), the assets lie there (`buckets`), and so
do daily copies of the database's snapshots. Services have no task, and there is no database: a
failover starts the ones and restores the other.
"""

from __future__ import annotations

from dataclasses import replace

from studio_sandbox.control_plane.seed import data_stores, load_balancer, network, services
from studio_sandbox.control_plane.seed.network import Network
from studio_sandbox.control_plane.seed.world import World

_NETWORK_NUMBER = 30  # 10.30.0.0/16: apart from the primary's, so that they can be joined


def seed(world: World) -> Network:
    """Network, and copies of the database's snapshots."""
    net = network.seed(world, world.config.backup_region, number=_NETWORK_NUMBER)
    data_stores.seed_copies(world, net)
    return net


def seed_services(
    world: World, net: Network, secret_arns: dict[str, str], digests: dict[str, str]
) -> None:
    """Load balancer, revisions and services like those of the primary region, without a task."""
    here, there = world.region, world.config.backup_region
    away = replace(world, config=replace(world.config, region=there, backup_region=here))
    arns = {name: arn.replace(here, there) for name, arn in secret_arns.items()}
    services.seed_waiting(away, net, load_balancer.seed(away, net), arns, digests)
