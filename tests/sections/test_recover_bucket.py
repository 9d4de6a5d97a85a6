"""recover-bucket and protect-buckets: what was lost is there again, whole, and undone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, runbook, undo

from studio_sandbox.control_plane import names

BUCKET = names.ASSETS_BUCKET


def content(studio: MovingStudio) -> dict[str, str]:
    """What the bucket shows, as another client reads it."""
    pages = studio.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}


def settings(studio: MovingStudio) -> dict[str, Any]:
    """How each bucket is set up, as another client reads it."""
    s3, found = studio.client("s3"), {}
    for bucket in names.BUCKETS:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        try:
            policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        except ClientError:
            policy = []
        found[bucket] = [s3.get_bucket_versioning(Bucket=bucket).get("Status"), rules, policy]
    return found


def test_deleted_objects_come_back_but_for_what_its_owner_deleted_and_undo_hides_them(
    put_back: MovingStudio,
) -> None:
    studio, s3 = put_back, put_back.client("s3")
    whole = content(studio)
    pictures = sorted(key for key in whole if key.endswith(".png"))  # no job refers to those
    hidden, destroyed, by_its_owner = pictures[:20], pictures[20:25], pictures[25]
    studio.rows("DELETE FROM files WHERE s3_key = %s", by_its_owner)
    for key in (*hidden, *destroyed, by_its_owner, hidden[0]):  # one of them twice
        s3.delete_object(Bucket=BUCKET, Key=key)
    for version in s3.list_object_versions(Bucket=BUCKET)["Versions"]:
        if version["Key"] in destroyed:
            s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    broken, wanted = content(studio), {k: v for k, v in whole.items() if k != by_its_owner}

    planned = run(studio, "recover-bucket")
    assert planned["verdict"] == "planned", planned["error"]
    found = planned["result"]
    assert (found["hidden"], found["destroyed"], found["left_alone"]) == (20, 5, 1)
    assert content(studio) == broken

    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "recover-bucket", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert content(studio) == wanted

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert content(studio) == broken


def test_a_bucket_comes_back_as_protected_and_cannot_be_deleted_again(
    put_back: MovingStudio,
) -> None:
    studio, s3 = put_back, put_back.client("s3")
    wanted = content(studio)
    started = runbook(studio, "drill", "start", "bucket-deleted", "--seed", "2")
    assert started

    planned = run(studio, "recover-bucket")
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "recover-bucket", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert content(studio) == wanted
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_bucket(Bucket=BUCKET)
    assert runbook(studio, "undo", applied["run_id"])["verdict"] == "refused"


def test_objects_that_were_written_again_since_the_plan_are_left_alone(
    put_back: MovingStudio,
) -> None:
    studio, s3 = put_back, put_back.client("s3")
    lost = sorted(key for key in content(studio) if key.endswith(".png"))[:3]
    for key in lost:
        s3.delete_object(Bucket=BUCKET, Key=key)
    digest = run(studio, "recover-bucket")["plan"]["digest"]
    approve(studio, digest)
    for key in lost:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"uploaded again")
    now = content(studio)

    refused = run(studio, "recover-bucket", apply=digest)

    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "PlanStale")
    assert content(studio) == now


def test_a_bucket_that_somebody_has_set_up_since_the_plan_is_left_alone(
    put_back: MovingStudio,
) -> None:
    studio, s3 = put_back, put_back.client("s3")
    s3.put_bucket_versioning(
        Bucket=names.STATE_BUCKET, VersioningConfiguration={"Status": "Suspended"}
    )
    s3.delete_bucket_lifecycle(Bucket=names.QUARANTINE_BUCKET)
    digest = run(studio, "protect-buckets")["plan"]["digest"]
    s3.put_bucket_lifecycle_configuration(
        Bucket=names.QUARANTINE_BUCKET,
        LifecycleConfiguration={"Rules": [{"ID": "forget-old-versions", "Status": "Enabled",
                                           "Filter": {"Prefix": ""},
                                           "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]},
    )  # fmt: skip
    now = settings(studio)

    refused = run(studio, "protect-buckets", apply=digest)

    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "PlanStale")
    assert settings(studio) == now


def test_buckets_are_brought_to_the_strategy_and_back(put_back: MovingStudio) -> None:
    studio, s3 = put_back, put_back.client("s3")
    s3.put_bucket_versioning(
        Bucket=names.STATE_BUCKET, VersioningConfiguration={"Status": "Suspended"}
    )
    s3.delete_bucket_lifecycle(Bucket=names.QUARANTINE_BUCKET)
    s3.put_bucket_lifecycle_configuration(
        Bucket=names.QUARANTINE_BUCKET,
        LifecycleConfiguration={"Rules": [{"ID": "virus scan", "Status": "Enabled",
                                           "Filter": {"Prefix": "uploads/"},
                                           "Expiration": {"Days": 90}}]},
    )  # fmt: skip
    before = settings(studio)

    planned = run(studio, "protect-buckets")
    assert planned["verdict"] == "planned", planned["error"]
    assert settings(studio) == before
    applied = run(studio, "protect-buckets", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    for status, rules, policy in settings(studio).values():
        assert status == "Enabled"
        assert any("NoncurrentVersionExpiration" in rule for rule in rules)
        assert [one["Action"] for one in policy] == ["s3:DeleteBucket"]
    assert "virus scan" in [rule["ID"] for rule in settings(studio)[names.QUARANTINE_BUCKET][1]]
    assert run(studio, "protect-buckets")["verdict"] == "no_change"

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert settings(studio) == before
