"""The whole Studio, put into moto in process: one module a noun, each predictable by itself."""

from __future__ import annotations

from datetime import datetime

from studio_sandbox.control_plane.config import Config
from studio_sandbox.control_plane.seed import (
    alarms,
    backup_region,
    buckets,
    dashboards,
    data_stores,
    dns,
    identities,
    images,
    load_balancer,
    logs,
    mail,
    metrics,
    network,
    secrets,
    services,
    traffic,
)
from studio_sandbox.control_plane.seed.people import Asking
from studio_sandbox.control_plane.seed.world import World


def everything(config: Config, anchor: datetime, *, seed: int) -> None:
    """Seed all of AWS as it stands at `anchor`; moto must be empty. Same input, same ids."""
    world = World(config=config, anchor=anchor, number=seed)
    asking = Asking(config.database_url, patience_s=config.users_wait_s)
    secret_arns = secrets.seed(world)
    identities.seed(world, secret_arns)
    net = network.seed(world, world.region)
    balancer = load_balancer.seed(world, net)
    digests = images.seed(world)
    tasks = services.seed(world, net, balancer, secret_arns, digests)
    redis_nodes = data_stores.seed(world, net)
    backup_net = backup_region.seed(world)
    alarms.seed(world, balancer, redis_nodes[0])
    dashboards.seed(world, balancer, redis_nodes)
    mail.seed(world)
    dns.seed(world, balancer)
    # the rest tells of users: the database has had the time so far to fill its tables
    people = asking.answer()
    buckets.seed(world, people)
    drawn = traffic.draw(world, people.users)
    logs.seed(world, drawn, tasks)
    metrics.seed(world, drawn, balancer, redis_nodes)
    backup_region.seed_services(world, backup_net, secret_arns, digests)
