"""S3: buckets as the backup strategy wants them, objects with earlier versions."""

from __future__ import annotations

from datetime import datetime

from studio_sandbox.control_plane.moto_adapter import core


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
