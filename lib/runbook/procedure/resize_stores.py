"""The data stores' capacity: Aurora's range, the cache's nodes, and a replica that takes over.

    found = resize_stores.read(rb.clients)
    found.plan(Wanted(max_acu=16))          one thing at a time
    found.plan(Wanted())                    whatever is plainly called for: a primary that is gone

It works while Redis does not answer: that is what it looks for first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.settings import Environment
from runbook.studio import acu, elasticache
from runbook.studio.acu import Capacity
from runbook.studio.elasticache import Group
from runbook.table import Table
from runbook.wait import Wait

_ANSWERS_S = 300.0  # for the endpoint's name to lead to the new primary
AS_IS = -1.0


@dataclass(frozen=True)
class Wanted:
    """What is asked for; AS_IS and empty leave things as they are."""

    min_acu: float = AS_IS
    max_acu: float = AS_IS
    node_type: str = ""
    primary: str = ""

    @property
    def things(self) -> list[str]:
        """What of it is to change."""
        named = {
            "Aurora's range": self.min_acu != AS_IS or self.max_acu != AS_IS,
            "node_type": bool(self.node_type),
            "primary": bool(self.primary),
        }
        return [name for name, asked in named.items() if asked]


@dataclass(frozen=True)
class Stores:
    """Both stores as they are. `silent` is why Redis does not answer; empty when it does."""

    capacity: Capacity
    group: Group
    allowed: tuple[str, ...]
    silent: str
    settings: Environment

    @property
    def gone(self) -> bool:
        """Whether the cache's primary is: nobody answers, and AWS is not at work on it."""
        return bool(self.silent) and self.group.status == "available"

    def plan(self, wanted: Wanted) -> Plan:
        """The plan for what is asked; with nothing asked, a replica where the primary is gone.

        Pure. Raises BadInput for more than one thing at a time, and where no replica is left.
        """
        if len(wanted.things) > 1:
            raise BadInput(
                f"One thing at a time, found {' and '.join(wanted.things)}.",
                next="Run the section once for each: each can be taken back by itself.",
            )
        if not wanted.things:
            return self._called_for()
        if wanted.node_type:
            plan = elasticache.plan_node_type(
                self.group, node_type=wanted.node_type, allowed=self.allowed
            )
        elif wanted.primary:
            plan = self._promote(wanted.primary)
        else:
            plan = acu.plan_capacity(self.capacity, **self._range(wanted))
        return replace(plan, warnings=(*plan.warnings, *self._price(wanted)))

    def table(self, wanted: Wanted) -> Table:
        """Capacity and cost, now and as they would be."""
        import pandas as pd

        span = self._range(wanted)
        node_type = wanted.node_type or self.group.node_type
        then = self._figures(span["min_acu"], span["max_acu"], node_type)
        now = self._figures(self.capacity.min_acu, self.capacity.max_acu, self.group.node_type)
        frame = pd.DataFrame({"now": now, "then": then}).rename_axis("").reset_index()
        return Table(frame)

    def node_table(self) -> Table:
        """The cache's nodes, and whether it answers."""
        import pandas as pd

        group = self.group
        rows = [
            {"node": name, "role": role, "zone": group.zones.get(name, ""), "group": group.status,
             "answers": answers}
            for role, names, answers in (
                ("primary", (group.primary,), f"no: {self.silent}" if self.silent else "yes"),
                ("replica", group.replicas, ""),
            )
            for name in names
        ]  # fmt: skip
        return Table(pd.DataFrame(rows))

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        group, span = self.group, self.capacity
        status: Status = "critical" if self.silent else "ok" if group.fails_over else "warning"
        over = (
            "" if group.fails_over else " Nothing takes over by itself: automatic failover is off."
        )
        told = (
            f"{group.name} does not answer ({self.silent}); its primary is {group.primary}."
            if self.silent
            else f"{group.name} answers, on {group.nodes} nodes of {group.node_type}; "
            f"{span.cluster} scales from {span.min_acu:g} to {span.max_acu:g} ACU."
        )
        return {
            "status": status,
            "says": told + over,
            "primary": group.primary,
            "replicas": list(group.replicas),
            "answers": not self.silent,
        }

    def holds(self, wanted: Wanted) -> bool:
        """Whether the stores are as was wanted, and Redis answers."""
        span = self._range(wanted)
        return (
            not self.silent
            and wanted.node_type in ("", self.group.node_type)
            and wanted.primary in ("", self.group.primary)
            and (span["min_acu"], span["max_acu"]) == (self.capacity.min_acu, self.capacity.max_acu)
        )

    def _called_for(self) -> Plan:
        if not self.gone:
            return Plan(
                "Redis answers and nothing was asked for", "high", (), way_back="Nothing changes."
            )
        return self._promote(next(iter(self.group.replicas), ""))

    def _promote(self, node: str) -> Plan:
        if not self.group.replicas:
            raise BadInput(
                f"{self.group.name} has no replica that could take over.",
                next="Its last snapshot is what is left: AWS console, ElastiCache, Backups.",
            )
        plan = elasticache.plan_promote(self.group, node=node)
        if self.gone:
            return plan
        told = "Redis answers: its primary is not gone." if not self.silent else "AWS is at work."
        return replace(plan, warnings=(told, *plan.warnings))

    def _range(self, wanted: Wanted) -> dict[str, float]:
        now = self.capacity
        return {
            "min_acu": now.min_acu if wanted.min_acu == AS_IS else wanted.min_acu,
            "max_acu": now.max_acu if wanted.max_acu == AS_IS else wanted.max_acu,
        }

    def _price(self, wanted: Wanted) -> list[str]:
        span = self._range(wanted)
        then = self._figures(
            span["min_acu"], span["max_acu"], wanted.node_type or self.group.node_type
        )
        now = self._figures(self.capacity.min_acu, self.capacity.max_acu, self.group.node_type)
        keys = [key for key in now if key.startswith("USD") and now[key] != then[key]]
        return [f"{key}: {now[key]} now, {then[key]} then." for key in keys]

    def _figures(self, least: float, most: float, node_type: str) -> Mapping[str, str]:
        """As a table has them. Every instance of a cluster has the range for itself."""
        acu_usd = self.settings.database.usd_per_acu_hour * self.capacity.instances
        node_usd = self.settings.redis.usd_per_node_hour.get(node_type)
        cost = "unknown" if node_usd is None else f"{node_usd * self.group.nodes:.3f}"
        return {
            "Aurora, ACU": f"{least:g} to {most:g}, {self.capacity.instances} instances",
            "USD an hour, Aurora": f"{least * acu_usd:.2f} to {most * acu_usd:.2f}",
            "cache nodes": f"{self.group.nodes} of {node_type}",
            "USD an hour, cache": cost,
        }


def read(clients: Clients) -> Stores:
    """Both stores, and whether Redis answers. Raises BadInput for one that is not there."""
    settings, client = clients.environment, clients.aws("elasticache")
    group = elasticache.read_group(client, group=settings.redis.group)
    return Stores(
        acu.read_capacity(clients.aws("rds"), cluster=settings.database.cluster),
        group,
        elasticache.read_node_types(client, group=group.name),
        _silence(clients),
        settings,
    )


def follow(clients: Clients) -> Stores:
    """Wait until Redis answers again; returns the stores as they are then."""

    def answering() -> Stores | None:
        found = read(clients)
        return None if found.silent else found

    wait = Wait(_ANSWERS_S, factor=clients.environment.waits.factor)
    return wait.until(answering, what="Redis to answer")


def _silence(clients: Clients) -> str:
    """Why Redis does not answer, in a few words; empty when it does."""
    from redis.exceptions import RedisError

    try:
        clients.redis.ping()
    except (RedisError, OSError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""
