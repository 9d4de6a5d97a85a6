"""ElastiCache: a replication group and the nodes that it consists of."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_PORT = 6379


def nodes(account: str, region: str, name: str) -> list[str]:
    """The nodes of a replication group that live, its primary first; none without one."""
    backend = core.backend("elasticache", account, region)
    if name not in backend.replication_groups:
        return []
    (group,) = backend.describe_replication_groups(name)  # which settles what was begun
    lost = getattr(group, "sandbox_lost", "")
    members = group.node_groups[0]["node_group_members"]
    ordered = sorted(members, key=lambda one: str(one["current_role"]) != "primary")
    return [one["cache_cluster_id"] for one in ordered if one["cache_cluster_id"] != lost]


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
        make_node(
            cache,
            node,
            like=group,
            group=group,
            zone=zone,
            domain=_domain(name, region),
            created=core.naive(created),
        )
    _name_endpoints(group, name, region)
    return list(group.member_clusters)


def make_node(
    cache: Any, name: str, *, like: Any, group: Any, zone: str, domain: str, created: datetime
) -> None:
    """A member cluster of a group: of the type and version of what it is `like`."""
    made = core.call(
        cache.create_cache_cluster,
        cache_cluster_id=name,
        replication_group_id=group.replication_group_id,
        preferred_availability_zone=zone,
        num_cache_nodes=1,
        cache_node_type=like.cache_node_type,
        engine="redis",
        engine_version=like.engine_version,
        cache_subnet_group_name=like.cache_subnet_group_name,
        security_group_ids=like.security_group_ids,
    )
    made.cache_cluster_create_time = made.auth_token_last_modified_date = created
    made.auth_token_enabled = True
    _add_node(made, domain)


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
