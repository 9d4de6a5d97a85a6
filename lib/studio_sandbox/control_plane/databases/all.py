"""All databases of the sandbox, with their histories: made, restored, removed, forgotten."""

from __future__ import annotations

import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.config import Config
from studio_sandbox.control_plane.databases.database import Database, GuardsDatabase
from studio_sandbox.control_plane.databases.history import Base, History
from studio_sandbox.control_plane.databases.programs import ProgramFailed, Programs
from studio_sandbox.folder import passwords

_MOST_SERVERS = 5  # of restored clusters, each of them some 30 MB
_LOOK_EVERY_S = 120  # on AWS: "typically within the last five minutes" is what it says of the lag
_SEEDED_WITHIN_S = 60.0
_AS_OF = Path(__file__).parents[2] / "sql" / "as_of.sql"


class Cluster:
    """What stands behind one cluster. What is asked of it is done in that order, one at a time."""

    def __init__(self, database: Database, follows: Cluster | None = None) -> None:
        self.database = database
        self.follows = follows  # whose data it will have: until then it has none, and no server
        self.history = History(database)
        self._work = ThreadPoolExecutor(1, thread_name_prefix=database.folder.name)

    def __deepcopy__(self, _memo: Any) -> Cluster:
        """moto copies what it describes; what stands behind it is one and the same."""
        return self

    @property
    def port(self) -> int:
        return self.database.port

    def do(self, work: Callable[[], None], failed: Callable[[], None] = lambda: None) -> None:
        """Have it done in the background; `failed` is called when it could not be."""

        def attempt() -> None:
            try:
                work()
            except Exception:
                if not self.history.closed:
                    traceback.print_exc(file=sys.stderr)
                failed()

        with suppress(RuntimeError):  # it was closed: a reset has forgotten it
            self._work.submit(attempt)

    def close(self) -> None:
        """Drop what is to be done; what is being done fails, since its programs have ended."""
        self.history.close()
        self._work.shutdown(wait=False, cancel_futures=True)

    def serve(self) -> None:
        """Have a server, and a history from then on; one that follows has neither yet."""
        if self.follows is not None:
            return
        self.database.start()
        if self.history.seed is None:
            self.history.begin()

    def rest(self) -> None:
        """Have no server; what was committed until now can still be restored."""
        if self.database.alive:
            if self.history.seed is not None:
                self.history.seal()
            self.database.stop()

    def close_doors(self) -> None:
        """Let no client in any more, and end the sessions of those that are connected."""
        self.database.let_in(False)
        self.database.cut()

    def follow(self, source: Cluster) -> None:
        """Have no data and no server again, and follow."""
        self.database.remove()
        self.follows = source

    def take_over(self) -> None:
        """Serve the data that it was made from, and follow no longer."""
        self.follows = None
        self.serve()
        self.database.let_in(True)  # what it is made from may have been closed before


class Databases:
    """The Studio's own database, those that were restored from it, and all copies."""

    def __init__(self, config: Config) -> None:
        if config.servers is None:
            raise ValueError("a control plane of its own has no databases")
        self._servers, self._logs, self._lock = config.servers, config.home / "logs", config.lock
        self._passwords = passwords(config.home)
        self._port = urlsplit(config.database_url).port or 0
        self._generations, self._names = count(1), count(1)
        shutil.rmtree(config.servers / "databases", ignore_errors=True)  # of one that was killed
        self._begin_anew()
        threading.Thread(target=self._keep, name="history", daemon=True).start()

    def empty(self) -> None:
        """Forget everything but the Studio's own database, and its history too."""
        self._programs.end_all()
        for cluster in self._clusters:
            cluster.close()
        threading.Thread(target=shutil.rmtree, args=(self._folder, True), daemon=True).start()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._programs = Programs(self._servers, self._logs, self._lock)
        self._folder = self._servers / "databases" / str(next(self._generations))
        studio = self._folder / "studio"
        self.primary = Cluster(GuardsDatabase(self._programs, studio, self._passwords, self._port))
        self._clusters = [self.primary]

    def begin(self) -> None:
        """The Studio's data is there: its history begins, in the background."""
        self.primary.do(self.primary.history.begin)

    # made and removed

    def may_serve(self) -> bool:
        """Whether one more server may be started."""
        return sum(one.database.alive for one in self._clusters) <= _MOST_SERVERS

    def new(self, name: str, follows: Cluster | None = None) -> Cluster:
        """A cluster without data; its port is taken from now on."""
        folder = self._folder / f"{name}-{next(self._names)}"
        made = Cluster(Database(self._programs, folder, self._passwords), follows)
        self._clusters.append(made)
        return made

    def new_copy(self) -> Path:
        """Where a copy can be put."""
        return self._folder / f"snapshot-{next(self._names)}"

    def remove(self, cluster: Cluster) -> None:
        """End a cluster's server and remove its data and its history.

        Of the Studio's own the first base backup stays: seeded snapshots are made from it.
        """
        if cluster is not self.primary:
            self._clusters = [one for one in self._clusters if one is not cluster]
        cluster.database.remove()

    # restored

    def restore_copy(self, made: Cluster, copy: Path) -> None:
        """Make a cluster's data from a copy. Raises ProgramFailed."""
        made.database.make_from(copy)

    def restore_seeded(self, made: Cluster, taken: datetime) -> None:
        """Make a cluster's data as it was before the sandbox began. Raises ProgramFailed.

        Nobody took a copy then: it is what the sandbox began with, without all rows that are
        younger. What rows said before they were last changed, nobody knows.
        """
        moment = taken.replace(tzinfo=None)

        def forget_younger(connection: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(_AS_OF.read_text(encoding="utf-8"), {"taken": moment})

        made.database.make_from(self._seed().folder, then=forget_younger)

    def restore_moment(self, made: Cluster, source: Cluster, moment: datetime) -> None:
        """Make a cluster's data as the source's was at a moment. Raises ProgramFailed."""
        with source.history.lock:
            if source.database.alive:
                source.history.seal()
            self.restore_archived(made, source, moment)

    def restore_archived(self, made: Cluster, source: Cluster, moment: datetime) -> None:
        """The same without asking the source: the moment has to be sealed. Raises ProgramFailed."""
        history = source.history
        with history.lock:
            base = history.base_for(moment)
            made.database.make_from(base.folder, wal=history.wal, until=moment)

    def _seed(self) -> Base:
        """The first base backup of the Studio's own; it is awaited when it is under way."""
        ready = threading.Event()
        self.primary.do(ready.set)
        ready.wait(_SEEDED_WITHIN_S)
        if self.primary.history.seed is None:
            raise ProgramFailed("there is no base backup of the Studio's database")
        return self.primary.history.seed

    def _keep(self) -> None:
        """Keep every history up to now, for ever."""
        pause = threading.Event()
        while not pause.wait(pace.seconds(_LOOK_EVERY_S)):
            for cluster in list(self._clusters):
                if cluster.database.alive and cluster.history.seed:
                    cluster.do(cluster.history.look)
