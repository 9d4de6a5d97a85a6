"""The drill of a lost region: what waits in the other one is started there, by plain clients."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from botocore.exceptions import HTTPClientError
from tests import aurora
from tests.drills.conftest import Begin
from tests.moving_studio import MovingStudio

from studio_sandbox import box as sandbox
from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS

BACKUP = sandbox.BACKUP_REGION


class Elsewhere:
    """The backup region, and what is done there."""

    def __init__(self, studio: MovingStudio) -> None:
        self.box = studio.box
        self.ecs, self.elb = self.client("ecs"), self.client("elbv2")
        self.rds, self.secrets = self.client("rds"), self.client("secretsmanager")

    def client(self, service: str) -> Any:
        return aurora.client(self.box, service, BACKUP)

    def promote_database(self) -> None:
        """From the newest copy of a snapshot; the secret becomes one of this region's own."""
        found = self.rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
        newest = max(found, key=lambda one: one["SnapshotCreateTime"])
        self.rds.restore_db_cluster_from_snapshot(
            DBClusterIdentifier="promoted",
            SnapshotIdentifier=newest["DBClusterSnapshotIdentifier"],
            Engine="aurora-postgresql",
        )
        aurora.until_cluster(self.rds, "promoted")
        aurora.add_instance(self.rds, "promoted")
        aurora.until_served(self.rds, "promoted")
        self.secrets.stop_replication_to_replica(SecretId=names.DATABASE_URL)
        dsn = aurora.dsn(self.box, aurora.cluster(self.rds, "promoted"))
        self.secrets.put_secret_value(SecretId=names.DATABASE_URL, SecretString=dsn)

    def serve(self, name: str) -> None:
        """As many tasks as in the primary region."""
        self.ecs.update_service(
            cluster=names.CLUSTER, service=name, desiredCount=SERVICE_FACTS[name].desired
        )

    def lead(self) -> None:
        """All names to the load balancer here."""
        dns = self.client("route53")
        (zone,) = dns.list_hosted_zones()["HostedZones"]
        (balancer,) = self.elb.describe_load_balancers()["LoadBalancers"]
        target = {
            "HostedZoneId": balancer["CanonicalHostedZoneId"],
            "DNSName": balancer["DNSName"],
            "EvaluateTargetHealth": True,
        }
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {"Name": f"{host}.", "Type": "A", "AliasTarget": target},
            }
            for host in (names.API_HOST, names.GATEWAY_HOST, names.APP_HOST)
        ]
        dns.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})


def test_region_lost_is_mended_when_the_backup_region_serves_all_of_it(
    begin: Begin, studio: MovingStudio
) -> None:
    elsewhere = Elsewhere(studio)
    with begin("region-lost") as one:
        with pytest.raises(HTTPClientError):
            studio.ecs.list_clusters()
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(studio.box.database_url)
        assert studio.ask("/v1/health", host=names.API_HOST).status == 503

        elsewhere.promote_database()
        for name in names.SERVICES:
            elsewhere.serve(name)
        assert any("does not lead" in finding for finding in one.findings())
        elsewhere.lead()
        assert one.until_mended().unneeded == ()
        assert studio.ask("/v1/health", host=names.API_HOST).status == 200
        page = studio.ask("/v1/users/me", host=names.API_HOST, X_User_Id="somebody")
        assert page.status == 200
    there = elsewhere.ecs.describe_services(cluster=names.CLUSTER, services=list(names.SERVICES))[
        "services"
    ]
    assert [one["runningCount"] for one in there] == [0, 0, 0, 0]  # nothing goes on running there
    studio.reset()  # the database that was made there stays otherwise
