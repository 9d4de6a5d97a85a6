"""Backups of a database cluster: snapshots, and how far back and forward it can be restored.

A snapshot is asked for once and then waited for: until it is available it is no way back. Its name
is what tells an interrupted run whether it was made, since no two snapshots have the same one.

Kinds of change: `aurora-snapshot`, and `aurora-snapshot-kept`, which no undo deletes; target
`snapshot:NAME`, all keys null where there is none.

Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import Change, Json, Plan, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.record.journal import Intent
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK, Wait

KIND, KEPT = "aurora-snapshot", "aurora-snapshot-kept"
MANUAL, AUTOMATED = "manual", "automated"
_NAME = re.compile(r"[a-z](-?[a-z0-9]+)*", re.IGNORECASE)
_LONGEST = 63
_WITHIN_S, _LOOK_S = 4 * 3600.0, 10.0  # for a snapshot of hundreds of GiB to be available


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a cluster. `kind` is manual or automated; a manual one stays until deleted."""

    name: str
    cluster: str
    kind: str
    status: str
    taken_at: datetime | None  # aware, UTC
    size_gib: int
    encrypted: bool
    percent: int = 100

    def age_days(self, now: datetime) -> float:
        """Days since the moment that it is of; 0 while it is being made."""
        return (now - self.taken_at).total_seconds() / 86_400 if self.taken_at else 0.0


@dataclass(frozen=True)
class Window:
    """The moments that a cluster can be restored to, aware and in UTC; None before a backup."""

    cluster: str
    earliest: datetime | None
    latest: datetime | None
    retention_days: int
    encrypted: bool

    def lag_s(self, now: datetime) -> float | None:
        """What would be lost if the cluster were restored now: the measured recovery point."""
        return (now - self.latest).total_seconds() if self.latest else None


def read_snapshots(rds: Any, *, cluster: str) -> tuple[Snapshot, ...]:
    """All snapshots of a cluster, newest first; none of a cluster that there is not.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusterSnapshots.html
    """
    pages = rds.get_paginator("describe_db_cluster_snapshots").paginate(DBClusterIdentifier=cluster)
    found = [_snapshot(one) for page in pages for one in page["DBClusterSnapshots"]]
    being_made = [one for one in found if one.taken_at is None]
    made = [one for one in found if one.taken_at is not None]
    return (*being_made, *sorted(made, key=lambda one: (one.taken_at, one.name), reverse=True))


def read_window(rds: Any, *, cluster: str) -> Window:
    """How far back and forward a cluster can be restored. Raises BadInput: there is none."""
    try:
        found = rds.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"][0]
    except rds.exceptions.DBClusterNotFoundFault as error:
        raise BadInput(f"There is no database cluster {cluster!r}.") from error
    return Window(
        cluster,
        found.get("EarliestRestorableTime"),
        found.get("LatestRestorableTime"),
        found.get("BackupRetentionPeriod", 0),
        bool(found.get("StorageEncrypted")),
    )


def name_now(prefix: str) -> str:
    """A snapshot's name for now, to the minute: `PREFIX-20251110-0200`."""
    return f"{prefix}-{SYSTEM_CLOCK.now():%Y%m%d-%H%M}"


def plan_snapshot(window: Window, *, name: str, known: Iterable[Snapshot] = ()) -> Plan:
    """The plan that takes a snapshot of a cluster and waits for it. Pure.

    Without changes when the cluster has it already. Raises BadInput for a name that AWS would not
    take, or that belongs to something else.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise BadInput(
            f"name: expected letters, digits and single hyphens, a letter first and at most "
            f"{_LONGEST} signs; found {name!r}."
        )
    there = next((one for one in known if one.name == name.lower()), None)
    change = change_of(window, name=name)
    warnings = [] if window.encrypted else ["The cluster is not encrypted, so neither is this."]
    return Plan(
        title=f"Take the snapshot {name} of {window.cluster}",
        risk="low",
        changes=() if there and there.status == "available" else (change,),
        way_back="undo deletes the snapshot, for good; the database itself is not touched.",
        warnings=(*warnings, "A snapshot that was taken by hand is kept, and paid for, until "
                  "somebody deletes it."),
    )  # fmt: skip


def change_of(window: Window, *, name: str, kept: bool = False) -> Change:
    """The change that takes a snapshot: for a plan that wants one first. Pure.

    `kept`: an undo of the plan leaves it, since it is what one would go back to.
    """
    after = {"cluster": window.cluster, "encrypted": window.encrypted, "status": "available"}
    return Change(
        KEPT if kept else KIND, f"snapshot:{name.lower()}", before=dict.fromkeys(after), after=after
    )


def table(snapshots: Iterable[Snapshot], *, now: datetime, old_after_days: float) -> Table:
    """Snapshots to be read; a manual one that is older than the limit says so."""
    import pandas as pd

    rows = [
        {
            "snapshot": one.name,
            "kind": one.kind,
            "taken": one.taken_at,
            "age_days": int(one.age_days(now)),
            "size_gib": one.size_gib,
            "encrypted": one.encrypted,
            "says": _says(one, now, old_after_days),
        }
        for one in snapshots
    ]
    return Table(pd.DataFrame(rows), empty="There is no snapshot.")


def old(
    snapshots: Iterable[Snapshot], *, now: datetime, old_after_days: float
) -> tuple[Snapshot, ...]:
    """Snapshots that were taken by hand so long ago that somebody has forgotten them. Pure."""
    return tuple(
        one for one in snapshots if one.kind == MANUAL and one.age_days(now) > old_after_days
    )


def _says(one: Snapshot, now: datetime, old_after_days: float) -> str:
    if one.status != "available":
        return f"{one.status}, {one.percent} %"
    if old([one], now=now, old_after_days=old_after_days):
        return f"older than {old_after_days:g} days: still needed?"
    return ""


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        name=found["DBClusterSnapshotIdentifier"],
        cluster=found["DBClusterIdentifier"],
        kind=found["SnapshotType"],
        status=found["Status"],
        taken_at=found.get("SnapshotCreateTime"),
        size_gib=found.get("AllocatedStorage", 0),
        encrypted=bool(found.get("StorageEncrypted")),
        percent=found.get("PercentProgress", 100),
    )


# the kind of change


def _find(clients: Clients, target: str) -> Snapshot | None:
    rds, name = clients.aws("rds"), target.removeprefix("snapshot:")
    try:
        found = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)
    except rds.exceptions.DBClusterSnapshotNotFoundFault:
        return None
    return _snapshot(found["DBClusterSnapshots"][0])


def _read(clients: Clients, target: str) -> Json:
    found = _find(clients, target)
    if found is None:
        return {"cluster": None, "encrypted": None, "status": None}
    return {"cluster": found.cluster, "encrypted": found.encrypted, "status": found.status}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Take the snapshot, or go on waiting for one that is being made; or delete it."""
    name = change.target.removeprefix("snapshot:")
    found, rds = _find(clients, change.target), clients.aws("rds", once=True)
    if change.after["status"] is None:
        rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=name)
        return
    if found is None:
        rds.create_db_cluster_snapshot(
            DBClusterSnapshotIdentifier=name, DBClusterIdentifier=change.after["cluster"]
        )
    _await(clients, change.target)


def _await(clients: Clients, target: str) -> None:
    """Wait until a snapshot is available. Raises Failed when AWS gives it up, DeadlinePassed."""
    told: set[int] = set()

    def available() -> bool:
        found = _find(clients, target)
        if found is None or found.status not in ("creating", "available"):
            state = found.status if found else "gone"
            raise Failed(f"{target}: it is {state}.", next="Look at the cluster's events in RDS.")
        if found.status == "creating" and found.percent not in told:
            told.add(found.percent)
            print(f"{found.name}: {found.percent} %", flush=True)
        return found.status == "available"

    wait = Wait(_WITHIN_S, _LOOK_S, factor=clients.environment.waits.factor)
    wait.until(available, what=f"{target} to be available")


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """One that is being made, of the same cluster, is still to be waited for."""
    found = _read(clients, change.target)
    if matches(change.after, found):
        return Judgement("holds")
    making = change.before["status"] is None and found == {**change.after, "status": "creating"}
    if matches(change.before, found) or making:
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def _measure(change: Change) -> Mapping[str, float]:
    return {"snapshots": 1}


register(KIND, read=_read, apply=_apply, judge=_judge, measure=_measure)
register(
    KEPT,
    read=_read,
    apply=_apply,
    judge=_judge,
    measure=_measure,
    take_back=lambda change, rows, done: None,
)
