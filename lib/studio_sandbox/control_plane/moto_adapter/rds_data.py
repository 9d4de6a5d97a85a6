"""What operations on Aurora do to data: copies, servers, recoveries, sessions that end.

moto answers, and keeps what is described; here stands what is behind it. A cluster's `sandbox` is
a `Cluster` of the databases, a snapshot's is the folder of its copy, or, for a seeded one, only
the moment that it is of. Work is done in the background, and what it is about says `creating`
meanwhile. A control plane of its own, with no servers, has descriptions alone.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.databases.all import Cluster, Databases
from studio_sandbox.control_plane.moto_adapter import core

_HOST = "127.0.0.1"
_MODIFYING_S, _FAILING_OVER_S = 30, 30  # on AWS

_databases: Databases | None = None


def use(databases: Databases | None) -> None:
    """Whose data all clusters of this process have."""
    global _databases
    _databases = databases


def attach(cluster: Any) -> None:
    """Let the Studio's own database stand behind a cluster, whose instances are there."""
    if _databases:
        stand_behind(cluster, _databases.primary)


def patch() -> None:
    """Plain moto changes descriptions, and no data."""
    from moto.rds import models

    _describe_truly(models)
    backend = models.RDSBackend
    for operation in (
        create_db_cluster_snapshot,
        copy_db_cluster_snapshot,
        delete_db_cluster_snapshot,
        restore_db_cluster_from_snapshot,
        restore_db_cluster_to_point_in_time,
        create_db_instance,
        delete_db_instance,
        delete_db_cluster,
        modify_db_cluster,
        failover_db_cluster,
        stop_db_cluster,
        start_db_cluster,
    ):
        name = operation.__name__
        setattr(backend, name, _around(getattr(backend, name), operation))


def _around(original: Callable[..., Any], operation: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **given: Any) -> Any:
        if _databases is None:
            return original(self, *args, **given)
        return operation(lambda: original(self, *args, **given), self, *args, **given)

    return call


# what is described


def _describe_truly(models: Any) -> None:
    cluster, instance = models.DBCluster, models.DBInstance
    status, endpoint, reader = cluster.status, cluster.endpoint, cluster.reader_endpoint
    latest, address = cluster.latest_restorable_time, instance.address
    cluster.status = property(
        # moto's own becomes available by being looked at
        lambda self: self._status if behind_of(self) else status.fget(self),
        status.fset,
    )
    cluster.endpoint = property(lambda self: _HOST if behind_of(self) else endpoint.fget(self))
    cluster.reader_endpoint = property(lambda self: _HOST if behind_of(self) else reader.fget(self))
    cluster.latest_restorable_time = property(
        lambda self: (
            _restorable(behind_of(self), "latest") if behind_of(self) else latest.fget(self)
        )
    )
    cluster.earliest_restorable_time = property(
        lambda self: (
            _restorable(behind_of(self), "earliest") if behind_of(self) else self.sandbox_earliest
        ),
        lambda self, moment: setattr(self, "sandbox_earliest", moment),
    )
    instance.address = property(
        lambda self: _HOST if behind_of(_cluster_of(self)) else address.fget(self)
    )
    # Aurora's snapshots of this kind are made by the day, and none of an instance
    cluster.save_automated_backup = lambda self: None
    models.DBInstanceClustered.save_automated_backup = lambda self: None


def _restorable(behind: Any, which: str) -> datetime | None:
    moment = getattr(behind.history, which)
    return core.naive(moment) if moment else None


def behind_of(cluster: Any) -> Cluster | None:
    """What stands behind a cluster, if it has data."""
    found: Cluster | None = getattr(cluster, "sandbox", None)
    return found


def _cluster_of(instance: Any) -> Any:
    return instance.backend.clusters.get(instance.db_cluster_identifier)


def stand_behind(cluster: Any, behind: Cluster) -> None:
    """From now on a cluster's data, port and instances are those."""
    cluster.sandbox, cluster.port = behind, behind.port
    for member in cluster.members:
        member.port = cluster.port


# snapshots


def create_db_cluster_snapshot(
    original: Callable[[], Any], self: Any, db_cluster_identifier: str, *_: Any, **__: Any
) -> Any:
    """Copy the database; the snapshot is of the moment at which its copy ends.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
    """
    cluster = self.clusters.get(db_cluster_identifier)
    behind = behind_of(cluster)
    if behind is None:
        return original()
    _refuse_unless_cluster_available(cluster)
    _refuse_secondary(behind, "CreateDBClusterSnapshot")
    made = original()
    copy = all_databases().new_copy()
    made.sandbox, made.status, made.percent_progress = copy, "creating", 0

    def work() -> None:
        taken = behind.database.copy_to(copy, progress)
        with core.LOCK:
            made.created, made.percent_progress = core.naive(taken), 100
            made.status = "available"

    def progress(percent: int) -> None:
        with core.LOCK:
            made.percent_progress = min(percent, 99)

    behind.do(work, failed=lambda: _set(made, status="failed"))
    return made


def copy_db_cluster_snapshot(
    original: Callable[[], Any], self: Any, *, source_db_cluster_snapshot_identifier: str, **_: Any
) -> Any:
    """A snapshot of the same data: what was copied once is never changed."""
    source = self.get_db_cluster_snapshot(source_db_cluster_snapshot_identifier)
    _refuse_unless_available(source)
    made = original()
    made.sandbox = getattr(source, "sandbox", None)
    return made


def delete_db_cluster_snapshot(original: Callable[[], Any], self: Any, identifier: str) -> Any:
    """Remove the copy too, unless another snapshot is of the same data."""
    if found := self.cluster_snapshots.get(identifier):
        _refuse_unless_available(found)
    gone = original()
    copy = getattr(gone, "sandbox", None)
    if isinstance(copy, Path) and copy not in _copies_in_use(self):
        threading.Thread(target=shutil.rmtree, args=(copy, True), daemon=True).start()
    return gone


def _copies_in_use(backend: Any) -> list[Any]:
    from moto.rds.models import rds_backends

    regions = rds_backends[backend.account_id].values()
    return [
        getattr(snapshot, "sandbox", None)
        for region in regions
        for snapshot in region.cluster_snapshots.values()
    ]


def _refuse_unless_available(snapshot: Any) -> None:
    if snapshot.status == "creating":
        raise _error(
            "InvalidDBClusterSnapshotStateFault",
            f"Snapshot {snapshot.db_cluster_snapshot_identifier} is in {snapshot.status} state.",
        )


# restores


def restore_db_cluster_from_snapshot(
    original: Callable[[], Any], self: Any, identifier: str, asked: dict[str, Any]
) -> Any:
    """Make a cluster's data from the snapshot's copy. It has no instance, so nothing answers yet.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterFromSnapshot.html
    """
    (snapshot,) = self.describe_db_cluster_snapshots(None, identifier)
    _refuse_unless_available(snapshot)
    _refuse_known(self, asked["db_cluster_identifier"])
    copy = getattr(snapshot, "sandbox", None)
    if copy is None:
        raise NotInSandbox(f"the data of snapshot {identifier}: its cluster never had any")
    databases = all_databases()
    if isinstance(copy, Path):
        return _restored(original(), lambda made: databases.restore_copy(made, copy))
    return _restored(original(), lambda made: databases.restore_seeded(made, copy))


def restore_db_cluster_to_point_in_time(
    original: Callable[[], Any], self: Any, *_: Any, **asked: Any
) -> Any:
    """Make a cluster's data as the source's was then: all that was committed, and no more.

    Raises InvalidParameterCombination (no moment, or two), InvalidParameterValue (before the
    earliest or after the latest restorable time).
    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterToPointInTime.html
    """
    (source,) = self.describe_db_clusters(asked["source_db_cluster_identifier"])
    behind, moment = behind_of(source), asked.get("restore_to_time")
    _refuse_known(self, asked["db_cluster_identifier"])
    if behind is None:
        raise NotInSandbox(f"the data of cluster {source.db_cluster_identifier}: it has none")
    if asked.get("restore_type") == "copy-on-write":
        raise NotInSandbox("RestoreType copy-on-write; full-copy is")
    if (moment is None) is not bool(asked.get("use_latest_restorable_time")):
        raise _error(
            "InvalidParameterCombination",
            "Specify either RestoreToTime or UseLatestRestorableTime, and not both.",
        )
    wanted = _restorable_moment(source.db_cluster_identifier, behind, moment)
    databases = all_databases()
    return _restored(original(), lambda made: databases.restore_moment(made, behind, wanted))


def _restorable_moment(name: str, source: Cluster, moment: datetime | None) -> datetime:
    earliest, latest = source.history.earliest, source.history.latest
    if earliest is None or latest is None:
        raise _error("InvalidDBClusterStateFault", f"{name} has no backup yet.")
    if moment is None:
        return latest
    wanted = moment.replace(tzinfo=moment.tzinfo or UTC)
    bounds = f"it can be restored from {earliest.isoformat()} to {latest.isoformat()}"
    if not earliest <= wanted <= latest:
        side = "earlier than its earliest" if wanted < earliest else "later than its latest"
        raise _error(
            "InvalidParameterValue",
            f"{name} cannot be restored to {wanted.isoformat()}, which is {side} restorable time;"
            f" {bounds}.",
        )
    return wanted


def _restored(made: Any, fill: Callable[[Cluster], None]) -> Any:
    behind = all_databases().new(made.db_cluster_identifier)
    stand_behind(made, behind)
    made._status = "creating"

    def work() -> None:
        fill(behind)
        _set(made, _status="available")

    behind.do(work, failed=lambda: _set(made, _status="failed"))
    return made


def _refuse_known(backend: Any, identifier: str) -> None:
    if identifier.lower() in backend.clusters:
        raise _error("DBClusterAlreadyExistsFault", f"DB Cluster {identifier} already exists.")


# instances and clusters


def create_db_instance(original: Callable[[], Any], self: Any, asked: dict[str, Any]) -> Any:
    """Start the cluster's server with its first instance: it answers once that is available."""
    cluster = self.clusters.get(asked.get("db_cluster_identifier"))
    behind = behind_of(cluster)
    if behind is None:
        return original()
    _refuse_unless_cluster_available(cluster)
    if not behind.database.alive and not all_databases().may_serve():
        raise _error("InstanceQuotaExceeded", "Instance quota exceeded in the sandbox.")
    made = original()
    made.port, made.status = cluster.port, "creating"

    def work() -> None:
        behind.serve()
        _set(made, status="available")

    behind.do(work, failed=lambda: _set(made, status="failed"))
    return made


def delete_db_instance(
    original: Callable[[], Any], self: Any, db_instance_identifier: str, *_: Any, **__: Any
) -> Any:
    """End the cluster's server with its last instance."""
    gone = original()
    cluster = _cluster_of(gone)
    if (behind := behind_of(cluster)) and not cluster.members:
        behind.do(behind.rest)
    return gone


def delete_db_cluster(original: Callable[[], Any], self: Any, *_: Any, **__: Any) -> Any:
    """Remove the data, after the final snapshot has its copy of it, and automated snapshots.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBCluster.html
    """
    gone = original()
    if behind := behind_of(gone):
        databases = all_databases()
        behind.do(lambda: databases.remove(behind))
        for name, snapshot in list(self.cluster_snapshots.items()):
            of_it = snapshot.db_cluster_identifier == gone.db_cluster_identifier
            if of_it and snapshot.snapshot_type == "automated":
                del self.cluster_snapshots[name]
    return gone


def modify_db_cluster(original: Callable[[], Any], self: Any, asked: dict[str, Any]) -> Any:
    """`modifying` for some time, then available as asked."""
    cluster = self.clusters.get(asked["db_cluster_identifier"])
    behind = behind_of(cluster)
    if behind is None:
        return original()
    _refuse_unless_cluster_available(cluster)
    if asked.get("master_user_password"):
        raise NotInSandbox(
            "ModifyDBCluster: MasterUserPassword; the role's password is changed in SQL"
        )
    shown = original()
    shown._status = cluster._status = "modifying"
    behind.do(lambda: _settle(cluster, _MODIFYING_S))
    return shown


def failover_db_cluster(original: Callable[[], Any], self: Any, *_: Any, **asked: Any) -> Any:
    """Writer and reader change roles, and all sessions end.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_FailoverDBCluster.html
    """
    cluster = self.clusters.get(asked["db_cluster_identifier"])
    if behind := behind_of(cluster):
        _refuse_unless_cluster_available(cluster)
        _refuse_secondary(behind, "FailoverDBCluster")
    original()
    if behind:
        cluster._status = "failing-over"

        def work() -> None:
            behind.database.cut()
            _settle(cluster, _FAILING_OVER_S)

        behind.do(work, failed=lambda: _set(cluster, _status="available"))
    return cluster


def stop_db_cluster(
    original: Callable[[], Any], self: Any, cluster_identifier: str, *_: Any, **__: Any
) -> Any:
    """End the server; the data stays. One that is in a global cluster cannot be stopped."""
    cluster = self.clusters.get(cluster_identifier)
    if cluster and cluster.global_cluster_identifier:
        raise _error(
            "InvalidDBClusterStateFault",
            f"{cluster_identifier} is in a global cluster, and cannot be stopped.",
        )
    shown = original()
    cluster = self.clusters[shown.db_cluster_identifier]
    if behind := behind_of(cluster):
        shown._status = "stopping"
        behind.do(behind.rest)
    return shown


def start_db_cluster(original: Callable[[], Any], self: Any, *_: Any, **__: Any) -> Any:
    """Start the server again."""
    shown = original()
    cluster = self.clusters[shown.db_cluster_identifier]
    if behind := behind_of(cluster):
        shown._status = cluster._status = "starting"

        def work() -> None:
            behind.serve()
            _set(cluster, _status="available")

        behind.do(work, failed=lambda: _set(cluster, _status="stopped"))
    return shown


def _refuse_unless_cluster_available(cluster: Any) -> None:
    if cluster._status != "available":
        raise _error(
            "InvalidDBClusterStateFault",
            f"DBCluster {cluster.db_cluster_identifier} is in {cluster._status} state but"
            " expected it to be one of available.",
        )


def _refuse_secondary(behind: Cluster, operation: str) -> None:
    if behind.follows is not None:
        raise NotInSandbox(f"{operation}: a secondary has no server until it is promoted")


def _settle(cluster: Any, on_aws_s: float) -> None:
    threading.Event().wait(pace.seconds(on_aws_s))
    _set(cluster, _status="available")


def _set(described: Any, **values: Any) -> None:
    with core.LOCK:
        for name, value in values.items():
            setattr(described, name, value)


def all_databases() -> Databases:
    """All that there are. Raises NotInSandbox: a control plane of its own has none."""
    if _databases is None:
        raise NotInSandbox("the data of a cluster: this control plane has no servers")
    return _databases


def _error(code: str, message: str) -> SandboxError:
    return SandboxError(message, code=code, status=400)
