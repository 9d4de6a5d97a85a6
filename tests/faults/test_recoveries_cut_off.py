"""A recovery whose runner is killed outright is taken up again, to the same end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, cut_off, resume, run, runbook

from studio_sandbox.control_plane import names


@pytest.fixture
def studio(moving_studio: MovingStudio) -> Iterator[MovingStudio]:
    yield moving_studio
    moving_studio.reset()


def half_done(studio: MovingStudio, slug: str, when: Callable[[], Any], **parameters: Any) -> str:
    """Apply a section's plan and kill everything of it once something is so; gives the digest."""
    digest = str(run(studio, slug, **parameters)["plan"]["digest"])
    approve(studio, digest)
    cut_off(studio, slug, apply=digest, when=when, what="it is at work")
    return digest


def content(studio: MovingStudio) -> dict[str, str]:
    pages = studio.client("s3").get_paginator("list_objects_v2").paginate(
        Bucket=names.ASSETS_BUCKET
    )  # fmt: skip
    try:
        return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}
    except ClientError:
        return {}


def test_a_bucket_that_was_half_copied_back_has_every_object_in_the_end(
    studio: MovingStudio,
) -> None:
    wanted = content(studio)
    runbook(studio, "drill", "start", "bucket-deleted", "--seed", "1")

    digest = half_done(studio, "recover-bucket", lambda: len(content(studio)) > 5)
    assert len(content(studio)) < len(wanted)
    done = resume(studio, "recover-bucket", digest)

    assert done["verdict"] == "succeeded", done["error"]
    assert content(studio) == wanted


def test_a_restore_that_was_cut_off_has_one_cluster_that_serves_in_the_end(
    studio: MovingStudio,
) -> None:
    rds = studio.client("rds")
    taken = rds.describe_db_cluster_snapshots(SnapshotType="automated")["DBClusterSnapshots"]
    snapshot = taken[-1]["DBClusterSnapshotIdentifier"]

    def clusters() -> list[dict[str, Any]]:
        return [
            one
            for one in rds.describe_db_clusters()["DBClusters"]
            if one["DBClusterIdentifier"] != names.DATABASE_CLUSTER
        ]

    digest = half_done(studio, "restore-database", clusters, snapshot=snapshot)
    done = resume(studio, "restore-database", digest)

    assert done["verdict"] == "succeeded", done["error"]
    (made,) = clusters()
    assert made["Status"] == "available"
    assert len(made["DBClusterMembers"]) == 1
    assert done["result"]["stage"] == "switch"
