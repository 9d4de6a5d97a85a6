"""The backup region as a pilot light: what a failover needs first is there, and nothing runs.

Images and secrets are replicated (`images`, `secrets`), the assets lie there (`buckets`). Load
balancer and services are missing on purpose: a failover has to make them.
"""

from __future__ import annotations

from studio_sandbox.control_plane.seed import data_stores, network, services
from studio_sandbox.control_plane.seed.world import World

_NETWORK_NUMBER = 30  # 10.30.0.0/16: apart from the primary's, so that they can be joined


def seed(world: World) -> None:
    """Network, an empty cluster, copies of the database's snapshots."""
    region = world.config.backup_region
    net = network.seed(world, region, number=_NETWORK_NUMBER)
    services.seed_empty_cluster(world, region)
    data_stores.seed_copies(world, net)
