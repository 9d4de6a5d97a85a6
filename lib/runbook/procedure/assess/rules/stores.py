"""The database and Redis: gone, full, or held up by somebody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from runbook.procedure.assess.seen import Seen
from runbook.procedure.assess.suspect import FAIR, HINT, PROOF, STRONG, Evidence, Step, Suspect


def database_unreachable(seen: Seen) -> Iterator[Suspect]:
    """The database that the secret names does not answer: the secret, the cluster, or the way."""
    if seen.database is None or not seen.database.why:
        return
    name = seen.environment.database.secret
    evidence = [Evidence(f"the database that {name} names: {seen.database.why}", STRONG)]
    cluster = seen.cluster
    if cluster and cluster.status != "available":
        evidence.append(Evidence(f"AWS has {cluster.name} as {cluster.status}", PROOF))
        yield Suspect(
            f"the database cluster is {cluster.status}",
            cluster.name,
            tuple(evidence),
            confirm=Step("inspect-database"),
            mend=Step("recover-database"),
        )
        return
    if cluster:
        evidence.append(Evidence(f"AWS has {cluster.name} as available", FAIR))
    changed = next((one for one in seen.secrets or () if one.name == name), None)
    recent = timedelta(minutes=seen.environment.assess.deployed_minutes)
    if changed and seen.now - changed.changed_at <= recent:
        evidence.append(Evidence(f"{name} was changed {seen.ago(changed.changed_at)}", PROOF))
    by = seen.changed(name)
    if by:
        evidence.append(Evidence(by.says, HINT))
    yield Suspect(
        f"{name} leads to no database",
        name,
        tuple(evidence),
        confirm=Step("service-wont-start"),
        mend=Step("restore-secret", {"secret": name}),
    )


def somebody_blocks(seen: Seen) -> Iterator[Suspect]:
    """One session holds what others wait for."""
    activity = seen.database.activity if seen.database else None
    if activity is None:
        return
    limits = seen.environment.assess
    waiting = [one for one in activity.chain if one.depth and one.state_s >= limits.waits_s]
    roots = sorted((one for one in activity.chain if not one.depth), key=lambda one: -one.behind)
    if not waiting or not roots:
        return
    root, longest = roots[0], max(one.state_s for one in waiting)
    enough = activity.limits.blocked_s
    who = root.application or root.user or "somebody unknown"
    evidence = [
        Evidence(
            f"{len(waiting)} sessions wait for a lock, the longest for {longest:.0f} s",
            STRONG if longest < enough else PROOF,
        ),
        Evidence(f"{root.behind} of them behind pid {root.pid} ({who}, {root.state})", STRONG),
        Evidence(
            f"its transaction has been open for {root.transaction_s:.0f} s",
            PROOF if root.transaction_s >= activity.limits.transaction_s else FAIR,
        ),
    ]
    if root.query:
        evidence.append(Evidence(f"its last query: {root.query[:100]}", HINT))
    yield Suspect(
        f"{who} (pid {root.pid}) holds what {root.behind} sessions wait for",
        f"pid {root.pid}",
        tuple(evidence),
        confirm=Step("inspect-database"),
        mend=Step("end-query", {"pid": root.pid}),
    )


def connections_run_out(seen: Seen) -> Iterator[Suspect]:
    """Nearly all connections of the database are in use."""
    activity = seen.database.activity if seen.database else None
    if activity is None or not activity.max_connections:
        return
    share = 100 * activity.connections / activity.max_connections
    if share < activity.limits.connections_percent:
        return
    says = f"{activity.connections} of {activity.max_connections} connections are in use"
    yield Suspect(
        "connections to the database run out",
        "connections",
        (Evidence(says, PROOF),),
        confirm=Step("inspect-database"),
        mend=Step("resize-data-stores"),
        remedy="scale",
    )


def redis_gone(seen: Seen) -> Iterator[Suspect]:
    """Redis does not answer, or no node of it leads."""
    found = seen.redis
    if found is None or (found.answers and (found.group is None or found.group.has_primary)):
        return
    evidence = []
    if not found.answers:
        evidence.append(Evidence(f"Redis does not answer ({found.why})", PROOF))
    group = found.group
    if group and not group.has_primary:
        says = f"{group.name} is {group.status}, and no node of it leads"
        evidence.append(Evidence(says, PROOF))
    if group and group.failover != "enabled":
        evidence.append(Evidence(f"a replica does not take over by itself: {group.failover}", FAIR))
    said = [one for one in seen.errors or () if "redis" in one.message.lower()]
    evidence += [
        Evidence(f"{one.service}: {one.message}, {one.lately} times", FAIR) for one in said[:1]
    ]
    replica = next((name for name, role in group.nodes if role == "replica"), "") if group else ""
    yield Suspect(
        "Redis has no primary" if group and not group.has_primary else "Redis does not answer",
        group.name if group else "redis",
        tuple(evidence),
        confirm=Step("usage-not-updating"),
        mend=Step("resize-data-stores", {"primary": replica} if replica else {}),
        remedy="failover",
    )


def redis_full(seen: Seen) -> Iterator[Suspect]:
    """Redis is near its memory's end, or throws keys away."""
    found, limits = seen.redis, seen.environment.redis
    if found is None or not found.answers:
        return
    evidence = []
    if (found.used_percent or 0) >= limits.memory_percent:
        evidence.append(Evidence(f"{found.used_percent:.0f} % of its memory is in use", STRONG))
    if found.evicted:
        evidence.append(Evidence(f"{found.evicted:,} keys were evicted", STRONG))
    if evidence:
        yield Suspect(
            "Redis is full",
            "redis memory",
            tuple(evidence),
            confirm=Step("usage-not-updating"),
            mend=Step("resize-data-stores"),
            remedy="scale",
        )


RULES = (database_unreachable, somebody_blocks, connections_run_out, redis_gone, redis_full)
