"""The four buckets: assets and their copy, quarantine, Terraform's state."""

from __future__ import annotations

import json

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter.s3 import Buckets
from studio_sandbox.control_plane.seed.people import People
from studio_sandbox.control_plane.seed.world import World, digest, uuid

_OBJECTS = 300
_STATE_VERSIONS = 6
_EVERY_NTH_EDITED = 12  # such assets have an earlier version
_TYPES = {"image": ("png", "image/png"), "video": ("mp4", "video/mp4")}


def seed(world: World, people: People) -> None:
    """All buckets, versioned; the backup lies in the backup region."""
    buckets = Buckets(world.account)
    for name in names.BUCKETS:
        backup = name == names.BACKUP_BUCKET
        region = world.config.backup_region if backup else world.region
        buckets.bucket(name, region=region, created=world.ago(days=412))
    _assets(world, buckets, people)
    _state(world, buckets)
    buckets.put(
        names.QUARANTINE_BUCKET,
        f"uploads/{digest('quarantined', 12)}.zip",
        b"kept for the virus scan's sake",
        written=world.ago(days=6),
        kind="application/zip",
    )


def _assets(world: World, buckets: Buckets, people: People) -> None:
    """Objects behind the database's files, as far as it has them; the backup is a day old."""
    for n, (key, kind) in enumerate(_keys(people)):
        content_type = _TYPES.get(kind, ("bin", "application/octet-stream"))[1]
        written = world.ago(days=1 + n * 0.28)
        body = f"{kind} {digest(key, 32)}".encode()
        if n % _EVERY_NTH_EDITED == 0:
            earlier = world.ago(days=2 + n * 0.28)
            buckets.put(names.ASSETS_BUCKET, key, b"earlier " + body, written=earlier,
                        kind=content_type)  # fmt: skip
        for bucket in (names.ASSETS_BUCKET, names.BACKUP_BUCKET):
            buckets.put(bucket, key, body, written=written, kind=content_type)


def _keys(people: People) -> list[tuple[str, str]]:
    if people.files:
        return [(key, kind) for key, kind, _ in people.files[:_OBJECTS]]
    kinds = list(_TYPES)
    return [
        (f"users/{people.users[n % len(people.users)]}/{uuid(f'file/{n}')}.{_TYPES[kind][0]}", kind)
        for n in range(_OBJECTS)
        for kind in [kinds[n % 7 == 0]]
    ]


def _state(world: World, buckets: Buckets) -> None:
    """Terraform's state: each apply left a version."""
    for serial in range(1, _STATE_VERSIONS + 1):
        state = {"version": 4, "terraform_version": "1.9.8", "serial": 140 + serial,
                 "lineage": uuid("lineage"), "resources": []}  # fmt: skip
        buckets.put(
            names.STATE_BUCKET,
            "ai-studio/terraform.tfstate",
            json.dumps(state).encode(),
            written=world.ago(days=4.5 * (_STATE_VERSIONS + 1 - serial)),
            kind="application/json",
        )
