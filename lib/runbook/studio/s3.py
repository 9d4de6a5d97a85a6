"""S3: what a bucket has, in which versions, and whether it still has what its copy has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

_PAGES = 20  # of a thousand objects: more of a bucket is not counted


@dataclass(frozen=True)
class Copied:
    """A bucket beside its copy, in objects. `gone`: there is no such bucket any more."""

    bucket: str
    copy: str
    objects: int
    lost: int  # keys that the copy has and the bucket has not
    versioned: bool
    gone: bool = False

    @property
    def lost_percent(self) -> float:
        """Of what the copy and the bucket have together."""
        return 100 * self.lost / max(1, self.objects + self.lost)


def read_copied(s3: Any, s3_of_copy: Any, *, bucket: str, copy: str) -> Copied:
    """Compare a bucket with its copy, by keys; deleted objects are those that the copy still has.

    Raises BadInput when there is no such copy.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """
    kept = _keys(s3_of_copy, copy)
    if kept is None:
        raise BadInput(f"There is no bucket {copy!r}, the copy of {bucket}.")
    there = _keys(s3, bucket)
    if there is None:
        return Copied(bucket, copy, objects=0, lost=len(kept), versioned=False, gone=True)
    status = s3.get_bucket_versioning(Bucket=bucket).get("Status")
    return Copied(bucket, copy, len(there), len(kept - there), versioned=status == "Enabled")


@dataclass(frozen=True)
class Version:
    """One version of an object; a `marker` hides all that is older. Newest first in a list."""

    id: str
    marker: bool
    modified_at: datetime  # aware, UTC
    etag: str = ""
    size: int = 0
    latest: bool = False


@dataclass(frozen=True)
class Inventory:
    """A bucket counted: objects, bytes, and one checksum over all keys, sizes and ETags."""

    bucket: str
    objects: int
    bytes: int
    sha256: str
    gone: bool = False

    def row(self, when: str) -> dict[str, Any]:
        """For a table that has several beside each other."""
        return {
            "": when,
            "bucket": self.bucket,
            "objects": None if self.gone else self.objects,
            "MiB": None if self.gone else round(self.bytes / 2**20, 2),
            "checksum": "there is no such bucket" if self.gone else self.sha256[:16],
        }


def read_shown(s3: Any, bucket: str) -> dict[str, Version] | None:
    """What a bucket shows, by key; None when there is no such bucket.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    try:
        return {one["Key"]: _shown(one) for page in pages for one in page.get("Contents", ())}
    except s3.exceptions.NoSuchBucket:
        return None


def read_versions(s3: Any, bucket: str) -> dict[str, list[Version]] | None:
    """All versions and markers by key, newest first; None when there is no such bucket.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """
    found: dict[str, list[Version]] = {}
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    try:
        for page in pages:
            for key, version in _versions(page):
                found.setdefault(key, []).append(version)
    except s3.exceptions.NoSuchBucket:
        return None
    for versions in found.values():  # one page has versions first and markers then
        # times are whole seconds: which one is the latest, S3 has to say
        versions.sort(key=lambda one: (one.latest, one.modified_at), reverse=True)
    return found


def shown_of(versions: Mapping[str, list[Version]]) -> dict[str, Version]:
    """Of all versions, those that are shown. Pure."""
    return {key: found[0] for key, found in versions.items() if not found[0].marker}


def inventory(bucket: str, shown: Mapping[str, Version] | None) -> Inventory:
    """Objects, bytes and a checksum of what a bucket shows. Pure."""
    if shown is None:
        return Inventory(bucket, 0, 0, "", gone=True)
    checksum = hashlib.sha256()
    for key in sorted(shown):
        checksum.update(f"{key}\0{shown[key].size}\0{shown[key].etag}\n".encode())
    total = sum(one.size for one in shown.values())
    return Inventory(bucket, len(shown), total, checksum.hexdigest())


def _versions(page: Mapping[str, Any]) -> Iterator[tuple[str, Version]]:
    for one in page.get("Versions", ()):
        yield one["Key"], _shown(one)
    for one in page.get("DeleteMarkers", ()):
        yield (
            one["Key"],
            Version(one["VersionId"], True, one["LastModified"], latest=one["IsLatest"]),
        )


def _shown(one: Mapping[str, Any]) -> Version:
    return Version(
        one.get("VersionId", ""),
        marker=False,
        modified_at=one["LastModified"],
        etag=one["ETag"].strip('"'),
        size=one["Size"],
        latest=one.get("IsLatest", True),
    )


def read_sizes(s3: Any) -> pd.DataFrame:
    """All buckets, the largest first; of one with very many objects, what the first of them hold.

    Columns: bucket, objects, mb, counted (`whole`, or `in part`), versions.
    """
    import pandas as pd

    rows = []
    for bucket in s3.list_buckets()["Buckets"]:
        name, sizes, whole = bucket["Name"], [], True
        for number, page in enumerate(_pages(s3, name), start=1):
            sizes += [one["Size"] for one in page.get("Contents", ())]
            if number == _PAGES and page["IsTruncated"]:
                whole = False
                break
        rows.append({
            "bucket": name,
            "objects": len(sizes),
            "mb": sum(sizes) / 1e6,
            "counted": "whole" if whole else "in part",
            "versions": s3.get_bucket_versioning(Bucket=name).get("Status", "none"),
        })  # fmt: skip
    return (
        pd.DataFrame(rows).sort_values("mb", ascending=False, kind="stable").reset_index(drop=True)
    )


def _pages(s3: Any, bucket: str) -> Any:
    return s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)


def _keys(s3: Any, bucket: str) -> set[str] | None:
    try:
        return {one["Key"] for page in _pages(s3, bucket) for one in page.get("Contents", ())}
    except s3.exceptions.NoSuchBucket:
        return None
