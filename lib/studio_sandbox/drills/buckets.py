"""Objects as the S3 drills destroy, judge and restore them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names
from studio_sandbox.drills.studio import Studio

_AT_ONCE = 8
_BATCH = 1000  # objects of one DeleteObjects


def content(studio: Studio, bucket: str) -> dict[str, str]:
    """ETag by key of all that a bucket shows. Raises ClientError: there is no such bucket."""
    pages = studio.aws("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", [])}


def versions(studio: Studio, bucket: str, keys: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """Every version and delete marker, of some keys or of all, newest first by key."""
    wanted = set(keys)
    pages = studio.aws("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
    for page in pages:
        for one in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            if not wanted or one["Key"] in wanted:
                yield one


def delete(studio: Studio, bucket: str, objects: list[dict[str, str]]) -> None:
    """Delete objects (a marker each), or versions for good where they are named."""
    s3 = studio.pipeline("s3", session="Maintenance")
    for first in range(0, len(objects), _BATCH):
        batch = {"Objects": objects[first : first + _BATCH], "Quiet": True}
        s3.delete_objects(Bucket=bucket, Delete=batch)


def damaged(studio: Studio, bucket: str, wanted: dict[str, str]) -> list[str]:
    """What is not as it was of `wanted` (ETag by key): a sentence for each kind of damage."""
    try:
        found = content(studio, bucket)
    except ClientError as error:
        return [f"{bucket}: {error.response['Error']['Code']}"]
    gone = [key for key in wanted if key not in found]
    other = [key for key in wanted if key in found and found[key] != wanted[key]]
    told = {"objects are gone": gone, "objects have another content": other}
    return [f"{bucket}: {len(keys)} {what}" for what, keys in told.items() if keys]


def copy_back(studio: Studio, bucket: str, keys: Iterable[str]) -> None:
    """Copy objects from the bucket that the backups are in."""
    s3 = studio.pipeline("s3", session="Maintenance")

    def copy(key: str) -> None:
        source = {"Bucket": names.BACKUP_BUCKET, "Key": key}
        s3.copy_object(Bucket=bucket, Key=key, CopySource=source)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(copy, keys))
