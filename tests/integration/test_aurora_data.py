"""Aurora's data: snapshots, restores and points in time are real, and what is gone is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from botocore.exceptions import ClientError
from tests.aurora import (
    add_instance,
    available,
    client,
    cluster,
    dsn,
    psql,
    servers,
    until,
    until_cluster,
    until_served,
)

from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

SOURCE = {"DBClusterIdentifier": names.DATABASE_CLUSTER}
ADD = "INSERT INTO payments (user_id, plan_id, amount_jod, provider, external_id)" \
      " SELECT users.id, plans.id, 3, 'hyperpay', %s FROM users, plans LIMIT %s"  # fmt: skip
COUNT = "SELECT count(*) FROM payments WHERE external_id = '{}'"


def snapshot(rds: Any, name: str) -> dict[str, Any]:
    found = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)
    return dict(found["DBClusterSnapshots"][0])


def until_snapshot(rds: Any, name: str) -> dict[str, Any]:
    return dict(until(lambda: available(snapshot(rds, name), "Status"), f"{name} is available"))


def change(url: str, query: str, *values: object) -> datetime:
    """Commit one change; gives the moment just after it, as the database tells the time."""
    with closing(psycopg2.connect(url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, values)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            moment: datetime = cursor.fetchone()[0]
            return moment


def folders(box: Box, pattern: str) -> list[Path]:
    return list(Path(box.folder).glob(f"servers/databases/*/{pattern}"))


@dataclass(frozen=True)
class Restored:
    """What was done to the Studio's database, and the two clusters that were made of it since."""

    box: Box
    rds: Any
    before_damage: datetime
    at_snapshot: str
    at_moment: str


@pytest.fixture(scope="module")
def restored() -> Iterator[Restored]:
    """7 rows, a snapshot, 11 rows; then all are deleted, and 5 more are written."""
    box = sandbox.reset()
    rds = client(box, "rds")
    until(lambda: "LatestRestorableTime" in cluster(rds), "the first backup is there")
    change(box.database_url, ADD, "first", 7)
    rds.create_db_cluster_snapshot(**SOURCE, DBClusterSnapshotIdentifier="seven")
    until_snapshot(rds, "seven")
    before = change(box.database_url, ADD, "second", 11)
    change(box.database_url, "DELETE FROM payments")
    after = change(box.database_url, ADD, "third", 5)
    until(lambda: cluster(rds)["LatestRestorableTime"] >= after, "the damage is archived")
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="at-snapshot", SnapshotIdentifier="seven", Engine="aurora-postgresql"
    )
    rds.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="at-moment",
        SourceDBClusterIdentifier=names.DATABASE_CLUSTER,
        RestoreToTime=before,
    )
    urls = []
    for name in ("at-snapshot", "at-moment"):
        found = until_cluster(rds, name)
        with pytest.raises(psycopg2.OperationalError, match="refused"):
            psycopg2.connect(dsn(box, found))  # no instance, no answer
        add_instance(rds, name)
    for name in ("at-snapshot", "at-moment"):
        until_served(rds, name)
        urls.append(dsn(box, cluster(rds, name)))
    yield Restored(box, rds, before, *urls)
    sandbox.reset()


def test_a_snapshot_holds_what_was_there_and_not_what_came_after(restored: Restored) -> None:
    assert psql(restored.at_snapshot, COUNT.format("first")) == "7"
    assert psql(restored.at_snapshot, COUNT.format("second")) == "0"


def test_a_point_in_time_has_the_last_transaction_before_it_and_not_the_next(
    restored: Restored,
) -> None:
    counts = [psql(restored.at_moment, COUNT.format(which)) for which in ("first", "second")]
    assert counts == ["7", "11"]
    assert psql(restored.at_moment, COUNT.format("third")) == "0"
    anchor = f"{restored.box.anchor:%F %T}"
    seeded = f"SELECT count(*) FROM payments WHERE created_at <= '{anchor}'"  # noqa: S608
    assert psql(restored.at_moment, seeded) == psql(restored.at_snapshot, seeded)
    assert int(psql(restored.at_moment, seeded)) > 1000
    assert psql(restored.box.database_url, seeded) == "0"


def test_a_restored_cluster_takes_writes_that_its_source_never_sees(restored: Restored) -> None:
    change(restored.at_moment, ADD, "elsewhere", 2)
    assert psql(restored.at_moment, COUNT.format("elsewhere")) == "2"
    assert psql(restored.box.database_url, COUNT.format("elsewhere")) == "0"


def test_instances_are_where_their_cluster_is(restored: Restored) -> None:
    found = until_served(restored.rds, "at-moment")["Endpoint"]
    described = cluster(restored.rds, "at-moment")
    assert (found["Address"], found["Port"]) == (described["Endpoint"], described["Port"])
    source = cluster(restored.rds)
    assert source["Port"] == urlsplit(restored.box.database_url).port
    assert psql(dsn(restored.box, source), COUNT.format("third")) == "5"


def test_what_can_be_restored_is_told_truly_and_nothing_else_is(restored: Restored) -> None:
    source = cluster(restored.rds)
    earliest, latest = source["EarliestRestorableTime"], source["LatestRestorableTime"]
    assert restored.box.anchor <= earliest < restored.before_damage < latest <= datetime.now(UTC)
    for wanted, side in ((earliest - timedelta(milliseconds=1), "earlier"),
                         (datetime.now(UTC) + timedelta(minutes=1), "later")):  # fmt: skip
        with pytest.raises(ClientError, match=side) as refused:
            restored.rds.restore_db_cluster_to_point_in_time(
                DBClusterIdentifier="never",
                SourceDBClusterIdentifier=names.DATABASE_CLUSTER,
                RestoreToTime=wanted,
            )
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"
    for wrong in ({}, {"RestoreToTime": latest, "UseLatestRestorableTime": True}):
        with pytest.raises(ClientError, match="InvalidParameterCombination"):
            restored.rds.restore_db_cluster_to_point_in_time(
                DBClusterIdentifier="never",
                SourceDBClusterIdentifier=names.DATABASE_CLUSTER,
                **wrong,
            )
    with pytest.raises(ClientError, match="DBClusterNotFound"):
        cluster(restored.rds, "never")


def test_the_latest_restorable_time_follows_within_seconds(restored: Restored) -> None:
    now = datetime.now(UTC)
    until(lambda: cluster(restored.rds)["LatestRestorableTime"] > now, "it has moved on")


def test_a_restored_cluster_has_a_history_of_its_own(restored: Restored) -> None:
    until(
        lambda: "LatestRestorableTime" in cluster(restored.rds, "at-snapshot"),
        "its first backup is there",
    )
    change(restored.at_snapshot, ADD, "later", 3)
    written = datetime.now(UTC)
    until(
        lambda: cluster(restored.rds, "at-snapshot")["LatestRestorableTime"] > written,
        "the rows are archived",
    )
    restored.rds.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="grandchild",
        SourceDBClusterIdentifier="at-snapshot",
        UseLatestRestorableTime=True,
    )
    until_cluster(restored.rds, "grandchild")
    add_instance(restored.rds, "grandchild")
    until_served(restored.rds, "grandchild")
    url = dsn(restored.box, cluster(restored.rds, "grandchild"))
    assert [psql(url, COUNT.format(which)) for which in ("first", "later")] == ["7", "3"]


def test_a_seeded_snapshot_lacks_what_is_younger_than_it(restored: Restored) -> None:
    found = restored.rds.describe_db_cluster_snapshots(SnapshotType="automated")
    oldest = min(found["DBClusterSnapshots"], key=lambda one: one["SnapshotCreateTime"])
    restored.rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="week-old",
        SnapshotIdentifier=oldest["DBClusterSnapshotIdentifier"],
        Engine="aurora-postgresql",
    )
    until_cluster(restored.rds, "week-old")
    add_instance(restored.rds, "week-old")
    until_served(restored.rds, "week-old")
    url, moment = dsn(restored.box, cluster(restored.rds, "week-old")), oldest["SnapshotCreateTime"]
    for table in ("users", "payments", "jobs", "usage_logs", "files", "subscriptions"):
        assert psql(url, f"SELECT max(created_at) <= '{moment:%F %T}' FROM {table}") == "t"  # noqa: S608
    assert int(psql(url, "SELECT count(*) FROM users")) > 1000


def test_what_is_deleted_is_freed(restored: Restored) -> None:
    rds, before = restored.rds, len(servers(restored.box))
    rds.create_db_cluster_snapshot(
        DBClusterIdentifier="at-snapshot", DBClusterSnapshotIdentifier="to-go"
    )
    until_snapshot(rds, "to-go")
    copies = len(folders(restored.box, "snapshot-*"))
    rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="to-go")
    until(lambda: len(folders(restored.box, "snapshot-*")) == copies - 1, "the copy is gone")
    with pytest.raises(ClientError, match="InvalidDBClusterStateFault"):
        rds.delete_db_cluster(DBClusterIdentifier="at-snapshot", SkipFinalSnapshot=True)
    rds.delete_db_instance(DBInstanceIdentifier="at-snapshot-1", SkipFinalSnapshot=True)
    until(lambda: len(servers(restored.box)) == before - 1, "its server has ended")
    rds.delete_db_cluster(DBClusterIdentifier="at-snapshot", FinalDBSnapshotIdentifier="last-words")
    until_snapshot(rds, "last-words")
    until(lambda: not folders(restored.box, "at-snapshot-*/data"), "its data is gone")
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="again", SnapshotIdentifier="last-words", Engine="aurora-postgresql"
    )
    until_cluster(rds, "again")
    add_instance(rds, "again")
    until_served(rds, "again")
    assert psql(dsn(restored.box, cluster(rds, "again")), COUNT.format("first")) == "7"


def test_a_failover_swaps_roles_and_cuts_sessions(restored: Restored) -> None:
    rds = restored.rds
    before = {one["DBInstanceIdentifier"]: one["IsClusterWriter"]
              for one in cluster(rds)["DBClusterMembers"]}  # fmt: skip
    with closing(psycopg2.connect(restored.box.database_url)) as session:
        rds.failover_db_cluster(**SOURCE)
        until_cluster(rds, names.DATABASE_CLUSTER)
        with pytest.raises(psycopg2.OperationalError):
            session.cursor().execute("SELECT 1")
    after = {one["DBInstanceIdentifier"]: one["IsClusterWriter"]
             for one in cluster(rds)["DBClusterMembers"]}  # fmt: skip
    assert after == {name: not writes for name, writes in before.items()}
    assert psql(restored.box.database_url, "SELECT 1") == "1"


def test_a_change_of_capacity_is_on_its_way_for_a_moment(restored: Restored) -> None:
    wanted = {"MinCapacity": 1.0, "MaxCapacity": 16.0}
    answered = restored.rds.modify_db_cluster(
        **SOURCE, ServerlessV2ScalingConfiguration=wanted, ApplyImmediately=True
    )
    assert answered["DBCluster"]["Status"] == "modifying"
    with pytest.raises(ClientError, match="InvalidDBClusterStateFault"):
        restored.rds.failover_db_cluster(**SOURCE)
    found = until_cluster(restored.rds, names.DATABASE_CLUSTER)
    assert wanted.items() <= found["ServerlessV2ScalingConfiguration"].items()


def test_the_studio_s_own_cluster_is_lost_and_made_again_from_a_snapshot_by_hand(
    restored: Restored,
) -> None:
    rds = restored.rds
    rds.modify_db_cluster(**SOURCE, DeletionProtection=False, ApplyImmediately=True)
    until_cluster(rds, names.DATABASE_CLUSTER)
    for member in cluster(rds)["DBClusterMembers"]:
        rds.delete_db_instance(DBInstanceIdentifier=member["DBInstanceIdentifier"])
    rds.delete_db_cluster(**SOURCE, SkipFinalSnapshot=True)
    until(lambda: refuses(restored.box.database_url), "nobody gets in")
    left = rds.describe_db_cluster_snapshots(**SOURCE)["DBClusterSnapshots"]
    assert {one["SnapshotType"] for one in left} == {"manual"}
    latest = max(left, key=lambda one: one["SnapshotCreateTime"])
    rds.restore_db_cluster_from_snapshot(
        **SOURCE,
        SnapshotIdentifier=latest["DBClusterSnapshotIdentifier"],
        Engine="aurora-postgresql",
    )
    until_cluster(rds, names.DATABASE_CLUSTER)
    add_instance(rds, names.DATABASE_CLUSTER)
    until_served(rds, names.DATABASE_CLUSTER)
    assert int(psql(dsn(restored.box, cluster(rds)), "SELECT count(*) FROM payments")) > 0


def refuses(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError as error:
        return "not currently accepting connections" in str(error)
    return False


def test_a_reset_ends_restored_clusters_and_starts_history_anew(restored: Restored) -> None:
    ended = servers(restored.box)
    assert ended
    box = sandbox.reset()
    assert not [process for process in ended if process.is_running()]
    (described,) = restored.rds.describe_db_clusters()["DBClusters"]
    assert described["DBClusterIdentifier"] == names.DATABASE_CLUSTER
    until(lambda: "EarliestRestorableTime" in cluster(restored.rds), "the first backup is there")
    assert cluster(restored.rds)["EarliestRestorableTime"] > box.anchor
    assert psql(box.database_url, "SELECT count(*) > 1000 FROM payments") == "t"
