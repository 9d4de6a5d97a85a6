"""bucket-deleted: the bucket with the customers' files is gone; the backup bucket has a copy."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names
from studio_sandbox.drills import buckets
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {"bucket": names.ASSETS_BUCKET}


def _start(studio: Studio, details: Details) -> None:
    bucket = details["bucket"]
    details["wanted"] = buckets.content(studio, bucket)
    details["region"] = studio.box.region
    details["protection"] = _protection(studio, bucket)
    details["lifecycle"] = studio.aws("s3").get_bucket_lifecycle_configuration(Bucket=bucket)[
        "Rules"
    ]
    everything = [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for one in buckets.versions(studio, bucket)
    ]
    buckets.delete(studio, bucket, everything)
    s3 = studio.pipeline("s3", session="Maintenance")
    s3.delete_bucket_policy(Bucket=bucket)  # whoever means it takes away what denies it
    s3.delete_bucket(Bucket=bucket)


def _protection(studio: Studio, bucket: str) -> dict[str, Any]:
    """What a bucket is protected by: earlier versions, and no public access."""
    s3 = studio.aws("s3")
    found: dict[str, Any] = {"versioning": s3.get_bucket_versioning(Bucket=bucket).get("Status")}
    with suppress(ClientError):  # there is none
        found["public access"] = s3.get_public_access_block(Bucket=bucket)[
            "PublicAccessBlockConfiguration"
        ]
    return found


def _judge(studio: Studio, details: Details) -> list[str]:
    """The bucket is there with all its objects, and as protected as it was."""
    bucket = details["bucket"]
    findings = buckets.damaged(studio, bucket, details["wanted"])
    if any("NoSuchBucket" in one for one in findings):
        return findings
    protection = _protection(studio, bucket)
    missing = [one for one, was in details["protection"].items() if protection.get(one) != was]
    return findings + [f"{bucket}: {one} is not as it was" for one in missing]


def _clean_up(studio: Studio, details: Details) -> None:
    if "wanted" not in details or not _judge(studio, details):
        return
    s3, bucket = studio.pipeline("s3", session="Terraform"), details["bucket"]
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": details["region"]}
        )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=details["protection"]["public access"]
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": details["lifecycle"]}
    )
    found, wanted = buckets.content(studio, bucket), details["wanted"]
    buckets.copy_back(studio, bucket, [key for key in wanted if found.get(key) != wanted[key]])


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "recover-bucket")


BUCKET_DELETED = Drill(
    name="bucket-deleted",
    symptom="No picture or video loads any more, and uploads fail for everybody.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("bucket {bucket}: *",),
)
