"""ElastiCache: a group that is changed is `modifying` for a while, and only then as was asked.

Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyReplicationGroup.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.moto_adapter import core

_RESIZED_S, _PROMOTED_S, _ADDED_S = 240.0, 60.0, 120.0  # on AWS: minutes, as the node is large
_MOST_REPLICAS = 5
# Smallest first. AWS has more families; the Studio's groups use these.
_NODE_TYPES = (
    "cache.t4g.micro", "cache.t4g.small", "cache.t4g.medium", "cache.m7g.large",
    "cache.r7g.large", "cache.m7g.xlarge", "cache.r7g.xlarge", "cache.r7g.2xlarge",
)  # fmt: skip
_MODIFIED = {
    "ReplicationGroupId", "ReplicationGroupDescription", "CacheNodeType", "ApplyImmediately",
    "PrimaryClusterId", "AutomaticFailoverEnabled", "MultiAZEnabled", "SnapshotRetentionLimit",
}  # fmt: skip


def patch() -> None:
    """Plain moto changes a node type at once on the group alone, and has no failover."""
    from moto.elasticache import models, responses

    backend, response = models.ElastiCacheBackend, responses.ElastiCacheResponse
    for name in ("describe_replication_groups", "describe_cache_clusters"):
        setattr(backend, name, _settled(getattr(backend, name)))
    modify = response.modify_replication_group
    response.modify_replication_group = lambda self: _modify(self, modify)
    response.test_failover = _test_failover
    response.increase_replica_count = _increase_replicas
    response.decrease_replica_count = _decrease_replicas
    response.list_allowed_node_type_modifications = _allowed_types


_promoted: list[Callable[[], None]] = []


def on_promotion(called: Callable[[], None]) -> None:
    """Have this called, and nothing else, whenever a replica has become the primary."""
    _promoted[:] = [called]


def lose_primary(account: str, region: str, name: str) -> None:
    """The primary node is gone. AWS describes it as before: no status of its own says so."""
    group = core.backend("elasticache", account, region).replication_groups[name]
    group.sandbox_lost = _primary(group)


def find_primary(account: str, region: str, name: str) -> None:
    """It is there again."""
    core.backend("elasticache", account, region).replication_groups[name].sandbox_lost = ""


def _primary(group: Any) -> str:
    found = (m["cache_cluster_id"] for m in _members(group) if m["current_role"] == "primary")
    return str(next(found))


@dataclass(frozen=True)
class _Change:
    """What becomes true of a group at a moment of the monotonic clock."""

    at: float
    apply: Callable[[], None]


def _settled(describe: Any) -> Any:
    def settled(self: Any, *args: Any, **kwargs: Any) -> Any:
        for group in self.replication_groups.values():
            change: _Change | None = getattr(group, "sandbox_change", None)
            if change and time.monotonic() >= change.at:
                group.sandbox_change = None
                change.apply()
                _become(self, group, "available")
        return describe(self, *args, **kwargs)

    return settled


def _begin(backend: Any, group: Any, on_aws_s: float, apply: Callable[[], None]) -> Any:
    """Let the group be `modifying` until then."""
    from moto.core.responses import ActionResult

    group.sandbox_change = _Change(time.monotonic() + pace.seconds(on_aws_s), apply)
    _become(backend, group, "modifying")
    return ActionResult({"ReplicationGroup": group})


def _become(backend: Any, group: Any, status: str) -> None:
    group.status = status
    for nodes in group.node_groups:
        nodes["status"] = status
    for name in group.member_clusters:
        if name in backend.cache_clusters:
            backend.cache_clusters[name].cache_cluster_status = status


def _group(response: Any, *, change: bool = True) -> Any:
    """The group that is asked for; one that is being changed is left alone."""
    backend = response.elasticache_backend
    (group,) = backend.describe_replication_groups(response._get_param("ReplicationGroupId"))
    if change and group.status != "available":
        raise _refused(
            "InvalidReplicationGroupState",
            f"Replication group {group.replication_group_id} has status {group.status} which is "
            "not valid for the requested operation.",
        )
    return group


def _members(group: Any) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = group.node_groups[0]["node_group_members"]
    return members


def _modify(self: Any, plain: Any) -> Any:
    """A node type and a primary take a while; all other settings are moto's, and at once."""
    asked: dict[str, Any] = self._get_params()
    if unknown := sorted(set(asked) - _MODIFIED):
        raise NotInSandbox(f"ModifyReplicationGroup: {', '.join(unknown)}")
    backend, group = self.elasticache_backend, _group(self)
    node_type, primary = asked.get("CacheNodeType"), asked.get("PrimaryClusterId")
    if node_type and primary:
        raise _refused("InvalidParameterCombination", "One change at a time.")
    if primary:
        _raise_if_not_promotable(group, primary)
        return _begin(backend, group, _PROMOTED_S, lambda: _promote(group, primary))
    if not node_type or node_type == group.cache_node_type:
        answer = plain(self)
        if group.automatic_failover == "enabled" and getattr(group, "sandbox_lost", ""):
            return _begin(backend, group, _PROMOTED_S, lambda: _promote(group, _replica(group)))
        return answer
    if node_type not in _NODE_TYPES:
        raise _refused("InvalidParameterValue", f"The node type {node_type} is not valid.")
    if not self._get_bool_param("ApplyImmediately"):
        raise NotInSandbox("ModifyReplicationGroup without ApplyImmediately: no window comes here")
    return _begin(backend, group, _RESIZED_S, lambda: _resize(backend, group, node_type))


def _resize(backend: Any, group: Any, node_type: str) -> None:
    group.cache_node_type = node_type
    for name in group.member_clusters:
        backend.cache_clusters[name].cache_node_type = node_type


def _promote(group: Any, name: str) -> None:
    for member in _members(group):
        is_primary = member["cache_cluster_id"] == name
        member["current_role"] = "primary" if is_primary else "replica"
    group.primary_cluster_id = name
    group.sandbox_lost = ""  # the old primary is replaced, and comes back as a replica
    for called in _promoted:
        called()


def _replica(group: Any) -> str:
    return next(
        str(m["cache_cluster_id"]) for m in _members(group) if m["current_role"] == "replica"
    )


def _raise_if_not_promotable(group: Any, name: str) -> None:
    if name not in group.member_clusters:
        raise _refused("InvalidParameterValue", f"{name} is no node of the group.")
    if group.automatic_failover == "enabled":
        raise _refused(
            "InvalidReplicationGroupState",
            "A replica is promoted by hand only while automatic failover is disabled; "
            "TestFailover fails over while it is enabled.",
        )


def _test_failover(self: Any) -> Any:
    """The primary is lost: a replica takes its place."""
    group = _group(self)
    if self._get_param("NodeGroupId") not in [one["node_group_id"] for one in group.node_groups]:
        raise _refused("NodeGroupNotFoundFault", "Node group not found.", 404)
    replicas = [m["cache_cluster_id"] for m in _members(group) if m["current_role"] == "replica"]
    if group.automatic_failover != "enabled" or not replicas:
        raise _refused(
            "TestFailoverNotAvailableFault",
            "Automatic failover is not enabled, or there is no replica.",
        )
    return _begin(
        self.elasticache_backend, group, _PROMOTED_S, lambda: _promote(group, replicas[0])
    )


def _increase_replicas(self: Any) -> Any:
    """More replicas, like the primary, in the zones of the nodes that are there in turn."""
    group, wanted = _group(self), _new_count(self)
    now = len(_members(group)) - 1
    if not now < wanted <= _MOST_REPLICAS:
        raise _refused("InvalidParameterValue", f"There are {now} replicas; wanted {wanted}.")

    def apply() -> None:
        for number in range(now + 2, wanted + 2):
            _add_replica(self.elasticache_backend, group, number)

    return _begin(self.elasticache_backend, group, _ADDED_S, apply)


def _decrease_replicas(self: Any) -> Any:
    """Fewer replicas: the last ones go. With automatic failover one has to stay."""
    group, wanted = _group(self), _new_count(self)
    replicas = [one for one in _members(group) if one["current_role"] == "replica"]
    least = 1 if group.automatic_failover == "enabled" else 0
    if not least <= wanted < len(replicas):
        raise _refused(
            "InvalidParameterValue", f"There are {len(replicas)} replicas; wanted {wanted}."
        )

    def apply() -> None:
        for member in replicas[wanted:]:
            _members(group).remove(member)
            group.member_clusters.remove(member["cache_cluster_id"])
            del self.elasticache_backend.cache_clusters[member["cache_cluster_id"]]

    return _begin(self.elasticache_backend, group, _ADDED_S, apply)


def _new_count(response: Any) -> int:
    if not response._get_bool_param("ApplyImmediately"):
        raise _refused("InvalidParameterValue", "ApplyImmediately has to be true.")
    count = response._get_int_param("NewReplicaCount")
    if count is None:
        raise NotInSandbox("a replica count by node group (ReplicaConfiguration)")
    return int(count)


def _add_replica(backend: Any, group: Any, number: int) -> None:
    from studio_sandbox.control_plane.moto_adapter.elasticache import make_node

    first, name = _members(group)[0], f"{group.replication_group_id}-{number:03}"
    zones = sorted({one["preferred_availability_zone"] for one in _members(group)})
    zone = zones[(number - 1) % len(zones)]
    domain = first["read_endpoint"]["address"].partition(".")[2]
    like = backend.cache_clusters[first["cache_cluster_id"]]
    make_node(backend, name, like=like, group=group, zone=zone, domain=domain, created=core.now())
    group.member_clusters.append(name)
    _members(group).append(
        {
            **first,
            "cache_cluster_id": name,
            "preferred_availability_zone": zone,
            "current_role": "replica",
            "read_endpoint": {**first["read_endpoint"], "address": f"{name}.{domain}"},
        }
    )


def _allowed_types(self: Any) -> Any:
    from moto.core.responses import ActionResult

    at = _NODE_TYPES.index(_group(self, change=False).cache_node_type)
    return ActionResult(
        {
            "ScaleUpModifications": list(_NODE_TYPES[at + 1 :]),
            "ScaleDownModifications": list(_NODE_TYPES[:at]),
        }
    )


def _refused(code: str, message: str, status: int = 400) -> SandboxError:
    return SandboxError(message, code=code, status=status)
