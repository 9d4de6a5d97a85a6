"""A recovery whose runner is killed outright is taken up again, to the same end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests import aurora
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, cut_off, resume, run, runbook, services, undo

from studio_sandbox.control_plane import names


@pytest.fixture
def studio(moving_studio: MovingStudio) -> Iterator[MovingStudio]:
    yield moving_studio.lent()
    moving_studio.put_back()


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


def test_a_recovery_that_was_cut_off_keeps_the_counts_and_its_undo_starts_all_again(
    studio: MovingStudio,
) -> None:
    readers = (names.BACKEND, names.WORKER)
    wanted = {name: services(studio)[name]["desiredCount"] for name in readers}
    rds = studio.client("rds")
    latest = studio.until(lambda: aurora.cluster(rds).get("LatestRestorableTime"), "a base backup")
    moment = latest.isoformat()

    def desired() -> dict[str, int]:
        return {name: services(studio)[name]["desiredCount"] for name in readers}

    def one_is_stopped() -> bool:
        return 0 in desired().values()

    digest = half_done(studio, "recover-database", one_is_stopped, moment=moment)
    done = resume(studio, "recover-database", digest)

    assert done["verdict"] == "succeeded", done["error"]
    assert desired() == dict.fromkeys(readers, 0)
    assert len(rds.describe_db_clusters()["DBClusters"]) == 2

    taken_back = undo(studio, done["run_id"])

    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert desired() == wanted
    assert len(rds.describe_db_clusters()["DBClusters"]) == 1


def test_counters_that_were_half_cleared_are_all_cleared_in_the_end(
    studio: MovingStudio,
) -> None:
    studio.hush()
    cache, pattern = studio.redis, "usage:*:*:*"

    def counters() -> dict[str, Any]:
        keys: list[Any] = list(cache.scan_iter(pattern, count=1000))
        return dict(zip(keys, cache.mget(keys), strict=True)) if keys else {}

    wanted = counters()
    few = list(wanted)[: len(wanted) // 2]
    digest = half_done(studio, "clear-usage-cache", lambda: cache.exists(*few) < len(few))
    left = len(counters())
    done = resume(studio, "clear-usage-cache", digest)

    assert 0 < left < len(wanted)
    assert done["verdict"] == "succeeded", done["error"]
    assert counters() == {}
