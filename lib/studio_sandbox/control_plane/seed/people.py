"""Ids of the people in the logs: real users of the seeded database, when it can be asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from studio_sandbox.control_plane.seed.world import uuid

_HOW_MANY = 200
_USERS = "SELECT id::text FROM users WHERE is_active ORDER BY created_at, id LIMIT %s"
_FILES = "SELECT s3_key, kind, bytes FROM files ORDER BY created_at DESC, id LIMIT 400"


@dataclass
class People:
    """What the database knows: users, and files with key, kind and size."""

    users: Sequence[str] = field(default_factory=lambda: [uuid(f"user/{n}") for n in range(200)])
    files: Sequence[tuple[str, str, int]] = ()


class Asking:
    """A question to the database, answered while the rest of the Studio is seeded."""

    def __init__(self, database_url: str, *, patience_s: float) -> None:
        self._url = database_url
        self._deadline = time.monotonic() + patience_s
        self._people = People()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        if patience_s > 0:
            self._thread.start()

    def answer(self) -> People:
        """What the database said; ids of our own making if it never answered in time."""
        if self._thread.ident:
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._people

    def _ask(self) -> None:
        """Ask again until there are users: the tables are filled while we start."""
        import psycopg2

        while time.monotonic() < self._deadline:
            try:
                if people := self._read():
                    self._people = people
                    return
            except psycopg2.Error:
                pass  # not up, or no tables yet: the deadline bounds this
            time.sleep(0.05)

    def _read(self) -> People | None:
        import psycopg2

        url = self._url.replace("+psycopg2", "", 1)
        connection = psycopg2.connect(url, connect_timeout=2, application_name="control-plane")
        try:
            with connection.cursor() as cursor:
                cursor.execute(_USERS, (_HOW_MANY,))
                users = [row[0] for row in cursor.fetchall()]
                if not users:
                    return None
                cursor.execute(_FILES)
                return People(users=users, files=cursor.fetchall())
        finally:
            connection.close()
