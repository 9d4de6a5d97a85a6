"""back-up-now and snapshot-database: copies that are there afterwards, whole, and can be undone."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import run, undo

from studio_sandbox.control_plane import names

NEW = {f"users/somebody/{n}.png": f"picture {n}".encode() for n in range(3)}
CHANGED = "users/somebody/0.png"


def snapshots(studio: MovingStudio) -> dict[str, dict[str, Any]]:
    """Snapshots taken by hand, as another client reads them."""
    found = studio.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
    return {one["DBClusterSnapshotIdentifier"]: one for one in found["DBClusterSnapshots"]}


def content(studio: MovingStudio, bucket: str) -> dict[str, str]:
    pages = studio.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}


def test_database_and_new_files_are_copied_counted_and_taken_back(put_back: MovingStudio) -> None:
    studio, s3 = put_back, put_back.client("s3")
    for key, body in NEW.items():
        s3.put_object(Bucket=names.ASSETS_BUCKET, Key=key, Body=body)
    s3.put_object(Bucket=names.BACKUP_BUCKET, Key=CHANGED, Body=b"an older picture")
    copied, taken = content(studio, names.BACKUP_BUCKET), snapshots(studio)

    planned = run(studio, "back-up-now", name="before-the-migration")
    assert planned["verdict"] == "planned", planned["error"]
    assert [one["kind"] for one in planned["plan"]["changes"]] == ["aurora-snapshot", "s3-objects"]
    assert (content(studio, names.BACKUP_BUCKET), snapshots(studio)) == (copied, taken)

    applied = run(studio, "back-up-now", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    made = snapshots(studio)["before-the-migration"]
    assert (made["Status"], made["DBClusterIdentifier"]) == ("available", names.DATABASE_CLUSTER)
    assert content(studio, names.BACKUP_BUCKET) == content(studio, names.ASSETS_BUCKET)
    assert applied["result"]["not_in_the_copy"] == 0

    again = run(studio, "snapshot-database", name="before-the-migration")
    assert again["verdict"] == "no_change"

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert content(studio, names.BACKUP_BUCKET) == copied
    assert snapshots(studio).keys() == taken.keys()


def test_a_copy_that_has_changed_since_it_was_planned_is_left_alone_and_nothing_is_taken(
    put_back: MovingStudio,
) -> None:
    studio, s3 = put_back, put_back.client("s3")
    for key, body in NEW.items():
        s3.put_object(Bucket=names.ASSETS_BUCKET, Key=key, Body=body)
    digest = run(studio, "back-up-now", name="stale")["plan"]["digest"]
    for key in NEW:
        s3.put_object(Bucket=names.BACKUP_BUCKET, Key=key, Body=b"somebody else's")
    copied, taken = content(studio, names.BACKUP_BUCKET), snapshots(studio)

    refused = run(studio, "back-up-now", apply=digest)

    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "PlanStale")
    assert content(studio, names.BACKUP_BUCKET) == copied
    assert snapshots(studio).keys() == taken.keys()


def test_a_name_that_another_clusters_snapshot_has_taken_since_is_refused(
    put_back: MovingStudio,
) -> None:
    studio, rds = put_back, put_back.client("rds")
    digest = run(studio, "snapshot-database", name="taken")["plan"]["digest"]
    rds.create_db_cluster(
        DBClusterIdentifier="another", Engine="aurora-postgresql", MasterUsername="somebody",
        MasterUserPassword="a-long-password",
    )  # fmt: skip
    rds.create_db_cluster_snapshot(
        DBClusterSnapshotIdentifier="taken", DBClusterIdentifier="another"
    )

    refused = run(studio, "snapshot-database", apply=digest)

    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "PlanStale")
    assert snapshots(studio)["taken"]["DBClusterIdentifier"] == "another"


def test_a_name_that_aws_would_not_take_is_refused_before_anything(studio: MovingStudio) -> None:
    before = snapshots(studio)

    refused = run(studio, "snapshot-database", name="two--hyphens")

    assert refused["verdict"] == "refused"
    assert "single hyphens" in refused["error"]["message"]
    assert snapshots(studio) == before
