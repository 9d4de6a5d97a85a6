"""The Aurora cluster with its snapshots, and the Redis replication group."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import elasticache
from studio_sandbox.control_plane.moto_adapter.rds import Aurora, ClusterSpec
from studio_sandbox.control_plane.seed.network import Network
from studio_sandbox.control_plane.seed.world import World

_RETENTION_DAYS = 7
_SUBNET_GROUP, _PARAMETER_GROUP = "ai-studio-db-subnets", "ai-studio-aurora-pg16"
_FAMILY = "aurora-postgresql16"
_COPIES_KEPT = 2  # days, in the backup region
_COPY_TAKES = timedelta(minutes=26)
_MANUAL_AGES_DAYS = {"pre-migration": 33, "manual": 12}


def seed(world: World, network: Network) -> list[str]:
    """Database and cache; gives the names of the cache's nodes, the primary first."""
    _database(world, network)
    return elasticache.replication_group(
        world.account,
        world.region,
        names.REDIS_GROUP,
        nodes=2,
        node_type="cache.t4g.small",
        version="7.1",
        subnets=network.private,
        security_groups=[network.cache_group],
        zones=network.zones,
        created=world.ago(days=411),
    )


def _database(world: World, network: Network) -> None:
    aurora, url = Aurora(world.account, world.region), urlsplit(world.config.database_url)
    aurora.subnet_group(_SUBNET_GROUP, network.private)
    aurora.parameter_group(_PARAMETER_GROUP, family=_FAMILY)
    aurora.cluster(
        ClusterSpec(
            name=names.DATABASE_CLUSTER,
            version="16.6",
            min_acu=0.5,
            max_acu=8,
            database=url.path.removeprefix("/"),
            user=url.username or "",
            subnet_group=_SUBNET_GROUP,
            security_groups=[network.database_group],
            parameter_group=_PARAMETER_GROUP,
            retention_days=_RETENTION_DAYS,
            zones=network.zones,
            created=world.ago(days=411),
            earliest_restore=_backup_of(world, _RETENTION_DAYS),
        )
    )
    for tier, name in enumerate((names.DATABASE_WRITER, names.DATABASE_READER)):
        aurora.instance(
            name,
            cluster=names.DATABASE_CLUSTER,
            zone=network.zones[tier],
            tier=tier,
            created=world.ago(days=411 - 3 * tier),
        )
    _snapshots(world, aurora)
    aurora.serve(names.DATABASE_CLUSTER)


def _snapshots(world: World, aurora: Aurora) -> None:
    """One automated snapshot for each day that is kept, and two that people took."""
    for day in range(_RETENTION_DAYS):
        taken = _backup_of(world, day)
        aurora.snapshot(
            _automated(taken),
            cluster=names.DATABASE_CLUSTER,
            kind="automated",
            taken=taken,
            size_gib=46 - day // 3,
        )
    for kind, days in _MANUAL_AGES_DAYS.items():
        taken = world.ago(days=days)
        aurora.snapshot(
            f"ai-studio-{kind}-{taken:%Y%m%d-%H%M}",
            cluster=names.DATABASE_CLUSTER,
            kind="manual",
            taken=taken,
            size_gib=45 - days // 10,
        )


def seed_copies(world: World, network: Network) -> None:
    """In the backup region: where a cluster can be restored to, and yesterday's snapshots."""
    aurora = Aurora(world.account, world.config.backup_region)
    aurora.subnet_group(_SUBNET_GROUP, network.private)
    aurora.parameter_group(_PARAMETER_GROUP, family=_FAMILY)
    backups = (_backup_of(world, day) for day in range(_RETENTION_DAYS))
    arrived = (taken for taken in backups if taken + _COPY_TAKES <= world.anchor)
    for taken in islice(arrived, _COPIES_KEPT):
        aurora.snapshot_copy(
            f"{names.DATABASE_CLUSTER}-copy-{taken:%Y%m%d}",
            of=_automated(taken),
            source_region=world.region,
            zones=network.zones,
            copied=taken + _COPY_TAKES,
        )


def _automated(taken: datetime) -> str:
    return f"rds:{names.DATABASE_CLUSTER}-{taken:%Y-%m-%d-%H-%M}"


def _backup_of(world: World, days_ago: int) -> datetime:
    """When the daily backup ran: shortly after its window opens at 01:30 UTC."""
    today = world.anchor.replace(hour=1, minute=37, second=0)
    last = today if today <= world.anchor else today - timedelta(days=1)
    return last - timedelta(days=days_ago)
