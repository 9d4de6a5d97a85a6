"""ElastiCache: changes that take a while, and a replica that takes over.

Plain moto changes a node type at once, of the group and not of its nodes, and has no failover.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

GROUP = {"ReplicationGroupId": names.REDIS_GROUP}
DEADLINE_S = 60


@pytest.fixture
def cache(changing: Callable[..., Any]) -> Any:
    return changing("elasticache")


def group_of(cache: Any) -> dict[str, Any]:
    (group,) = cache.describe_replication_groups(**GROUP)["ReplicationGroups"]
    return dict(group)


def settled(cache: Any) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while (group := group_of(cache))["Status"] != "available":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return group


def roles(group: dict[str, Any]) -> dict[str, str]:
    (nodes,) = group["NodeGroups"]
    return {one["CacheClusterId"]: one["CurrentRole"] for one in nodes["NodeGroupMembers"]}


def nodes(cache: Any) -> dict[str, dict[str, Any]]:
    found = cache.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    return {one["CacheClusterId"]: one for one in found}


def refused(call: Callable[..., Any], **asked: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**GROUP, **asked)
    return str(error.value.response["Error"]["Code"])


def test_node_type_changes_on_all_nodes_after_a_while(cache: Any) -> None:
    before = group_of(cache)["CacheNodeType"]
    allowed = cache.list_allowed_node_type_modifications(**GROUP)
    larger = allowed["ScaleUpModifications"][0]
    answer = cache.modify_replication_group(**GROUP, CacheNodeType=larger, ApplyImmediately=True)
    group = answer["ReplicationGroup"]
    assert (group["Status"], group["CacheNodeType"]) == ("modifying", before)
    assert {one["CacheClusterStatus"] for one in nodes(cache).values()} == {"modifying"}
    assert refused(cache.test_failover, NodeGroupId="0001") == "InvalidReplicationGroupState"
    assert settled(cache)["CacheNodeType"] == larger
    assert {one["CacheNodeType"] for one in nodes(cache).values()} == {larger}
    assert {one["CacheClusterStatus"] for one in nodes(cache).values()} == {"available"}


def test_failover_promotes_the_replica_behind_the_same_endpoint(cache: Any) -> None:
    before = group_of(cache)
    cache.test_failover(**GROUP, NodeGroupId="0001")
    after = settled(cache)
    swapped = {"primary": "replica", "replica": "primary"}
    assert roles(after) == {node: swapped[role] for node, role in roles(before).items()}
    endpoints = [one["NodeGroups"][0]["PrimaryEndpoint"] for one in (before, after)]
    assert endpoints[0] == endpoints[1]


def test_replica_is_promoted_by_hand_while_nothing_fails_over_by_itself(cache: Any) -> None:
    replica = next(node for node, role in roles(group_of(cache)).items() if role == "replica")
    wanted = {"PrimaryClusterId": replica, "ApplyImmediately": True}
    assert refused(cache.modify_replication_group, **wanted) == "InvalidReplicationGroupState"
    cache.modify_replication_group(
        **GROUP, AutomaticFailoverEnabled=False, MultiAZEnabled=False, ApplyImmediately=True
    )
    assert refused(cache.test_failover, NodeGroupId="0001") == "TestFailoverNotAvailableFault"
    cache.modify_replication_group(**GROUP, **wanted)
    assert roles(settled(cache))[replica] == "primary"


def test_replicas_come_and_go(cache: Any) -> None:
    cache.increase_replica_count(**GROUP, NewReplicaCount=2, ApplyImmediately=True)
    group = settled(cache)
    assert sorted(roles(group).values()) == ["primary", "replica", "replica"]
    assert set(nodes(cache)) == set(roles(group)) == set(group["MemberClusters"])
    assert len({one["CacheNodes"][0]["Endpoint"]["Address"] for one in nodes(cache).values()}) == 3
    cache.decrease_replica_count(**GROUP, NewReplicaCount=1, ApplyImmediately=True)
    assert sorted(roles(settled(cache)).values()) == ["primary", "replica"]
    assert len(nodes(cache)) == 2


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"CacheNodeType": "cache.z9.huge", "ApplyImmediately": True}, "InvalidParameterValue"),
        ({"CacheNodeType": "cache.m7g.large", "ApplyImmediately": False}, "NotInTheSandbox"),
        ({"EngineVersion": "8.0", "ApplyImmediately": True}, "NotInTheSandbox"),
    ],
)
def test_change_that_cannot_be_made_is_refused(
    cache: Any, asked: dict[str, Any], code: str
) -> None:
    assert refused(cache.modify_replication_group, **asked) == code
    assert group_of(cache)["Status"] == "available"
