"""run-migrations on a Studio that moves: previewed, snapshot, run for real, failed, taken back."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, cut_off, plan_and_apply, run, runbook, undo

from studio_sandbox.control_plane import names

SEEDED, NEWEST = "8f2c41d7a9be", "d2a85c7741ef"


def version(studio: MovingStudio) -> str:
    ((found,),) = studio.rows("SELECT version_num FROM alembic_version")
    return str(found)


def columns(studio: MovingStudio) -> set[str]:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'users'"
    return {name for (name,) in studio.rows(query)}


def snapshots(studio: MovingStudio) -> dict[str, str]:
    found = studio.client("rds").describe_db_cluster_snapshots(
        DBClusterIdentifier=names.DATABASE_CLUSTER, SnapshotType="manual"
    )["DBClusterSnapshots"]
    return {one["DBClusterSnapshotIdentifier"]: one["Status"] for one in found}


def started(studio: MovingStudio) -> list[dict[str, Any]]:
    """Tasks of their own that have really migrated."""
    ecs = studio.client("ecs")
    arns = [
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in ecs.list_tasks(
            cluster=names.CLUSTER, family=names.BACKEND, desiredStatus=status
        )["taskArns"]
    ]
    tasks = ecs.describe_tasks(cluster=names.CLUSTER, tasks=arns)["tasks"] if arns else []
    return [
        one
        for one in tasks
        for each in one.get("overrides", {}).get("containerOverrides", [])
        if each.get("command", [])[:2] == ["alembic", "upgrade"] and "--sql" not in each["command"]
    ]


def test_the_schema_is_brought_on_after_a_snapshot_and_undo_brings_it_back(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, snapshots(put_back)

    planned = run(studio, "run-migrations")
    assert planned["verdict"] == "planned", planned["error"]
    assert planned["result"]["steps"] == ["b46d9e13f0a7", NEWEST]
    assert (version(studio), snapshots(studio)) == (SEEDED, before)
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "run-migrations", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert version(studio) == NEWEST
    assert "last_seen_at" in columns(studio)
    new = snapshots(studio).items() - before.items()
    assert new == {(f"{names.DATABASE_CLUSTER}-before-{NEWEST}", "available")}
    assert run(studio, "run-migrations")["verdict"] == "no_change"

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert version(studio) == SEEDED
    assert "last_seen_at" not in columns(studio)


def test_a_migration_that_fails_says_why_and_leaves_the_schema_and_a_stale_plan_runs_nothing(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    unknown = run(studio, "run-migrations", target="0123456789ab", snapshot=False)
    assert unknown["verdict"] == "refused"
    assert "0123456789ab" in unknown["error"]["message"]

    studio.rows("ALTER TABLE users ADD COLUMN last_seen_at text")
    failed = plan_and_apply(studio, "run-migrations", snapshot=False)
    assert failed["verdict"] == "failed"
    assert "ended with 1" in failed["error"]["message"]
    assert 'column "last_seen_at" of relation "users" already exists' in failed["error"]["message"]
    assert version(studio) == SEEDED

    studio.rows("ALTER TABLE users DROP COLUMN last_seen_at")
    planned = run(studio, "run-migrations", target="b46d9e13f0a7", snapshot=False)
    approve(studio, planned["plan"]["digest"])
    studio.rows("UPDATE alembic_version SET version_num = '4be7d05f1c82'")
    ran = len(started(studio))
    stale = run(studio, "run-migrations", apply=planned["plan"]["digest"])
    studio.rows(f"UPDATE alembic_version SET version_num = '{SEEDED}'")  # noqa: S608
    assert (stale["verdict"], stale["error"]["class"]) == ("refused", "PlanStale")
    assert len(started(studio)) == ran


def test_cut_off_while_its_task_runs_it_is_known_when_that_has_ended_and_runs_once(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    planned = run(studio, "run-migrations", snapshot=False)
    digest = planned["plan"]["digest"]
    approve(studio, digest)

    cut_off(
        studio,
        "run-migrations",
        apply=digest,
        when=lambda: started(studio),
        what="the task of the migration is started",
    )
    studio.until(lambda: version(studio) == NEWEST, "the task goes on without us")
    studio.until(
        lambda: all(one["lastStatus"] == "STOPPED" for one in started(studio)), "it has ended"
    )
    assert {one["outcome"] for one in runbook(studio, "reconcile")} == {"done"}
    resumed = run(studio, "run-migrations", apply=digest)

    assert resumed["verdict"] in ("succeeded", "no_change"), resumed["error"]
    assert len(started(studio)) == 1
    assert version(studio) == NEWEST
