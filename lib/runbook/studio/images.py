"""Images in ECR: which commits a service can be deployed from.

Source: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.errors import BadInput


@dataclass(frozen=True)
class Image:
    """One tag of one image."""

    tag: str
    pushed_at: datetime


def read(ecr: Any, repository: str) -> tuple[Image, ...]:
    """The tagged images of a repository (`REGISTRY/NAME`), newest first.

    Raises BadInput: there is no such repository.
    """
    registry, _, name = repository.partition("/")
    pages = ecr.get_paginator("describe_images").paginate(
        registryId=registry.partition(".")[0], repositoryName=name, filter={"tagStatus": "TAGGED"}
    )
    try:
        found = [
            Image(tag, one["imagePushedAt"])
            for page in pages
            for one in page["imageDetails"]
            for tag in one.get("imageTags", ())
        ]
    except ecr.exceptions.RepositoryNotFoundException as error:
        raise BadInput(f"There is no repository {name} in ECR.") from error
    return tuple(sorted(found, key=lambda one: one.pushed_at, reverse=True))
