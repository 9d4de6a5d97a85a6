"""A global cluster's secondary has what the primary has archived, and takes over with it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from botocore.exceptions import ClientError
from tests.aurora import (
    add_instance,
    client,
    cluster,
    dsn,
    psql,
    until,
    until_cluster,
    until_served,
)
from tests.integration.test_aurora_data import ADD, COUNT, change

from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

GLOBAL, SECONDARY = "ai-studio-global", "ai-studio-db-eu-west-1"
NAME = {"GlobalClusterIdentifier": GLOBAL}


class World:
    """A global cluster of the Studio's own and an instance in the backup region."""

    def __init__(self) -> None:
        self.box: Box = sandbox.reset()
        self.home, self.away = client(self.box, "rds"), client(self.box, "rds", "eu-west-1")
        until(lambda: "LatestRestorableTime" in cluster(self.home), "the first backup is there")
        self.primary = cluster(self.home)["DBClusterArn"]
        self.home.create_global_cluster(**NAME, SourceDBClusterIdentifier=self.primary)
        made = self.away.create_db_cluster(
            DBClusterIdentifier=SECONDARY, Engine="aurora-postgresql", **NAME
        )
        self.secondary = made["DBCluster"]["DBClusterArn"]
        add_instance(self.away, SECONDARY)
        until_served(self.away, SECONDARY)

    def described(self) -> dict[str, Any]:
        (found,) = self.away.describe_global_clusters(**NAME)["GlobalClusters"]
        return dict(found)

    def until_writer(self, arn: str) -> None:
        def holds() -> bool:
            found = self.described()
            writers = [
                one["DBClusterArn"] for one in found["GlobalClusterMembers"] if one["IsWriter"]
            ]
            return found["Status"] == "available" and writers == [arn]

        until(holds, "the target is the writer")

    def url(self, rds: Any, name: str) -> str:
        return dsn(self.box, cluster(rds, name))


@pytest.fixture(scope="module")
def world() -> Any:
    yield World()
    sandbox.reset()


def test_secondary_has_no_server_and_says_how_far_behind_it_is(world: World) -> None:
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(world.url(world.away, SECONDARY))
    (member,) = cluster(world.away, SECONDARY)["DBClusterMembers"]
    assert member["IsClusterWriter"] is False
    assert lag_ms(world) < 60_000
    with pytest.raises(ClientError, match="NotInTheSandbox"):
        world.away.create_db_cluster_snapshot(
            DBClusterIdentifier=SECONDARY, DBClusterSnapshotIdentifier="none"
        )
    with pytest.raises(ClientError, match=r"NotInTheSandbox.*EnableGlobalWriteForwarding"):
        world.away.modify_db_cluster(
            DBClusterIdentifier=SECONDARY, EnableGlobalWriteForwarding=True
        )


def lag_ms(world: World) -> float:
    def found() -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        asked = client(world.box, "cloudwatch", "eu-west-1").get_metric_statistics(
            Namespace="AWS/RDS",
            MetricName="AuroraGlobalDBReplicationLag",
            Dimensions=[
                {"Name": "DBClusterIdentifier", "Value": SECONDARY},
                {"Name": "SourceRegion", "Value": world.box.region},
            ],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(seconds=1),
            Period=60,
            Statistics=["Maximum"],
        )
        return list(asked["Datapoints"])

    return float(max(point["Maximum"] for point in until(found, "the lag is measured")))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"GlobalClusterIdentifier": "none"}, "GlobalClusterNotFoundFault"),
        ({"TargetDbClusterIdentifier": "arn:aws:rds:eu-west-1:1:cluster:x"}, "DBClusterNotFound"),
        ({"AllowDataLoss": True, "Switchover": True}, "InvalidParameterCombination"),
    ],
)
def test_failover_that_cannot_be_is_refused(
    world: World, asked: dict[str, Any], error: str
) -> None:
    wanted = NAME | {"TargetDbClusterIdentifier": world.secondary}
    with pytest.raises(ClientError, match=error):
        world.home.failover_global_cluster(**wanted | asked)
    with pytest.raises(ClientError, match="InvalidDBClusterStateFault"):
        world.home.switchover_global_cluster(**NAME, TargetDbClusterIdentifier=world.primary)


def test_switchover_loses_nothing_and_failover_what_was_not_archived(world: World) -> None:
    change(world.box.database_url, ADD, "first", 7)
    asked = NAME | {"TargetDbClusterIdentifier": world.secondary}
    answered = world.home.switchover_global_cluster(**asked)["GlobalCluster"]
    assert answered["Status"] == "switching-over"
    assert answered["FailoverState"]["ToDbClusterArn"] == world.secondary
    world.until_writer(world.secondary)
    away = world.url(world.away, SECONDARY)
    assert psql(away, COUNT.format("first")) == "7"
    with pytest.raises(psycopg2.OperationalError, match="not currently accepting connections"):
        psycopg2.connect(world.box.database_url)
    with closing(psycopg2.connect(away)) as connection, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_until_cut, connection)
        until(lambda: int(psql(away, COUNT.format("on and on"))) > 20, "it is written into")
        back = NAME | {"TargetDbClusterIdentifier": world.primary}
        world.away.failover_global_cluster(**back, AllowDataLoss=True)
        committed = writing.result()
    world.until_writer(world.primary)
    home = world.url(world.home, names.DATABASE_CLUSTER)
    assert psql(home, COUNT.format("first")) == "7"
    assert int(psql(home, COUNT.format("on and on"))) < committed
    kept = until(lambda: kept_snapshot(world), "what the old one had is kept")
    assert kept["DBClusterIdentifier"] == SECONDARY


def test_secondary_that_is_removed_is_a_cluster_of_its_own(world: World) -> None:
    writer = next(one["DBClusterArn"] for one in members(world) if one["IsWriter"])
    rds, (gone, name) = world.away, (world.secondary, SECONDARY)
    if writer == gone:
        rds, (gone, name) = world.home, (world.primary, names.DATABASE_CLUSTER)
    with pytest.raises(ClientError, match="InvalidGlobalClusterStateFault"):
        rds.remove_from_global_cluster(**NAME, DbClusterIdentifier=writer)
    rds.remove_from_global_cluster(**NAME, DbClusterIdentifier=gone)
    assert [one["DBClusterArn"] for one in members(world)] == [writer]
    until_cluster(rds, name)
    change(world.url(rds, name), ADD, "alone", 3)
    assert psql(world.url(rds, name), COUNT.format("alone")) == "3"


def members(world: World) -> list[dict[str, Any]]:
    return list(world.described()["GlobalClusterMembers"])


def write_until_cut(connection: Any) -> int:
    """Commit one row after the other until the session ends; how many that were."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for count in itertools.count():
            try:
                cursor.execute(ADD, ("on and on", 1))
            except psycopg2.OperationalError:
                return count
    raise AssertionError("there is no end to counting")


def kept_snapshot(world: World) -> dict[str, Any] | None:
    found = world.away.describe_db_cluster_snapshots()["DBClusterSnapshots"]
    return next(
        (
            one
            for one in found
            if "unplanned-global-failover" in one["DBClusterSnapshotIdentifier"]
            and one["Status"] == "available"
        ),
        None,
    )
