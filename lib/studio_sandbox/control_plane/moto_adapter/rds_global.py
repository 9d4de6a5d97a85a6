"""Aurora global databases: a cluster in another region follows, and is promoted.

A secondary has what the primary has archived, and no server until it is promoted: its data is then
made from the primary's base backup and WAL. A switchover ends the primary's sessions and archives
the last of them first, so nothing is lost; a failover with data loss takes what was archived, as
if the primary's region were gone, and keeps the old primary's data in a snapshot. Either way the
old primary follows the new one afterwards, and its own data is no longer served.
Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-global-database-disaster-recovery.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.databases.all import Cluster
from studio_sandbox.control_plane.moto_adapter import core, rds_data
from studio_sandbox.control_plane.moto_adapter.cloudwatch import Metrics

_MEASURED_EVERY_S = 60  # on AWS
_WHOLE, _KEPT = timedelta(minutes=5), timedelta(hours=3)
_LAG = "AuroraGlobalDBReplicationLag"
_FORWARDING = "EnableGlobalWriteForwarding"


def patch() -> None:
    """Plain moto only lists members, and finds a cluster in one region alone."""
    from moto.rds import models, responses

    response = responses.RDSResponse
    response.create_global_cluster = _create
    response.describe_global_clusters = _describe
    response.delete_global_cluster = _existing(response.delete_global_cluster)
    response.remove_from_global_cluster = _remove
    response.switchover_global_cluster = _switch_over
    response.failover_global_cluster = _fail_over
    response.create_db_cluster = _creating(response.create_db_cluster)
    response.modify_db_cluster = _without_forwarding(response.modify_db_cluster)
    response.delete_db_cluster = _deleting(response.delete_db_cluster)
    members = models.DBCluster.db_cluster_members
    models.DBCluster.db_cluster_members = property(
        lambda self: [
            one | {"IsClusterWriter": one["IsClusterWriter"] and not _follows(self)}
            for one in members.fget(self)
        ]
    )


# what is described


def _describe(self: Any) -> Any:
    """One, or all of them: plain moto gives all, whichever was asked for."""
    from moto.core.responses import ActionResult

    if self.params.get("GlobalClusterIdentifier"):
        return ActionResult({"GlobalClusters": [_found(self)]})
    return ActionResult({"GlobalClusters": list(self.global_backend.global_clusters.values())})


def _found(response: Any) -> Any:
    name = response.params["GlobalClusterIdentifier"]
    if name not in response.global_backend.global_clusters:
        raise _error("GlobalClusterNotFoundFault", f"Global cluster {name} not found.", 404)
    return response.global_backend.global_clusters[name]


def _member(found: Any, identifier: str) -> Any:
    """A member by its ARN: it may be in another region than the one that is asked."""
    for one in found.members:
        if identifier == one.db_cluster_arn:
            return one
    raise _error("DBClusterNotFoundFault", f"DBCluster {identifier} not found.", 404)


def _writer(found: Any) -> Any:
    return next((one for one in found.members if one.is_writer), None)


def _global_of(response: Any, cluster: Any) -> Any:
    """The global cluster that a cluster is in, or None."""
    every = response.global_backend.global_clusters.values()
    return next((one for one in every if cluster in one.members), None)


def _follows(cluster: Any) -> bool:
    behind = rds_data.behind_of(cluster)
    return behind is not None and behind.follows is not None


def _existing(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(self: Any) -> Any:
        _found(self)
        return original(self)

    return call


def _create(self: Any) -> Any:
    """A global cluster: empty, or of one cluster, of whichever region that is."""
    from moto.core.responses import ActionResult
    from moto.rds.models import find_cluster

    asked = self.params
    name, source = asked["GlobalClusterIdentifier"], asked.get("SourceDBClusterIdentifier")
    if name in self.global_backend.global_clusters:
        raise _error("GlobalClusterAlreadyExistsFault", f"Global cluster {name} already exists.")
    writer = find_cluster(source) if source else None
    if writer and asked.get("Engine"):
        raise _error("InvalidParameterCombination", "Engine is that of the source cluster.")
    if writer and (writer._status != "available" or _global_of(self, writer)):
        raise _error("InvalidDBClusterStateFault", f"{source} cannot be made global.")
    made = self.global_backend.create_global_cluster(
        name,
        None,
        writer.engine if writer else asked.get("Engine"),
        writer.engine_version if writer else asked.get("EngineVersion"),
        writer.storage_encrypted if writer else asked.get("StorageEncrypted"),
        asked.get("DeletionProtection"),
    )
    made.failover_state = None
    if writer:
        writer.is_writer, writer.global_cluster_identifier = True, name
        made.members.append(writer)
    return ActionResult({"GlobalCluster": made})


# secondaries


def _without_forwarding(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(self: Any) -> Any:
        if self.params.get(_FORWARDING):
            raise NotInSandbox(f"{_FORWARDING}: a secondary has no server until it is promoted")
        return original(self)

    return call


def _creating(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A member of a global cluster follows the writer, whose engine, data and users it has."""

    def call(self: Any) -> Any:
        if not self.params.get("GlobalClusterIdentifier"):
            return original(self)
        found = _found(self)
        writer = _writer(found)
        if writer is None or rds_data.behind_of(writer) is None:
            raise NotInSandbox("CreateDBCluster in a global cluster whose writer has no data")
        if any(one.region == self.region for one in found.members):
            raise _error(
                "InvalidParameterCombination",
                f"Global cluster {found.global_cluster_identifier} has a cluster in {self.region}.",
            )
        answer = original(self)
        made = self.backend.clusters[self.params["DBClusterIdentifier"]]
        made.engine_version, made.database_name = writer.engine_version, writer.database_name
        made.master_username, made.port = writer.master_username, writer.port
        made._status = "available"
        _follow(made, writer)
        return answer

    return _without_forwarding(call)


def _deleting(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is gone follows nobody, and a writer that is followed cannot go."""

    def call(self: Any) -> Any:
        cluster = self.backend.clusters.get(self.params["DBClusterIdentifier"])
        found = _global_of(self, cluster) if cluster else None
        if found and cluster.is_writer and len(found.members) > 1:
            raise _error(
                "InvalidDBClusterStateFault",
                "This cluster is a part of a global cluster, please remove it from globalcluster"
                " first.",
            )
        answer = original(self)
        if found:
            found.members.remove(cluster)
            if behind := rds_data.behind_of(cluster):
                behind.follows = None
        return answer

    return call


def _follow(made: Any, writer: Any) -> None:
    """Let a cluster have what the writer archives, and say how far behind that is."""
    databases = rds_data.all_databases()
    behind = databases.new(made.db_cluster_identifier, follows=rds_data.behind_of(writer))
    before = rds_data.behind_of(made)
    if before and before.follows is not None:  # it had nothing of its own
        before.follows = None
        databases.remove(before)
    rds_data.stand_behind(made, behind)
    made.is_writer = False
    arguments = (made, writer.region, behind)
    threading.Thread(target=_measure, args=arguments, name="global", daemon=True).start()


def _measure(made: Any, source_region: str, behind: Cluster) -> None:
    """Put the lag into the secondary's CloudWatch for as long as it follows."""
    put = Metrics(made.account_id, made.region)
    about = (("DBClusterIdentifier", made.db_cluster_identifier), ("SourceRegion", source_region))
    pause = threading.Event()
    while behind.follows is not None and not behind.history.closed:
        now, latest = datetime.now(UTC), behind.follows.history.latest
        if latest is not None:
            lag_ms = max(0.0, (now - latest).total_seconds() * 1000)
            with core.LOCK:
                put.put("AWS/RDS", _LAG, about, "Milliseconds", [(now, [lag_ms])])
                put.thin_out(whole_before=now - _WHOLE, drop_before=now - _KEPT)
        pause.wait(pace.seconds(_MEASURED_EVERY_S))


# promoted


def _switch_over(self: Any) -> Any:
    """Make a secondary the writer, without loss; the writer becomes a secondary."""
    return _change_over(self, "SwitchoverGlobalCluster", loss=False)


def _fail_over(self: Any) -> Any:
    """The same with `Switchover`; with `AllowDataLoss`, without what was not archived yet."""
    loss, planned = (bool(self.params.get(one)) for one in ("AllowDataLoss", "Switchover"))
    if loss and planned:
        raise _error(
            "InvalidParameterCombination", "AllowDataLoss and Switchover exclude each other."
        )
    return _change_over(self, "FailoverGlobalCluster", loss=loss)


def _change_over(response: Any, operation: str, *, loss: bool) -> Any:
    from moto.core.responses import ActionResult

    found = _found(response)
    target = _member(found, response.params["TargetDbClusterIdentifier"])
    old = _writer(found)
    _refuse_unless_ready(found, old, target, operation)
    taking, giving = rds_data.behind_of(target), rds_data.behind_of(old)
    assert taking is not None  # noqa: S101  a member of a global cluster has data, or will
    assert giving is not None  # noqa: S101
    archived = giving.history.sealed
    found.status = old._status = target._status = "failing-over" if loss else "switching-over"
    found.failover_state = {
        "Status": "failing-over",
        "FromDbClusterArn": old.db_cluster_arn,
        "ToDbClusterArn": target.db_cluster_arn,
        "IsDataLossAllowed": loss,
    }

    def work() -> None:
        _take_over(taking, giving, archived if _lost(giving, loss) else giving.history.seal())
        with core.LOCK:
            settle()
            _exchange(found, old, target, keep=loss)

    def settle() -> None:
        found.status = old._status = target._status = "available"
        found.failover_state = None

    def failed() -> None:
        """As it was: the old one is the writer still, and what was made by halves is removed."""
        with core.LOCK:
            settle()
        taking.follow(giving)
        giving.database.let_in(True)

    taking.do(work, failed=failed)
    return ActionResult({"GlobalCluster": found})


def _lost(giving: Cluster, loss: bool) -> bool:
    """Let nobody write into the old writer any more; whether it is given up as it is.

    One that is given up may be gone already.
    """
    import psycopg2

    try:
        giving.close_doors()
    except psycopg2.OperationalError:
        if not loss:
            raise
    return loss


def _take_over(taking: Cluster, giving: Cluster, moment: datetime | None) -> None:
    """Make a secondary's data of what was archived up to a moment, and serve it."""
    if moment is None:
        raise LookupError("nothing is archived yet")
    rds_data.all_databases().restore_archived(taking, giving, moment)
    taking.take_over()


def _exchange(found: Any, old: Any, target: Any, *, keep: bool) -> None:
    """The target is the writer, and all others follow it; what the old one had is kept, or goes."""
    databases, giving = rds_data.all_databases(), rds_data.behind_of(old)
    assert giving is not None  # noqa: S101  it was the writer
    if keep:
        name = f"rds:unplanned-global-failover-{old.db_cluster_identifier}-{_stamp()}"
        old.backend.create_db_cluster_snapshot(old.db_cluster_identifier, name, "automated")
    giving.do(lambda: databases.remove(giving))  # after the snapshot: one thing at a time
    target.is_writer = True
    for one in found.members:
        if one is not target:
            _follow(one, target)


def _refuse_unless_ready(found: Any, old: Any, target: Any, operation: str) -> None:
    if found.status != "available" or old is None or old._status != "available":
        raise _error(
            "InvalidGlobalClusterStateFault",
            f"Global cluster {found.global_cluster_identifier} is {found.status}; {operation}"
            " needs it, and its writer, to be available.",
        )
    if target is old:
        raise _error("InvalidDBClusterStateFault", "The target is the writer already.")
    if target._status != "available" or not target.members:
        raise _error(
            "InvalidDBClusterStateFault",
            f"{target.db_cluster_identifier} is {target._status} and has {len(target.members)}"
            f" instances; {operation} needs it to be available with one at least.",
        )
    if not rds_data.all_databases().may_serve():
        raise NotInSandbox(f"{operation}: no more servers can be started")


def _remove(self: Any) -> Any:
    """A secondary becomes a cluster of its own, with what was archived: it is promoted by hand.

    The writer can only go when nobody follows it.
    """
    from moto.core.responses import ActionResult

    found = _found(self)
    gone = _member(found, self.params["DbClusterIdentifier"])
    behind = rds_data.behind_of(gone)
    if gone.is_writer and len(found.members) > 1:
        raise _error("InvalidGlobalClusterStateFault", "The writer is followed by others.")
    found.members.remove(gone)
    gone.global_cluster_identifier, gone.is_writer = None, False
    if behind and behind.follows is not None:
        giving = behind.follows
        archived = giving.history.sealed
        gone._status = "promoting"

        def work() -> None:
            _take_over(behind, giving, archived)
            with core.LOCK:
                gone._status = "available"

        def failed() -> None:
            with core.LOCK:
                gone._status = "failed"

        behind.do(work, failed=failed)
    return ActionResult({"GlobalCluster": found})


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}"


def _error(code: str, message: str, status: int = 400) -> SandboxError:
    return SandboxError(message, code=code, status=status)
