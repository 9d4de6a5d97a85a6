"""ElastiCache: the cache's replication group, the type of its nodes, and which of them is primary.

A group that is changed is `modifying` for minutes and takes no other change; applying waits until
it is `available` again. AWS has no status for a primary that is gone: that nobody answers tells.

Kinds of change: `cache-node-type` and `cache-primary`; the target of both is `elasticache:GROUP`.

Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyReplicationGroup.html
and …/API_TestFailover.html, …/API_ListAllowedNodeTypeModifications.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, Refused
from runbook.record.journal import Intent
from runbook.wait import Wait

NODE_TYPE, PRIMARY = "cache-node-type", "cache-primary"
_MODIFIED_S = 3600.0  # for new nodes to be filled; large ones take long
_AVAILABLE = "available"


@dataclass(frozen=True)
class Group:
    """A replication group with one primary; nodes by name."""

    name: str
    status: str
    node_type: str
    primary: str
    replicas: tuple[str, ...]
    zones: Mapping[str, str]
    fails_over: bool  # by itself
    shard: str

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"elasticache:{self.name}"

    @property
    def nodes(self) -> int:
        """How many there are."""
        return 1 + len(self.replicas)


def read_group(elasticache: Any, *, group: str) -> Group:
    """A replication group. Raises BadInput when there is none of that name, or it is sharded."""
    try:
        answer = elasticache.describe_replication_groups(ReplicationGroupId=group)
    except elasticache.exceptions.ReplicationGroupNotFoundFault as error:
        raise BadInput(f"There is no cache {group!r}.") from error
    (found,) = answer["ReplicationGroups"]
    if len(found["NodeGroups"]) != 1:
        raise BadInput(f"{group} has {len(found['NodeGroups'])} shards; this knows one only.")
    (shard,) = found["NodeGroups"]
    members = shard["NodeGroupMembers"]
    primary = [one["CacheClusterId"] for one in members if one.get("CurrentRole") == "primary"]
    return Group(
        name=group,
        status=found["Status"],
        node_type=found["CacheNodeType"],
        primary=next(iter(primary), ""),
        replicas=tuple(
            sorted(one["CacheClusterId"] for one in members if one["CacheClusterId"] not in primary)
        ),
        zones={one["CacheClusterId"]: one["PreferredAvailabilityZone"] for one in members},
        fails_over=found["AutomaticFailover"] == "enabled",
        shard=shard["NodeGroupId"],
    )


def read_node_types(elasticache: Any, *, group: str) -> tuple[str, ...]:
    """The types that a group's nodes may be changed to."""
    found = elasticache.list_allowed_node_type_modifications(ReplicationGroupId=group)
    return (*found["ScaleUpModifications"], *found["ScaleDownModifications"])


def plan_node_type(group: Group, *, node_type: str, allowed: tuple[str, ...]) -> Plan:
    """The plan that gives a group nodes of another type; without changes when it is so. Pure.

    Raises BadInput for a type that AWS does not allow, and Refused while the group is changed.
    """
    _refuse_unless_available(group)
    if node_type != group.node_type and node_type not in allowed:
        raise BadInput(
            f"node_type: {group.name} may not become {node_type!r}.",
            next=f"It may become {', '.join(allowed)}.",
        )
    before, after = {"node_type": group.node_type}, {"node_type": node_type}
    return Plan(
        title=f"Give {group.name} nodes of {node_type}",
        risk="high",
        changes=(Change(NODE_TYPE, group.target, before, after),) if before != after else (),
        way_back=f"undo gives it nodes of {group.node_type} again, as long and as interrupted.",
        warnings=(
            "New nodes are filled beside the old ones: ten minutes or more. At the end every "
            "connection is cut once, for seconds.",
            "A smaller type has to hold all that is in the cache, or keys are evicted.",
        ),
    )


def plan_promote(group: Group, *, node: str) -> Plan:
    """The plan that makes a replica the primary; without changes when it is. Pure.

    Raises BadInput for a node that is no replica, or that AWS would not choose, and Refused while
    the group is being changed.
    """
    _refuse_unless_available(group)
    if node != group.primary and node not in group.replicas:
        known = ", ".join(group.replicas) or "none"
        raise BadInput(f"primary: {node!r} is no replica of {group.name}; it has {known}.")
    if node != group.primary and group.fails_over and len(group.replicas) > 1:
        raise BadInput(
            f"{group.name} fails over by itself, and AWS chooses which of "
            f"{len(group.replicas)} replicas takes over.",
            next="Leave it to AWS, or switch automatic failover off first.",
        )
    before, after = {"primary": group.primary}, {"primary": node}
    warnings = [
        "About a minute in which nobody can write; every connection is cut. What the old primary "
        "had not passed on is lost.",
    ]
    if not group.fails_over:
        warnings.append(
            "Automatic failover is off, before and after: switch it on in Terraform, or the next "
            "loss needs somebody again."
        )
    return Plan(
        title=f"Make {node} the primary of {group.name}",
        risk="high",
        changes=(Change(PRIMARY, group.target, before, after),) if before != after else (),
        way_back=f"undo makes {group.primary} the primary again, once it is a replica that works.",
        warnings=tuple(warnings),
    )


def _refuse_unless_available(group: Group) -> None:
    if group.status != _AVAILABLE:
        raise Refused(
            f"{group.name} is {group.status}: it takes no change until it is {_AVAILABLE}.",
            next="Wait some minutes and plan again.",
        )


# the kinds of change


def _read(clients: Clients, target: str) -> Json:
    found = read_group(clients.aws("elasticache"), group=target.partition(":")[2])
    return {"node_type": found.node_type, "primary": found.primary, "status": found.status}


def _change_nodes(clients: Clients, change: Change, intent: Intent) -> None:
    _modify(clients, change, CacheNodeType=change.after["node_type"])


def _promote(clients: Clients, change: Change, intent: Intent) -> None:
    """By name while automatic failover is off; else by failing over to the only replica."""
    group = read_group(clients.aws("elasticache"), group=change.target.partition(":")[2])
    if not group.fails_over:
        _modify(clients, change, PrimaryClusterId=change.after["primary"])
        return
    clients.aws("elasticache", once=True).test_failover(
        ReplicationGroupId=group.name, NodeGroupId=group.shard
    )
    _wait_available(clients, group.name)


def _modify(clients: Clients, change: Change, **wanted: str) -> None:
    name = change.target.partition(":")[2]
    clients.aws("elasticache", once=True).modify_replication_group(
        ReplicationGroupId=name, ApplyImmediately=True, **wanted
    )
    _wait_available(clients, name)


def _wait_available(clients: Clients, name: str) -> None:
    def available() -> bool:
        return read_group(clients.aws("elasticache"), group=name).status == _AVAILABLE

    wait = Wait(_MODIFIED_S, interval_s=10, factor=clients.environment.waits.factor)
    wait.until(available, what=f"{name} to be available again")


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """As it reads, once it is available: before that nobody can tell."""
    found = _read(clients, change.target)
    if found["status"] != _AVAILABLE:
        return None
    return bool(all(found[key] == value for key, value in change.after.items()))


register(NODE_TYPE, read=_read, apply=_change_nodes, settled=_settled)
register(PRIMARY, read=_read, apply=_promote, settled=_settled)
