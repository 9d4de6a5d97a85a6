"""S3: buckets as the backup strategy wants them, objects with earlier versions, locks that hold.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core


def patch() -> None:
    """A retention is shortened by nobody, unless it is governance mode and they bypass it.

    Plain moto writes any retention over any other, and deletes a bucket whose policy denies that.
    """
    from moto.iam.access_control import PermissionResult
    from moto.s3.exceptions import AccessDeniedByLock
    from moto.s3.responses import S3Response

    delete_bucket = S3Response.delete_bucket

    def denied(self: Any) -> Any:
        bucket = self.backend.get_bucket(self.bucket_name)
        if bucket.get_permission("s3:DeleteBucket", bucket.arn) == PermissionResult.DENIED:
            raise AccessDeniedByLock
        return delete_bucket(self)

    S3Response.delete_bucket = denied
    put_object_retention = S3Response.put_object_retention

    def guarded(self: Any) -> Any:
        key = self.backend.get_object(
            self.bucket_name, self.parse_key_name(), version_id=self._get_param("versionId")
        )
        bypass = self.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"
        if key is not None and key.is_locked(governance_bypass=bypass):
            mode, until = self._mode_until_from_body()
            if mode != key.lock_mode or not until or _moment(until) < _moment(key.lock_until):
                raise AccessDeniedByLock
        return put_object_retention(self)

    S3Response.put_object_retention = guarded


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class Buckets:
    """The buckets of one account, for the seed."""

    def __init__(self, account: str) -> None:
        self._s3 = core.backend("s3", account, "aws")

    def bucket(self, name: str, *, region: str, created: datetime) -> None:
        """A bucket, versioned, encrypted, closed, that forgets old versions after 30 days."""
        made = self._s3.create_bucket(name, region)
        made.creation_date = core.naive(created)
        self._s3.put_bucket_versioning(name, "Enabled")
        self._s3.put_bucket_encryption(
            name, {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}}
        )
        self._s3.put_public_access_block(
            name,
            {
                "BlockPublicAcls": "true",
                "IgnorePublicAcls": "true",
                "BlockPublicPolicy": "true",
                "RestrictPublicBuckets": "true",
            },
        )
        self._s3.put_bucket_lifecycle_configuration(
            name,
            [
                {
                    "ID": "forget-old-versions",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": "30"},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": "7"},
                }
            ],
        )

    def put(self, bucket: str, key: str, body: bytes, *, written: datetime, kind: str) -> None:
        """Write one version of an object."""
        made = self._s3.put_object(bucket, key, body, disable_notification=True)
        made.last_modified = core.naive(written)
        made.set_metadata({"Content-Type": kind})
