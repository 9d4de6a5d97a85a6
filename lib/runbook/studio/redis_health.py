"""Redis as it fares: whether it answers, how fast, how full, which node leads, what is queued.

Reads only; the server is asked PING and INFO, which hold nobody up. It answers with what can be
told: a server that is gone is a finding, not an error.

Source: https://redis.io/docs/latest/commands/info/ and
https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_DescribeReplicationGroups.html
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.studio.redis_cache import read_queues
from runbook.table import Table

if TYPE_CHECKING:
    import redis

_PINGS = 5
_MIB = 1024 * 1024
_UNACKED = "unacked"  # Kombu's: messages that a worker holds


@dataclass(frozen=True)
class Group:
    """A replication group as AWS describes it; `nodes` are names with roles, the primary first."""

    name: str
    status: str
    failover: str
    nodes: tuple[tuple[str, str], ...]

    @property
    def has_primary(self) -> bool:
        """Whether a node leads, and AWS calls the group available."""
        return any(role == "primary" for _, role in self.nodes) and self.status == "available"


@dataclass(frozen=True)
class RedisHealth:
    """What the server says of itself. Without an answer, `why` says why, and figures are None."""

    why: str = ""
    ping_ms: float | None = None
    used_mib: float | None = None
    most_mib: float | None = None  # None: the server sets no limit
    policy: str = ""
    evicted: int = 0
    refused: int = 0  # connections, since there were too many
    clients: int = 0
    role: str = ""
    queues: Mapping[str, int] = field(default_factory=dict)  # messages by queue
    unacked: int = 0
    group: Group | None = None

    @property
    def answers(self) -> bool:
        """Whether it was reached."""
        return not self.why

    @property
    def used_percent(self) -> float | None:
        """Of the memory that it may use; None where it has no limit."""
        if not self.most_mib or self.used_mib is None:
            return None
        return 100 * self.used_mib / self.most_mib

    def problems(self, *, memory_percent: float, slow_ms: float) -> list[str]:
        """What is wrong, in a few words each; none where it serves. Pure."""
        found = []
        if not self.answers:
            found.append(f"Redis does not answer ({self.why})")
        if self.group and not self.group.has_primary:
            found.append(f"{self.group.name} is {self.group.status}, no node of it leads")
        if self.answers and self.role != "master":
            found.append("a replica answers: it takes no writes")
        if (self.ping_ms or 0) >= slow_ms:
            found.append(f"PING takes {self.ping_ms:.0f} ms")
        if (self.used_percent or 0) >= memory_percent:
            found.append(f"{self.used_percent:.0f} % of its memory is in use")
        if self.evicted:
            found.append(f"{self.evicted:,} keys were evicted")
        return found

    def table(self) -> Table:
        """What it says, to be read."""
        import pandas as pd

        rows = [("PING", self.why or f"PONG in {self.ping_ms:,.0f} ms")]
        if self.answers:
            limit = f"{self.most_mib:,.0f} MiB" if self.most_mib else "the machine's"
            rows += [
                ("memory", f"≈ {self.used_mib:,.0f} MiB of {limit}, {self.policy}"),
                ("evicted", f"{self.evicted:,} keys since it began"),
                ("connections", f"≈ {self.clients}, {self.refused} refused"),
                ("role", self.role),
                ("held by workers", f"≈ {self.unacked:,} messages"),
                *(
                    (f"queue {name}", f"≈ {count:,} messages")
                    for name, count in self.queues.items()
                ),
            ]
        if self.group:
            nodes = ", ".join(f"{name} {role}" for name, role in self.group.nodes)
            rows += [
                ("replication group", f"{self.group.name}, {self.group.status}"),
                ("nodes", nodes),
                ("failover by itself", self.group.failover),
            ]
        return Table(pd.DataFrame(rows, columns=["what", "found"]))


def read(clients: Clients) -> RedisHealth:
    """Ask the server, and AWS for its nodes where the environment names the group."""
    from redis.exceptions import RedisError

    group = read_group(clients)
    try:
        return _ask(clients.redis, group)
    except (RedisError, RunbookError) as error:
        return RedisHealth(why=in_words(error), group=group)


def read_group(clients: Clients) -> Group | None:
    """The replication group; None where the environment names none."""
    name = clients.environment.redis.group
    if not name:
        return None
    client = clients.aws("elasticache")
    found = client.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
    members = [one for shard in found.get("NodeGroups", ()) for one in shard["NodeGroupMembers"]]
    nodes = ((one["CacheClusterId"], one.get("CurrentRole", "unknown")) for one in members)
    return Group(
        name,
        found["Status"],
        found.get("AutomaticFailover", "unknown"),
        tuple(sorted(nodes, key=lambda node: (node[1] != "primary", node[0]))),
    )


def _ask(client: redis.Redis, group: Group | None) -> RedisHealth:
    took = [_ping_ms(client) for _ in range(_PINGS)]
    told: Any = client.info()
    queues = sorted(read_queues(client))
    pipe = client.pipeline(transaction=False)
    for name in queues:
        pipe.llen(name)
    pipe.hlen(_UNACKED)
    *lengths, unacked = pipe.execute()
    most = int(told.get("maxmemory", 0))
    return RedisHealth(
        ping_ms=statistics.median(took),
        used_mib=int(told["used_memory"]) / _MIB,
        most_mib=most / _MIB if most else None,
        policy=str(told.get("maxmemory_policy", "")),
        evicted=int(told.get("evicted_keys", 0)),
        refused=int(told.get("rejected_connections", 0)),
        clients=int(told.get("connected_clients", 0)),
        role=str(told.get("role", "")),
        queues=dict(zip(queues, lengths, strict=True)),
        unacked=unacked,
        group=group,
    )


def _ping_ms(client: redis.Redis) -> float:
    began = time.monotonic()
    client.ping()
    return 1000 * (time.monotonic() - began)


def in_words(error: Exception) -> str:
    """Why, without where: an address says nothing to anybody."""
    text = " ".join(str(error).split())
    for word in ("refused", "timed out", "Timeout", "invalid", "NOAUTH", "WRONGPASS"):
        if word.lower() in text.lower():
            return f"{type(error).__name__}, {word}"
    return type(error).__name__
