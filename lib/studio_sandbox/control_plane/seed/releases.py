"""Twelve releases in ninety days: each is one git SHA, built and rolled out by one workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.world import World, digest

# How long ago each release went out, in days; the last one is what runs.
_AGES = (88.2, 80.9, 73.1, 65.4, 58.2, 49.3, 41.1, 33.4, 25.2, 17.1, 9.3, 2.2)

# Releases that a service had no change in, so that it has no revision of them.
_LEFT_OUT = {
    names.FRONTEND: {2, 5, 7, 10},
    names.BACKEND: set[int](),
    names.GATEWAY: {3},
    names.WORKER: {1, 5, 9},
}
_ORDER = (names.BACKEND, names.GATEWAY, names.WORKER, names.FRONTEND)  # of one roll-out
_IMAGES_KEPT = timedelta(days=60)  # by the repositories' lifecycle


@dataclass(frozen=True)
class Release:
    """One service's part of a release. `image_kept` says whether ECR still has the image."""

    index: int
    sha: str
    built: datetime
    registered: datetime
    image_kept: bool


def of_service(world: World, service: str) -> list[Release]:
    """The releases that `service` took part in, oldest first."""
    return [
        _release(world, service, index)
        for index in range(len(_AGES))
        if index not in _LEFT_OUT[service]
    ]


def number(sha: str) -> int:
    """Which release an image's tag is of; one that is not seeded is newer than all that are."""
    known = [digest(f"release/{index}", 40) for index in range(len(_AGES))]
    return known.index(sha) if sha in known else len(known)


def _release(world: World, service: str, index: int) -> Release:
    built = world.ago(days=_AGES[index])
    step = _ORDER.index(service)
    return Release(
        index=index,
        sha=digest(f"release/{index}", 40),
        built=built,
        registered=built + timedelta(minutes=9 + 5 * step),
        image_kept=world.anchor - built < _IMAGES_KEPT,
    )
