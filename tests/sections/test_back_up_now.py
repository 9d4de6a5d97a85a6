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


def test_a_name_that_aws_would_not_take_is_refused_before_anything(studio: MovingStudio) -> None:
    before = snapshots(studio)

    refused = run(studio, "snapshot-database", name="two--hyphens")

    assert refused["verdict"] == "refused"
    assert "single hyphens" in refused["error"]["message"]
    assert snapshots(studio) == before
