"""What happened in one database since its first base backup, down to the transaction.

PostgreSQL archives each segment of WAL as it fills. `seal` ends one early, after a transaction of
its own: whatever was committed before it can then be restored, and a recovery to any moment up to
there finds a later commit, without which it would not know that it has arrived.
Source: https://www.postgresql.org/docs/current/runtime-config-wal.html#RUNTIME-CONFIG-WAL-RECOVERY-TARGET
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from studio_sandbox.control_plane.databases.database import Database, keep_command
from studio_sandbox.control_plane.databases.programs import ProgramFailed

_ARCHIVED_WITHIN_S = 30.0
_MOST_SEGMENTS = 2000  # between two base backups: some megabytes, and ten seconds of recovery
_WINDOW = 2  # base backups that can be started from; older ones are removed with their WAL
_FIRST_WAL = re.compile(r"START WAL LOCATION: \S+ \(file (\w+)\)")


@dataclass(frozen=True)
class Base:
    """A base backup: consistent as of `taken`, and in need of WAL from `first_wal` on."""

    folder: Path
    taken: datetime
    first_wal: str


class History:
    """Base backups and WAL of one database. Calls wait for each other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.wal = database.folder / "wal"
        self._bases: list[Base] = []
        self._numbers = count(1)
        self._latest: datetime | None = None
        self._sealed: datetime | None = None
        self._quiet_since: int | None = None  # the next transaction's id, if all before it ended
        self.lock = threading.RLock()  # held: base backups and WAL stay where they are
        self._closed = threading.Event()

    @property
    def seed(self) -> Base | None:
        """The first base backup, which is kept: the database as it was when all this began."""
        return self._bases[0] if self._bases else None

    @property
    def earliest(self) -> datetime | None:
        """The first moment that can be restored; None before the first base backup."""
        return self._bases[-_WINDOW:][0].taken if self._bases else None

    @property
    def latest(self) -> datetime | None:
        """The last moment that can be restored."""
        return self._latest

    @property
    def sealed(self) -> datetime | None:
        """The last moment that what is archived already reaches, whatever becomes of the source."""
        return self._sealed

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """Nobody waits any longer for what this history archives."""
        self._closed.set()

    def begin(self) -> None:
        """Archive from now on, and take the first base backup."""
        with self.lock:
            if self.closed:
                return
            self._database.programs.own(self.wal)
            with closing(self._database.connect()) as connection, connection.cursor() as cursor:
                cursor.execute(f"ALTER SYSTEM SET archive_command = {_literal(self.wal)}")
                cursor.execute("SELECT pg_reload_conf()")
            self._take_base()
            self.seal()

    def look(self) -> None:
        """Seal when anything was committed since; take a new base backup when WAL has grown."""
        with self.lock:
            if not self._bases:
                return
            with closing(self._database.connect()) as connection, connection.cursor() as cursor:
                moment, quiet_since = _quiet(cursor)
            if quiet_since is not None and quiet_since == self._quiet_since:
                self._latest = moment
                return
            self.seal()
            since = self._bases[-1].first_wal
            if len([one for one in self.wal.iterdir() if one.name >= since]) > _MOST_SEGMENTS:
                self._take_base()
                self._prune()

    def seal(self) -> datetime:
        """Archive all that was committed up to now; gives that moment. Raises ProgramFailed."""
        with self.lock:
            with closing(self._database.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT clock_timestamp()")
                moment: datetime = cursor.fetchone()[0]
                cursor.execute("SELECT pg_current_xact_id()::text::bigint")
                (marker,) = cursor.fetchone()
                cursor.execute("SELECT pg_walfile_name(pg_switch_wal())")
                (segment,) = cursor.fetchone()
                _, quiet_since = _quiet(cursor)
            self._await_archived(segment)
            self._quiet_since = quiet_since if quiet_since == marker + 1 else None
            self._latest = self._sealed = moment
            return moment

    def base_for(self, moment: datetime) -> Base:
        """The latest base backup from which that moment is reached. Raises LookupError."""
        fitting = [base for base in self._bases[-_WINDOW:] if base.taken <= moment]
        if not fitting:
            raise LookupError(f"{moment.isoformat()} is before the earliest restorable time")
        return fitting[-1]

    def _take_base(self) -> None:
        folder = self._database.folder / f"base-{next(self._numbers)}"
        taken = self._database.copy_to(folder)
        label = (folder / "backup_label").read_text(encoding="utf-8")
        found = _FIRST_WAL.search(label)
        if found is None:
            raise ProgramFailed(f"no WAL in the label of the base backup {folder.name}")
        self._bases.append(Base(folder, taken, found[1]))

    def _prune(self) -> None:
        """Forget what lies before the window. The seed's base needs no WAL of the archive."""
        for base in self._bases[1:-_WINDOW]:
            shutil.rmtree(base.folder)
        self._bases = [*self._bases[:1], *self._bases[1:][-_WINDOW:]]
        for segment in self.wal.iterdir():
            if segment.name < self._bases[-_WINDOW:][0].first_wal:
                segment.unlink()

    def _await_archived(self, segment: str) -> None:
        deadline = time.monotonic() + _ARCHIVED_WITHIN_S
        while not (self.wal / segment).exists():
            if self._closed.wait(0.01) or time.monotonic() > deadline:
                raise ProgramFailed(f"{segment} of {self._database.folder.name} is not archived")


def _quiet(cursor: Any) -> tuple[datetime, int | None]:
    """The time, and the next transaction's id when none is under way that could yet commit."""
    cursor.execute(
        "SELECT clock_timestamp(), pg_snapshot_xmin(s)::text::bigint,"
        " pg_snapshot_xmax(s)::text::bigint FROM pg_current_snapshot() AS s"
    )
    moment, oldest, following = cursor.fetchone()
    return moment.astimezone(UTC), following if oldest == following else None


def _literal(wal: Path) -> str:
    return "'{}'".format(keep_command(wal).replace("'", "''"))
