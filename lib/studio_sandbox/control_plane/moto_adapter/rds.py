"""Aurora: a cluster of some age, with its snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core, rds_data, rds_global

_ENGINE = "aurora-postgresql"
_RESTORE_LAG = timedelta(minutes=4)  # AWS says: typically within the last five minutes


def patch() -> None:
    """Restore is possible up to some minutes ago, and gives a cluster with AWS's defaults.

    Plain moto says up to now, and copies network, protection and scaling from the source.
    """
    from moto.rds import models

    restorable = property(lambda self: core.now() - _RESTORE_LAG)
    models.DBCluster.latest_restorable_time = models.DBInstance.latest_restorable_time = restorable
    _restore_with_defaults(models.RDSBackend)
    rds_data.patch()
    rds_global.patch()


def _restore_with_defaults(backend: Any) -> None:
    from_snapshot = backend.restore_db_cluster_from_snapshot
    to_point_in_time = backend.restore_db_cluster_to_point_in_time

    def restore_from_snapshot(self: Any, from_snapshot_id: str, overrides: dict[str, Any]) -> Any:
        return _with_defaults(from_snapshot(self, from_snapshot_id, overrides), overrides)

    def restore_to_point_in_time(self: Any, *args: Any, **overrides: Any) -> Any:
        return _with_defaults(to_point_in_time(self, *args, **overrides), overrides)

    backend.restore_db_cluster_from_snapshot = restore_from_snapshot
    backend.restore_db_cluster_to_point_in_time = restore_to_point_in_time


def _with_defaults(cluster: Any, asked: dict[str, Any]) -> Any:
    """What was not asked for is AWS's default, and never the source's own.

    Source: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterFromSnapshot.html
    """
    family = f"{_ENGINE}{cluster.engine_version.split('.')[0]}"
    group = core.backend("ec2", cluster.account_id, cluster.region).get_default_security_group()
    default_groups = [group.id] if group else []
    cluster.db_subnet_group_name = asked.get("db_subnet_group_name") or "default"
    cluster.vpc_security_group_ids = asked.get("vpc_security_group_ids") or default_groups
    cluster.parameter_group = asked.get("db_cluster_parameter_group_name") or f"default.{family}"
    cluster.deletion_protection = bool(asked.get("deletion_protection"))
    cluster.serverless_v2_scaling_configuration = asked.get("serverless_v2_scaling_configuration")
    return cluster


@dataclass(frozen=True)
class ClusterSpec:
    """What makes up the cluster; capacities in ACU."""

    name: str
    version: str
    min_acu: float
    max_acu: float
    database: str
    user: str
    subnet_group: str
    security_groups: list[str]
    parameter_group: str
    retention_days: int
    zones: list[str]
    created: datetime
    earliest_restore: datetime


class Aurora:
    """RDS of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        self._rds = core.backend("rds", account, region)
        self._ec2 = core.backend("ec2", account, region)

    def subnet_group(self, name: str, subnet_ids: list[str]) -> None:
        """A subnet group over existing subnets."""
        subnets = [self._ec2.get_subnet(one) for one in subnet_ids]
        core.call(
            self._rds.create_subnet_group,
            subnet_name=name,
            description="Private subnets of ai-studio",
            subnets=subnets,
            tags=[],
        )

    def parameter_group(self, name: str, *, family: str) -> None:
        """A cluster parameter group with its family's defaults."""
        self._rds.create_db_cluster_parameter_group(name, family, "Parameters of ai-studio-db", [])

    def cluster(self, spec: ClusterSpec) -> None:
        """A cluster without instances."""
        made = self._rds.create_db_cluster(
            {
                "db_cluster_identifier": spec.name,
                "engine": _ENGINE,
                "engine_version": spec.version,
                "database_name": spec.database,
                "master_username": spec.user,
                "master_user_password": "kept in Secrets Manager",
                "backup_retention_period": spec.retention_days,
                "preferred_backup_window": "01:30-02:00",
                "preferred_maintenance_window": "sun:02:00-sun:02:30",
                "db_subnet_group_name": spec.subnet_group,
                "vpc_security_group_ids": spec.security_groups,
                "db_cluster_parameter_group_name": spec.parameter_group,
                "port": 5432,
                "storage_encrypted": True,
                "deletion_protection": True,
                "copy_tags_to_snapshot": True,
                "availability_zones": spec.zones,
                "enable_cloudwatch_logs_exports": ["postgresql"],
                "serverless_v2_scaling_configuration": {
                    "MinCapacity": spec.min_acu,
                    "MaxCapacity": spec.max_acu,
                },
                "tags": [{"Key": "project", "Value": "ai-studio"}],
            }
        )
        made._status, made.storage_type, made.allocated_storage = "available", "aurora", 1
        made.created = made.cluster_create_time = core.naive(spec.created)
        made.earliest_restorable_time = core.naive(spec.earliest_restore)
        made.kms_key_id = f"arn:aws:kms:{made.region}:{made.account_id}:key/{_key_id(spec.name)}"

    def instance(self, name: str, *, cluster: str, zone: str, tier: int, created: datetime) -> None:
        """A serverless instance of a cluster; the first one is its writer."""
        made = self._rds.create_db_instance(
            {
                "db_instance_identifier": name,
                "db_instance_class": "db.serverless",
                "engine": _ENGINE,
                "db_cluster_identifier": cluster,
                "availability_zone": zone,
                "promotion_tier": tier,
            }
        )
        made.created = made.instance_create_time = core.naive(created)

    def serve(self, name: str) -> None:
        """A complete cluster: the Studio's own database, if there is one, stands behind it."""
        rds_data.attach(self._rds.clusters[name])

    def snapshot(
        self, name: str, *, cluster: str, kind: str, taken: datetime, size_gib: int
    ) -> None:
        """A snapshot of the cluster; `kind` is `automated` or `manual`."""
        made = self._rds.create_db_cluster_snapshot(cluster, name, kind)
        made.created = core.naive(taken)
        made.sandbox, made.allocated_storage = taken, size_gib

    def snapshot_copy(
        self, name: str, *, of: str, source_region: str, zones: list[str], copied: datetime
    ) -> None:
        """A copy of another region's snapshot; the copy counts as taken by hand, as in AWS."""
        from moto.rds.models import DBClusterSnapshot

        source = core.backend("rds", self._rds.account_id, source_region).cluster_snapshots[of]
        made = DBClusterSnapshot(self._rds, source.cluster, name)
        made.created, made.allocated_storage = core.naive(copied), source.allocated_storage
        made.sandbox = source.sandbox
        made.cluster.availability_zones = zones
        self._rds.cluster_snapshots[name] = made


def _key_id(name: str) -> Any:
    import uuid

    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.pulse-studio.example")
