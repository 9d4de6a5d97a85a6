"""objects-deleted: a clean-up has deleted too much, some of it for good."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.drills import buckets
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    keys = sorted(buckets.content(studio, names.ASSETS_BUCKET))
    chosen = dice.sample(keys, k=dice.randint(25, 90))
    for_good = dice.randint(3, 8)
    return {
        "bucket": names.ASSETS_BUCKET,
        "hidden": sorted(chosen[for_good:]),  # behind a delete marker
        "destroyed": sorted(chosen[:for_good]),  # with all their versions
    }


def _start(studio: Studio, details: Details) -> None:
    bucket = details["bucket"]
    details["wanted"] = buckets.content(studio, bucket)
    destroyed = [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for one in buckets.versions(studio, bucket, details["destroyed"])
    ]
    buckets.delete(studio, bucket, [{"Key": key} for key in details["hidden"]])
    buckets.delete(studio, bucket, destroyed)


def _judge(studio: Studio, details: Details) -> list[str]:
    """Every object is there again, with the content that it had."""
    return buckets.damaged(studio, details["bucket"], details["wanted"])


def _clean_up(studio: Studio, details: Details) -> None:
    if "wanted" not in details:
        return
    bucket = details["bucket"]
    markers = [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for one in buckets.versions(studio, bucket, details["hidden"])
        if one["IsLatest"] and "ETag" not in one
    ]
    buckets.delete(studio, bucket, markers)
    found, wanted = buckets.content(studio, bucket), details["wanted"]
    buckets.copy_back(studio, bucket, [key for key in wanted if found.get(key) != wanted[key]])


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "recover-bucket")


OBJECTS_DELETED = Drill(
    name="objects-deleted",
    symptom="Customers miss pictures and videos in their library; the entries are there.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
)
