"""How long the database takes for what a page reads: somebody's lock is felt by every page."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.picture import Picture
from studio_sandbox.data_plane.stores import Stores

_USUAL_S = 0.05  # is in the latencies of pages already
# One row of each table that pages are made of.
_READ = " UNION ALL ".join(
    f"(SELECT 1 FROM {table} LIMIT 1)"  # noqa: S608  our own text
    for table in ("users", "subscriptions", "files", "usage_logs")
)


@dataclass(frozen=True)
class Felt:
    """How much longer than usual a page waits for the database, and what it is told then."""

    seconds: float = 0.0
    error: str = ""


class Pulse:
    """What was felt last, by the database's URL. Safe between threads."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._felt: dict[str, Felt] = {}
        self._lock = threading.Lock()

    def of(self, url: str) -> Felt:
        """What a page feels that is asked for now."""
        with self._lock:
            return self._felt.get(url, Felt())

    def forget(self) -> None:
        """All is as usual."""
        with self._lock:
            self._felt = {}

    def feel(self, picture: Picture) -> None:
        """Read as pages of the backend do, once for each database that its tasks were given.

        One that is not there is not felt here: its tasks fail their health checks.
        """
        tasks = picture.running(names.BACKEND)
        urls = {task.environment.get(names.DATABASE_URL, "") for task in tasks}
        found = {url: self._read(url) for url in urls}
        with self._lock:
            self._felt = found

    def _read(self, url: str) -> Felt:
        import psycopg2
        from psycopg2 import errors

        began, error = time.monotonic(), ""
        try:
            with self._stores.database(url) as cursor:
                cursor.execute(_READ)
        except (errors.QueryCanceled, errors.LockNotAvailable) as cut:
            error = str(cut).strip()
        except psycopg2.Error:
            return Felt()
        return Felt(max(0.0, time.monotonic() - began - _USUAL_S), error)
