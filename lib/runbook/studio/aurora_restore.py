"""A cluster restored beside another one: like its source in all that a restore does not copy.

AWS makes a restored cluster with no instance, in the default network and parameter groups, without
scaling and unprotected. Here it gets what the source has, and one instance, and is waited for.

Kinds of change: `aurora-cluster`, target `cluster:NAME`, and `aurora-instance`, target
`instance:NAME`; all keys are null where there is none. Tags say what a cluster was restored from,
since AWS does not: whoever finds it later knows. Taking one back deletes it, which is refused
for a cluster that the Studio's own DSN names. Of `aurora-cluster-kept` and `aurora-instance-kept`
no undo deletes anything: it has served by then, and has what was written meanwhile.

Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterToPointInTime.html
and https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterFromSnapshot.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.record.journal import Intent
from runbook.studio import dsn
from runbook.wait import Wait

FROM, MOMENT, SNAPSHOT = "restored-from", "restored-to", "restored-from-snapshot"  # tags
CLUSTER, INSTANCE = "aurora-cluster", "aurora-instance"
KEPT = "-kept"  # behind either
_WITHIN_S, _LOOK_S = 4 * 3600.0, 10.0
_SETTINGS = (
    "engine", "version", "subnet_group", "security_groups", "parameter_group", "min_acu", "max_acu",
    "deletion_protection", "tags",
)  # fmt: skip
_KEYS = ("status", *_SETTINGS)


@dataclass(frozen=True)
class Setup:
    """A cluster with what a restore has to be told. `classes` are those of its instances."""

    name: str
    status: str
    endpoint: str
    port: int
    engine: str
    version: str
    subnet_group: str
    security_groups: tuple[str, ...]
    parameter_group: str
    min_acu: float | None
    max_acu: float | None
    deletion_protection: bool
    encrypted: bool
    tags: Mapping[str, str]
    instances: Mapping[str, str]  # name: status
    instance_class: str
    created_at: datetime

    @property
    def serves(self) -> bool:
        """Whether it is available with an instance that is."""
        return self.status == "available" and "available" in self.instances.values()

    def settings(self) -> dict[str, Json]:
        """What makes a restored cluster like it."""
        found = {key: getattr(self, key) for key in _SETTINGS}
        return {**found, "security_groups": list(self.security_groups), "tags": dict(self.tags)}


def read_setup(rds: Any, *, cluster: str) -> Setup | None:
    """A cluster as it is set up; None when there is none of that name."""
    try:
        found = rds.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"][0]
    except rds.exceptions.DBClusterNotFoundFault:
        return None
    return _setup(rds, found)


def find_serving(rds: Any, *, host: str, port: int) -> Setup | None:
    """The cluster that answers at an address, which is what a DSN names; None: none of ours."""
    pages = rds.get_paginator("describe_db_clusters").paginate()
    for found in (one for page in pages for one in page["DBClusters"]):
        if (found.get("Endpoint"), found.get("Port")) == (host, port):
            return _setup(rds, found)
    return None


def read_used(clients: Clients) -> Setup:
    """The cluster that the Studio uses: the one that its DSN names, else the environment's.

    A DSN may name a proxy, or, when it is the trouble, nothing at all. Raises BadInput.
    """
    rds, known = clients.aws("rds"), clients.environment.database.cluster
    host, port = dsn.read_address(clients)
    found = find_serving(rds, host=host, port=port) or read_setup(rds, cluster=known)
    if found is None:
        raise BadInput(
            f"The DSN names no cluster of this region, and there is no cluster {known!r}.",
            next="Is the region lost? fail-over-region",
        )
    return found


def plan_cluster(
    source: Setup,
    *,
    name: str,
    moment: datetime | None,
    snapshot: str,
    tags: Mapping[str, str],
    stays: bool = False,
) -> tuple[Change, Change]:
    """The changes that restore `source` to a moment or from a snapshot, with an instance. Pure.

    `tags` are added to those of the source, with what it is restored from. `stays`: an undo of the
    plan leaves it.
    """
    suffix = KEPT if stays else ""
    origin = {FROM: source.name, **({SNAPSHOT: snapshot} if snapshot else {})}
    if moment:
        origin[MOMENT] = moment.isoformat()
    kept = {key: value for key, value in source.tags.items() if key not in (MOMENT, SNAPSHOT)}
    settings = {**source.settings(), "tags": {**kept, **tags, **origin}}
    after: dict[str, Json] = {"status": "available", **settings}
    instance = {"status": "available", "cluster": name, "class": source.instance_class}
    return (
        Change(CLUSTER + suffix, f"cluster:{name}", dict.fromkeys(after), after),
        Change(INSTANCE + suffix, f"instance:{name}-1", dict.fromkeys(instance), instance),
    )


def _setup(rds: Any, found: Mapping[str, Any]) -> Setup:
    scaling = found.get("ServerlessV2ScalingConfiguration") or {}
    only = [{"Name": "db-cluster-id", "Values": [found["DBClusterIdentifier"]]}]
    pages = rds.get_paginator("describe_db_instances").paginate(Filters=only)
    instances = [one for page in pages for one in page["DBInstances"]]
    return Setup(
        name=found["DBClusterIdentifier"],
        status=found["Status"],
        endpoint=found.get("Endpoint", ""),
        port=found.get("Port", 5432),
        engine=found["Engine"],
        version=found["EngineVersion"],
        subnet_group=found.get("DBSubnetGroup", ""),
        security_groups=tuple(
            sorted(one["VpcSecurityGroupId"] for one in found.get("VpcSecurityGroups", ()))
        ),
        parameter_group=found.get("DBClusterParameterGroup", ""),
        min_acu=scaling.get("MinCapacity"),
        max_acu=scaling.get("MaxCapacity"),
        deletion_protection=bool(found.get("DeletionProtection")),
        encrypted=bool(found.get("StorageEncrypted")),
        tags={
            one["Key"]: one["Value"]
            for one in found.get("TagList", ())
            if not one["Key"].startswith("aws:")  # AWS's own cannot be set
        },
        instances={one["DBInstanceIdentifier"]: one["DBInstanceStatus"] for one in instances},
        instance_class=instances[0]["DBInstanceClass"] if instances else "db.serverless",
        created_at=found["ClusterCreateTime"],
    )


# the kinds of change


def _read_cluster(clients: Clients, target: str) -> Json:
    found = read_setup(clients.aws("rds"), cluster=target.removeprefix("cluster:"))
    if found is None:
        return dict.fromkeys(_KEYS)
    return {"status": found.status, **found.settings()}


def _judge_cluster(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    return _judge(_read_cluster(clients, change.target), change)


def _judge(found: Json, change: Change) -> Judgement:
    """What is being made as planned is still to be waited for."""
    before = change.before
    if matches(change.after, found):
        return Judgement("holds")
    making = before["status"] is None and found["status"] in ("creating", "configuring")
    if matches(before, found) or making:
        return Judgement("to do")
    return Judgement("moved", tuple(differences(before, found)))


def _apply_cluster(clients: Clients, change: Change, intent: Intent) -> None:
    """Restore the cluster, or go on waiting for one that is being made; or delete it."""
    name = change.target.removeprefix("cluster:")
    rds, found = clients.aws("rds", once=True), read_setup(clients.aws("rds"), cluster=name)
    if change.after["status"] is None:
        _delete_cluster(clients, name, found)
        return
    if found is None:
        _restore(rds, name, change.after)
    _await(clients, name, lambda one: one.status == "available", "available")


def _restore(rds: Any, name: str, wanted: Mapping[str, Json]) -> None:
    tags = wanted["tags"]
    asked: dict[str, Any] = {
        "DBClusterIdentifier": name,
        "DBSubnetGroupName": wanted["subnet_group"],
        "VpcSecurityGroupIds": wanted["security_groups"],
        "DBClusterParameterGroupName": wanted["parameter_group"],
        "DeletionProtection": wanted["deletion_protection"],
        "CopyTagsToSnapshot": True,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if wanted["max_acu"] is not None:
        asked["ServerlessV2ScalingConfiguration"] = {
            "MinCapacity": wanted["min_acu"],
            "MaxCapacity": wanted["max_acu"],
        }
    if SNAPSHOT in tags:
        rds.restore_db_cluster_from_snapshot(
            SnapshotIdentifier=tags[SNAPSHOT],
            Engine=wanted["engine"],
            EngineVersion=wanted["version"],
            **asked,
        )
        return
    rds.restore_db_cluster_to_point_in_time(
        SourceDBClusterIdentifier=tags[FROM],
        RestoreToTime=datetime.fromisoformat(tags[MOMENT]),
        **asked,
    )


def _delete_cluster(clients: Clients, name: str, found: Setup | None) -> None:
    """Delete a restored cluster. Raises Failed for one that the Studio uses."""
    if found is None:
        return
    if dsn.read_address(clients) == (found.endpoint, found.port):
        raise Failed(
            f"{name} is what the DSN names: the Studio uses it, so it is not deleted.",
            next="Undo the run that switched to it first.",
        )
    rds = clients.aws("rds", once=True)
    if found.deletion_protection:
        rds.modify_db_cluster(
            DBClusterIdentifier=name, DeletionProtection=False, ApplyImmediately=True
        )
        _await(clients, name, lambda one: one.status == "available", "unprotected")
    rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
    _await(clients, name, None, "gone")


def _read_instance(clients: Clients, target: str) -> Json:
    rds, name = clients.aws("rds"), target.removeprefix("instance:")
    try:
        found = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
    except rds.exceptions.DBInstanceNotFoundFault:
        return {"status": None, "cluster": None, "class": None}
    return {
        "status": found["DBInstanceStatus"],
        "cluster": found.get("DBClusterIdentifier"),
        "class": found["DBInstanceClass"],
    }


def _apply_instance(clients: Clients, change: Change, intent: Intent) -> None:
    """Create the instance, or go on waiting for it; or delete it."""
    name, rds = change.target.removeprefix("instance:"), clients.aws("rds", once=True)
    found = _read_instance(clients, change.target)
    if change.after["status"] is None:
        if found["status"] is not None:
            _refuse_in_use(clients, found["cluster"])
            rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
        _await_instance(clients, change.target, None)
        return
    if found["status"] is None:
        cluster = read_setup(clients.aws("rds"), cluster=change.after["cluster"])
        if cluster is None:
            raise BadInput(f"There is no cluster {change.after['cluster']!r}.")
        rds.create_db_instance(
            DBInstanceIdentifier=name,
            DBClusterIdentifier=cluster.name,
            DBInstanceClass=change.after["class"],
            Engine=cluster.engine,
        )
    _await_instance(clients, change.target, "available")


def _refuse_in_use(clients: Clients, cluster: str) -> None:
    found = read_setup(clients.aws("rds"), cluster=cluster)
    if found and dsn.read_address(clients) == (found.endpoint, found.port):
        raise Failed(
            f"{cluster} is what the DSN names: the Studio uses it, so its instance stays.",
            next="Undo the run that switched to it first.",
        )


def _await(clients: Clients, name: str, holds: Callable[[Setup], bool] | None, what: str) -> None:
    """Wait for a cluster; without `holds`, until it is gone. Raises Failed, DeadlinePassed."""
    rds = clients.aws("rds")

    def reached() -> bool:
        found = read_setup(rds, cluster=name)
        if found is None or holds is None:
            if found is None and holds:
                raise Failed(f"{name} is gone.", next="Look at the cluster's events in RDS.")
            return found is None
        if found.status in ("failed", "restore-error", "incompatible-restore"):
            raise Failed(f"{name} is {found.status}.", next="Look at the cluster's events in RDS.")
        return holds(found)

    _wait(clients, name).until(reached, what=f"{name} to be {what}")


def _await_instance(clients: Clients, target: str, status: str | None) -> None:
    def reached() -> bool:
        found = _read_instance(clients, target)["status"]
        if found == "failed":
            raise Failed(f"{target} has failed.", next="Look at the instance's events in RDS.")
        return bool(found == status)

    _wait(clients, target).until(reached, what=f"{target} to be {status or 'gone'}")


def _wait(clients: Clients, name: str) -> Wait:
    """Patience, with a line a minute (scaled) for whoever watches."""
    factor = clients.environment.waits.factor
    told = [0.0]

    def progress(waited_s: float) -> None:
        if waited_s - told[0] >= 60 * factor:
            told[0] = waited_s
            print(f"{name}: {waited_s:.0f} s", flush=True)

    return Wait(_WITHIN_S, _LOOK_S, factor=factor, progress=progress)


def _stays(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> None:
    """Whoever undoes the rest leaves it."""


for _suffix, _take_back in (("", None), (KEPT, _stays)):
    register(
        CLUSTER + _suffix,
        read=_read_cluster,
        apply=_apply_cluster,
        judge=_judge_cluster,
        measure=lambda change: {"clusters": 1},
        take_back=_take_back,
        regional=True,
    )
    register(
        INSTANCE + _suffix,
        read=_read_instance,
        apply=_apply_instance,
        judge=lambda clients, change, rows: _judge(_read_instance(clients, change.target), change),
        measure=lambda change: {"instances": 1},
        take_back=_take_back,
        regional=True,
    )
