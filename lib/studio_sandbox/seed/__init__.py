"""Fills the sandbox's PostgreSQL and Valkey with a healthy Studio, the same one every time.

Every time in it is the anchor minus a fixed age; ids, counts and amounts never vary. What the
anchor is, and what a still sandbox holds still, stands in `studio_sandbox.box`.
"""

from __future__ import annotations

from datetime import datetime

from studio_sandbox.folder import Passwords
from studio_sandbox.seed import database, keys


def everything(
    passwords: Passwords, *, postgres_port: int, valkey_port: int, anchor: datetime, still: bool
) -> None:
    """Replace all that is in both servers. Raises psycopg2's and redis's errors as they are."""
    database.seed(passwords, port=postgres_port, anchor=anchor, still=still)
    keys.seed(
        passwords,
        postgres_port=postgres_port,
        valkey_port=valkey_port,
        anchor=anchor,
        still=still,
    )
