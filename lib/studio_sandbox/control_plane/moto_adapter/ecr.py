"""ECR: repositories, and images that were pushed when they were pushed."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_EXPIRY_DAYS = 60
_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/"
    r"(?P<name>[^:@]+)(?::(?P<tag>[^@]+)|@(?P<digest>.+))?"
)


def repository(account: str, region: str, name: str, *, created: datetime) -> str:
    """A repository that forgets images after 60 days; gives its URI."""
    ecr = core.backend("ecr", account, region)
    made = core.call(
        ecr.create_repository,
        repository_name=name,
        image_tag_mutability="IMMUTABLE",
        image_scan_config={"scanOnPush": True},
        tags=[],
    )
    made.created_at = created
    ecr.put_lifecycle_policy(account, name, json.dumps(_lifecycle()))
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{name}"


def image(account: str, region: str, name: str, *, tag: str, pushed: datetime, size: int) -> str:
    """An image of `size` bytes with one tag; gives its digest."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        # moto calls this the image's size
        "config": {"size": size, "digest": _digest(f"config:{tag}")},
        "layers": [{"size": size // 2, "digest": _digest(f"{name}:{tag}:{n}")} for n in range(2)],
    }
    ecr = core.backend("ecr", account, region)
    made = ecr.put_image(name, json.dumps(manifest), tag)
    made.image_pushed_at = int(pushed.timestamp())
    return str(made.image_digest)


def digest(account: str, uri: str) -> str:
    """The digest of an image by its URI; empty when it is not in ECR (any more).

    Raises ValueError for a registry that is not this account's.
    """
    found = _URI.fullmatch(uri)
    if not found or found["account"] != account:
        raise ValueError(uri)
    repositories = core.backend("ecr", account, found["region"]).repositories
    repository = repositories.get(found["name"])
    for image in repository.images if repository else []:
        if found["tag"] in image.image_tags or found["digest"] == image.image_digest:
            return str(image.image_digest)
    return ""


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _lifecycle() -> dict[str, Any]:
    rule = {
        "rulePriority": 1,
        "description": f"Images expire after {_EXPIRY_DAYS} days",
        "selection": {
            "tagStatus": "any",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": _EXPIRY_DAYS,
        },
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}
