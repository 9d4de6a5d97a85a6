"""What every seed module is given: the account, the moment that is now, and dice of its own."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from studio_sandbox.control_plane.config import Config


@dataclass(frozen=True)
class World:
    """One seeding. Everything in it follows from `config`, `anchor` and `number` alone."""

    config: Config
    anchor: datetime
    number: int

    @property
    def account(self) -> str:
        return self.config.account

    @property
    def region(self) -> str:
        return self.config.region

    def dice(self, noun: str) -> random.Random:
        """A generator of `noun`'s own, so that one module's draws never shift another's."""
        return random.Random(f"{self.number}:{noun}")  # noqa: S311  believable, not secret

    def ago(self, *, days: float = 0, hours: float = 0, minutes: float = 0) -> datetime:
        """So long before the anchor."""
        return self.anchor - timedelta(days=days, hours=hours, minutes=minutes)


def digest(text: str, length: int = 64) -> str:
    """Fixed hexadecimal digits for a name: the same in every sandbox. At most 64."""
    return hashlib.sha256(f"pulse-studio:{text}".encode()).hexdigest()[:length]


def uuid(text: str) -> str:
    """A fixed UUID for a name."""
    d = digest(text, 32)
    return f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:32]}"
