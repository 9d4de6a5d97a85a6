"""ElastiCache: a replication group and the nodes that it consists of."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_PORT = 6379


def replication_group(
    account: str,
    region: str,
    name: str,
    *,
    nodes: int,
    node_type: str,
    version: str,
    subnets: list[str],
    security_groups: list[str],
    zones: list[str],
    created: datetime,
) -> list[str]:
    """A group with a primary and replicas; gives its nodes' names.

    Plain moto names the member clusters of a group and has none of them.
    """
    cache = core.backend("elasticache", account, region)
    subnet_group = f"{name}-subnets"
    cache.create_cache_subnet_group(subnet_group, "Private subnets of ai-studio", subnets, [])
    group = core.call(
        cache.create_replication_group,
        replication_group_id=name,
        replication_group_description="Usage counters, rate limits, Celery broker",
        automatic_failover_enabled=True,
        multi_az_enabled=True,
        num_cache_clusters=nodes,
        num_node_groups=1,
        replicas_per_node_group=nodes - 1,
        preferred_cache_cluster_azs=zones[:nodes],
        cache_node_type=node_type,
        engine="redis",
        engine_version=version,
        cache_subnet_group_name=subnet_group,
        security_group_ids=security_groups,
        snapshot_retention_limit=7,
        snapshot_window="00:30-01:30",
        transit_encryption_enabled=True,
        at_rest_encryption_enabled=True,
        auth_token="kept in Secrets Manager",  # noqa: S106  only whether there is one is kept
        auto_minor_version_upgrade=True,
    )
    group.replication_group_create_time = core.naive(created)
    group.auth_token_last_modified_date = core.naive(created)
    for node, zone in zip(group.member_clusters, zones, strict=False):
        made = core.call(
            cache.create_cache_cluster,
            cache_cluster_id=node,
            replication_group_id=name,
            preferred_availability_zone=zone,
            num_cache_nodes=1,
            cache_node_type=node_type,
            engine="redis",
            engine_version=version,
            cache_subnet_group_name=subnet_group,
            security_group_ids=security_groups,
        )
        made.cache_cluster_create_time = core.naive(created)
        made.auth_token_last_modified_date = core.naive(created)
        made.auth_token_enabled = True
    _name_endpoints(group, name, region)
    for node in group.member_clusters:
        _add_node(cache.cache_clusters[node], _domain(name, region))
    return list(group.member_clusters)


def _name_endpoints(group: Any, name: str, region: str) -> None:
    """Endpoints that are the same each time, in our region; moto draws them, in us-east-1.

    They are believable only: the secret holds the URL that answers.
    """
    domain = _domain(name, region)
    for nodes in group.node_groups:
        nodes["primary_endpoint"] = {"address": f"master.{domain}", "port": _PORT}
        nodes["reader_endpoint"] = {"address": f"replica.{domain}", "port": _PORT}
        for member in nodes["node_group_members"]:
            address = f"{member['cache_cluster_id']}.{domain}"
            member["read_endpoint"] = {"address": address, "port": _PORT}


def _add_node(cluster: Any, domain: str) -> None:
    """The one node of a member cluster; plain moto describes clusters without nodes."""
    cluster.cache_nodes = [
        {
            "cache_node_id": "0001",
            "cache_node_status": "available",
            "cache_node_create_time": cluster.cache_cluster_create_time,
            "endpoint": {"address": f"{cluster.cache_cluster_id}.{domain}", "port": _PORT},
            "parameter_group_status": "in-sync",
            "customer_availability_zone": cluster.preferred_availability_zone,
        }
    ]


def _domain(name: str, region: str) -> str:
    number = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name}.{number}.{_short(region)}.cache.amazonaws.com"


def _short(region: str) -> str:
    """`eu-central-1` as AWS abbreviates it in names of hosts: `euc1`."""
    area, part, number = region.split("-")
    return f"{area}{part[0]}{number}"
