"""Aurora global databases: who writes, how far behind another region is, and promoting that.

A failover promotes the secondary with what it has; what it had not received is lost. It is meant
for a writer whose region does not answer.

Kind of change: `global-writer`; target `global:NAME`; before and after are the ARN of the cluster
that writes. It is not taken back: the new writer has what was written since.

Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-global-database-disaster-recovery.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json
from runbook.clients import Clients
from runbook.errors import Failed
from runbook.record.journal import Intent
from runbook.wait import Wait

KIND = "global-writer"
_WITHIN_S, _LOOK_S = 3600.0, 10.0
_LAG, _LATELY = "AuroraGlobalDBReplicationLag", timedelta(minutes=10)


@dataclass(frozen=True)
class Member:
    """The cluster that a global cluster has in this region."""

    of: str  # the global cluster
    cluster: str
    arn: str
    writer: str  # ARN
    ready: bool  # available, with an instance
    says: str

    @property
    def writes(self) -> bool:
        """Whether it has been promoted already."""
        return self.arn == self.writer


def find_member(rds: Any, *, region: str) -> Member | None:
    """The member in a region; None where no global cluster has one there.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeGlobalClusters.html
    """
    for found in _every(rds):
        members = found["GlobalClusterMembers"]
        writer = next((one["DBClusterArn"] for one in members if one["IsWriter"]), "")
        for one in members:
            if one["DBClusterArn"].split(":")[3] == region:
                return _member(rds, found, one["DBClusterArn"], writer)
    return None


def read_lag_s(cloudwatch: Any, *, cluster: str, now: datetime) -> float | None:
    """How far a secondary was behind when that was measured last, in seconds; None: unknown."""
    answer = cloudwatch.list_metrics(
        Namespace="AWS/RDS",
        MetricName=_LAG,
        Dimensions=[{"Name": "DBClusterIdentifier", "Value": cluster}],
    )
    points = [
        point
        for metric in answer["Metrics"]
        for point in cloudwatch.get_metric_statistics(
            Namespace="AWS/RDS",
            MetricName=_LAG,
            Dimensions=metric["Dimensions"],
            StartTime=now - _LATELY,
            EndTime=now + timedelta(seconds=1),
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    ]
    if not points:
        return None
    return float(max(points, key=lambda one: one["Timestamp"])["Maximum"]) / 1000


def change_of(found: Member) -> Change:
    """The change that promotes a member which follows. Pure."""
    return Change(KIND, f"global:{found.of}", {"writer": found.writer}, {"writer": found.arn})


def _every(rds: Any) -> list[Mapping[str, Any]]:
    pages = rds.get_paginator("describe_global_clusters").paginate()
    return [one for page in pages for one in page["GlobalClusters"]]


def _member(rds: Any, found: Mapping[str, Any], arn: str, writer: str) -> Member:
    name = arn.rpartition(":")[2]
    cluster = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]
    instances = len(cluster.get("DBClusterMembers", ()))
    return Member(
        of=found["GlobalClusterIdentifier"],
        cluster=name,
        arn=arn,
        writer=writer,
        ready=cluster["Status"] == found["Status"] == "available" and instances > 0,
        says=f"{name} is {cluster['Status']} with {instances} instances",
    )


# the kind of change


def _find(clients: Clients, target: str) -> Mapping[str, Any] | None:
    name = target.removeprefix("global:")
    found = (one for one in _every(clients.aws("rds")) if one["GlobalClusterIdentifier"] == name)
    return next(found, None)


def _read(clients: Clients, target: str) -> Json:
    found = _find(clients, target)
    members = found["GlobalClusterMembers"] if found else ()
    return {"writer": next((one["DBClusterArn"] for one in members if one["IsWriter"]), None)}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Fail over, or go on waiting for a failover that is under way. Raises Failed."""
    wanted = change.after["writer"]
    found = _find(clients, change.target)
    if found is None:
        raise Failed(f"{change.target} is gone.")
    if found["Status"] == "available":
        clients.aws("rds", once=True).failover_global_cluster(
            GlobalClusterIdentifier=found["GlobalClusterIdentifier"],
            TargetDbClusterIdentifier=wanted,
            AllowDataLoss=True,
        )

    def promoted() -> bool:
        now = _find(clients, change.target)
        settled = now is not None and now["Status"] == "available"
        return settled and _read(clients, change.target)["writer"] == wanted

    Wait(_WITHIN_S, _LOOK_S, factor=clients.environment.waits.factor).until(
        promoted, what=f"{wanted.rpartition(':')[2]} to be the writer"
    )


register(
    KIND,
    read=_read,
    apply=_apply,
    measure=lambda change: {"clusters": 1},
    take_back=lambda change, rows, done: None,
    regional=True,
)
