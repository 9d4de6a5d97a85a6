"""Aurora Serverless v2: the range of capacity units (ACU) that a cluster scales in.

Kind of change: `aurora-capacity` (min_acu, max_acu); target `rds:CLUSTER`.

Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
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

KIND = "aurora-capacity"
_MOST, _STEP = 256.0, 0.5  # ACU, as AWS has it
_AVAILABLE = "available"


@dataclass(frozen=True)
class Capacity:
    """A cluster's range in ACU, and how many instances scale in it, each by itself."""

    cluster: str
    status: str
    min_acu: float
    max_acu: float
    instances: int

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"rds:{self.cluster}"


def read_capacity(rds: Any, *, cluster: str) -> Capacity:
    """A cluster's range. Raises BadInput when there is no such cluster, or it is not serverless."""
    try:
        (found,) = rds.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"]
    except rds.exceptions.DBClusterNotFoundFault as error:
        raise BadInput(f"There is no database cluster {cluster!r}.") from error
    scaling = found.get("ServerlessV2ScalingConfiguration")
    if not scaling:
        raise BadInput(f"{cluster} is not serverless: it has no range of ACU.")
    return Capacity(
        cluster,
        found["Status"],
        float(scaling["MinCapacity"]),
        float(scaling["MaxCapacity"]),
        len(found["DBClusterMembers"]),
    )


def plan_capacity(now: Capacity, *, min_acu: float, max_acu: float) -> Plan:
    """The plan that sets the range, in ACU; without changes when it is so. Pure.

    Raises BadInput for a range that AWS does not have, and Refused while the cluster is changed.
    """
    for name, value in (("min_acu", min_acu), ("max_acu", max_acu)):
        if not 0 <= value <= _MOST or value % _STEP:
            raise BadInput(f"{name}: expected 0 to {_MOST:g} in steps of {_STEP}, found {value:g}.")
    if max_acu < max(min_acu, 1):
        raise BadInput(f"max_acu: expected {max(min_acu, 1):g} or more, found {max_acu:g}.")
    if now.status != _AVAILABLE:
        raise Refused(f"{now.cluster} is {now.status}: it takes no change until it is available.")
    wanted = {"min_acu": min_acu, "max_acu": max_acu}
    after = {key: value for key, value in wanted.items() if getattr(now, key) != value}
    before = {key: getattr(now, key) for key in after}
    return Plan(
        title=f"Let {now.cluster} scale from {min_acu:g} to {max_acu:g} ACU",
        risk="high",
        changes=(Change(KIND, now.target, before, after),) if after else (),
        way_back=f"undo sets {now.min_acu:g} to {now.max_acu:g} ACU again.",
        warnings=tuple(_warnings(now, min_acu, max_acu)),
    )


def _warnings(now: Capacity, minimum: float, maximum: float) -> list[str]:
    warnings = ["Within seconds, and nobody is interrupted; capacity follows the load."]
    if maximum < now.max_acu:
        warnings.append("With less memory the buffer cache shrinks: reads go to disk at first.")
    if minimum == 0:
        warnings.append("From 0 ACU the first query after a pause waits fifteen seconds or more.")
    if maximum != now.max_acu:
        warnings.append("max_connections follows max_acu only when an instance is restarted.")
    return warnings


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    found = read_capacity(clients.aws("rds"), cluster=target.partition(":")[2])
    return {"min_acu": found.min_acu, "max_acu": found.max_acu}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Send the range whole: AWS takes both ends. Twice does the same."""
    whole = {**_read(clients, change.target), **change.after}
    clients.aws("rds").modify_db_cluster(
        DBClusterIdentifier=change.target.partition(":")[2],
        ServerlessV2ScalingConfiguration={
            "MinCapacity": whole["min_acu"],
            "MaxCapacity": whole["max_acu"],
        },
        ApplyImmediately=True,
    )


def _measure(change: Change) -> Mapping[str, float]:
    """How far an end of the range moves, at most."""
    return {"acu": max(abs(change.after[key] - change.before[key]) for key in change.after)}


register(KIND, read=_read, apply=_apply, measure=_measure)
