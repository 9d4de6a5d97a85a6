"""What the guard tells the control plane: one JSON line on stdin."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """One account in two regions, and the servers that its secrets point to.

    `anchor` is the moment that the seed calls now; `still` keeps every later id predictable as
    well; `users_wait_s` is how long the seed waits for the database's users before it makes up
    ids of its own. `servers` is the folder that servers work in, and `lock` the descriptor that
    each of them inherits (folder.py); without that folder clusters are descriptions with no data.
    """

    account: str
    region: str
    backup_region: str
    home: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    anchor: datetime
    still: bool = False
    users_wait_s: float = 5.0
    servers: Path | None = None
    lock: int | None = None

    @classmethod
    def from_json(cls, line: str) -> Config:
        """Read the guard's line. Raises ValueError or KeyError, naming what is wrong."""
        given = json.loads(line)
        return cls(
            account=given["account"],
            region=given["region"],
            backup_region=given["backup_region"],
            home=Path(given["home"]),
            database_url=given["database_url"],
            redis_url=given["redis_url"],
            anchor=parse_anchor(given["anchor"]),
            still=bool(given.get("still", False)),
            users_wait_s=float(given.get("users_wait_s", 5.0)),
            servers=Path(given["servers"]) if given.get("servers") else None,
            lock=given.get("lock"),
        )


def parse_anchor(text: str) -> datetime:
    """An aware UTC time from ISO 8601, in whole seconds. Raises ValueError without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the anchor {text!r} has no time zone; write it as UTC, ending in Z")
    return moment.astimezone(UTC).replace(microsecond=0)
