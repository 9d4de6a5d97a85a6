"""The credentials file that other clients are given: one profile for each seeded person."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from studio_sandbox.control_plane import names

FILE_NAME = "aws-credentials"


@dataclass(frozen=True)
class AccessKey:
    """An access key that is the same in every sandbox: it opens nothing but a sandbox."""

    user: str
    id: str
    secret: str


def access_key(user: str) -> AccessKey:
    """The fixed key of a seeded user, in the shape that AWS gives keys."""
    digest = hashlib.sha256(f"pulse-studio-sandbox:{user}".encode()).hexdigest()
    return AccessKey(user=user, id=f"AKIA{digest[:16].upper()}", secret=digest[16:56])


def write(home: Path, *, region: str) -> Path:
    """Write `aws-credentials` into `home` (mode 0600, replaced atomically); gives its path.

    Profiles: `oncall`, `approver`, and `default`, which is `oncall`.
    """
    path = home / FILE_NAME
    profiles = [("default", names.ONCALL), (names.ONCALL,) * 2, (names.APPROVER,) * 2]
    text = "\n".join(_profile(name, access_key(user), region) for name, user in profiles)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def _profile(name: str, key: AccessKey, region: str) -> str:
    return (
        f"[{name}]\naws_access_key_id = {key.id}\n"
        f"aws_secret_access_key = {key.secret}\nregion = {region}\n"
    )
