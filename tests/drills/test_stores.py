"""Drills that break the database and the cache: seen by psql and redis, mended in AWS and SQL."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
import redis
from tests import aurora
from tests.drills.conftest import Begin, secret
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names

_BLOCKERS = """
    SELECT DISTINCT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
    WHERE pg_blocking_pids(pid) <> '{}'
"""


def page(studio: MovingStudio) -> tuple[int, float]:
    """Status and seconds of a page that reads the database."""
    began = time.monotonic()
    answer = studio.ask("/v1/users/me", host=names.API_HOST, X_User_Id="somebody")
    return answer.status, time.monotonic() - began


def blockers(studio: MovingStudio) -> set[int]:
    return {pid for (pid,) in studio.rows(_BLOCKERS)}


def test_slow_query_is_felt_by_pages_and_mended_by_ending_that_session_alone(
    begin: Begin,
) -> None:
    with begin("slow-query", seed=3) as one:
        studio = one.studio
        assert one.details["stubborn"]
        pid = one.details["blocker"][0]
        assert pid in blockers(studio)
        studio.until(lambda: page(studio)[0] == 500, "pages give up waiting")
        studio.rows("SELECT pg_cancel_backend(%s)", pid)
        studio.until(one.findings, "it begins again")
        studio.rows("SELECT pg_terminate_backend(%s, 5000)", pid)
        assert one.until_mended().unneeded == ()
        studio.until(lambda: page(studio)[0] == 200, "pages are well again")


def test_slow_query_is_not_mended_when_those_were_ended_who_only_waited(begin: Begin) -> None:
    with begin("slow-query", seed=2) as one:
        for pid, _ in [one.details["blocker"], one.details["waiters"][0]]:
            one.studio.rows("SELECT pg_terminate_backend(%s, 5000)", pid)
        assert one.findings() == ["1 sessions were ended that only waited"]


def test_slow_query_may_hold_what_the_judge_reads_and_is_judged_all_the_same(begin: Begin) -> None:
    with begin("slow-query", seed=0) as one:
        assert one.details["table"] == "users"  # who is banned is read from there
        (finding,) = one.findings()
        assert "has held users for" in finding
        one.studio.rows("SELECT pg_terminate_backend(%s, 5000)", one.details["blocker"][0])
        assert one.until_mended().unneeded == ()


def test_redis_down_is_mended_by_a_replica_that_takes_over(begin: Begin) -> None:
    with begin("redis-down") as one:
        studio, cache = one.studio, one.studio.client("elasticache")
        with pytest.raises(redis.ConnectionError):
            studio.redis.ping()
        studio.until(
            lambda: studio.ask("/v1/health", host=names.GATEWAY_HOST).status == 503,
            "the gateway says so",
        )
        lost = one.details["primary"]
        other = next(node for node in (f"{lost[:-1]}1", f"{lost[:-1]}2") if node != lost)
        group = {"ReplicationGroupId": names.REDIS_GROUP, "ApplyImmediately": True}
        cache.modify_replication_group(**group, PrimaryClusterId=other)
        assert one.until_mended().unneeded == ()
        assert studio.redis.ping()


def test_redis_down_is_mended_by_automatic_failover_too(begin: Begin) -> None:
    with begin("redis-down", seed=2) as one:
        one.studio.client("elasticache").modify_replication_group(
            ReplicationGroupId=names.REDIS_GROUP,
            AutomaticFailoverEnabled=True,
            ApplyImmediately=True,
        )
        assert one.until_mended().unneeded == ()


def test_data_corrupted_is_mended_by_the_moment_before_and_not_by_yesterday(begin: Begin) -> None:
    with begin("data-corrupted") as one:
        studio, rds = one.studio, one.studio.client("rds")
        original = secret(studio, names.DATABASE_URL)
        assert "backfill" in str(studio.lines(names.WORKER, '"backfill"'))
        moment = datetime.fromisoformat(one.details["moment"])
        studio.until(
            lambda: aurora.cluster(rds)["LatestRestorableTime"] > moment, "it can be restored"
        )
        rds.restore_db_cluster_to_point_in_time(
            DBClusterIdentifier="before",
            SourceDBClusterIdentifier=names.DATABASE_CLUSTER,
            RestoreToTime=moment,
        )
        rds.restore_db_cluster_from_snapshot(
            DBClusterIdentifier="yesterday",
            SnapshotIdentifier=newest_snapshot(rds),
            Engine="aurora-postgresql",
        )
        for name, mends in (("yesterday", False), ("before", True)):
            aurora.until_cluster(rds, name)
            aurora.add_instance(rds, name)
            aurora.until_served(rds, name)
            switch(studio, aurora.dsn(studio.box, aurora.cluster(rds, name)))
            differ = [found for found in one.findings() if "committed before" in found]
            assert bool(differ) is not mends
        for service in (names.BACKEND, names.WORKER):
            studio.update(service, forceNewDeployment=True)
        assert one.until_mended().unneeded == ()

        switch(studio, original)
        for service in (names.BACKEND, names.WORKER):
            studio.update(service, forceNewDeployment=True)
        for name in ("yesterday", "before"):
            rds.delete_db_instance(DBInstanceIdentifier=f"{name}-1", SkipFinalSnapshot=True)
            rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)


def newest_snapshot(rds: Any) -> str:
    found = rds.describe_db_cluster_snapshots(
        DBClusterIdentifier=names.DATABASE_CLUSTER, SnapshotType="automated"
    )["DBClusterSnapshots"]
    newest = max(found, key=lambda one: one["SnapshotCreateTime"])
    return str(newest["DBClusterSnapshotIdentifier"])


def switch(studio: MovingStudio, dsn: str) -> None:
    studio.client("secretsmanager").put_secret_value(SecretId=names.DATABASE_URL, SecretString=dsn)
