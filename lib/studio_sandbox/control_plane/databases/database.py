"""One cluster's data: its server while it has one, copies of it, and copies that it is made from.

A copy is taken by pg_basebackup, with the WAL that makes it consistent: it is exact as of the
moment when it ends, sessions go on meanwhile, and roles and passwords are in it. pg_dump would
read every row and leave out the roles; a template wants a database that nobody is connected to.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio_sandbox import postgres
from studio_sandbox.control_plane.databases.programs import ProgramFailed, Programs
from studio_sandbox.folder import Passwords

_START_WITHIN_S = 120.0  # recovery included
_UNTIL = "%Y-%m-%d %H:%M:%S.%f+00"


class Database:
    """The data in `folder/data`, and the port that its server listens on while there is one."""

    def __init__(self, programs: Programs, folder: Path, passwords: Passwords, port: int = 0):
        self.programs, self.folder, self.passwords = programs, folder, passwords
        self.port = port or _free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def alive(self) -> bool:
        """Whether its server lives."""
        return self._server is not None and self._server.poll() is None

    def connect(self, database: str = "postgres") -> Any:
        """A connection of the sandbox's own, for `with closing(…)`; it commits by itself."""
        import psycopg2

        url = postgres.superuser_url(self.passwords, self.port, database)
        connection = psycopg2.connect(url, connect_timeout=5)
        connection.autocommit = True
        return connection

    def ask(self, query: str, *values: Any, database: str = "postgres") -> tuple[Any, ...]:
        """The first row of an answer."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            row: tuple[Any, ...] = cursor.fetchone()
            return row

    # its server

    def start(self) -> None:
        """Start the server, and wait until it answers and has recovered. Raises ProgramFailed."""
        if self.alive:
            return
        command = postgres.server_command(self.programs.folder, self.data, self.port)
        server = self.programs.serve(command, self.folder, log=self.folder.name)
        self._server = server
        deadline = time.monotonic() + _START_WITHIN_S
        while not self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"the server in {self.folder.name} did not start; see its log")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server and all its sessions; what is committed is on disk."""
        if self._server is not None:
            if self._server.poll() is None:
                self._server.send_signal(signal.SIGINT)  # a fast shutdown
            self.programs.ended(self._server)
            self._server = None

    def let_in(self, verdict: bool) -> None:
        """Let clients of the product's database in, or no new ones."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {postgres.DATABASE} ALLOW_CONNECTIONS {verdict}")

    def cut(self) -> None:
        """End the sessions of all clients, as a failover does."""
        self.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND usename <> %s",
            postgres.SUPERUSER,
        )

    def _answers(self) -> bool:
        import psycopg2

        try:
            (recovers,) = self.ask("SELECT pg_is_in_recovery()")
        except psycopg2.OperationalError:
            return False
        return not recovers

    # copies

    def copy_to(self, target: Path, progress: Callable[[int], None] = lambda _: None) -> datetime:
        """Copy all of it; gives the moment as of which the copy is. Raises ProgramFailed."""
        self.programs.own(target.parent)
        if not self.alive:
            self.programs.run(["cp", "-R", str(self.data), str(target)], self.folder)
            return datetime.now(UTC)
        command = [str(self.programs.folder / "pg_basebackup"), "-D", str(target)]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-U", postgres.SUPERUSER]
        command += ["--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-manifest"]
        self.programs.run(
            [*command, "--progress"],
            self.programs.own(self.folder),
            password=self.passwords.superuser,
            progress=progress,
        )
        return datetime.now(UTC)

    def make_from(
        self,
        copy: Path,
        *,
        wal: Path | None = None,
        until: datetime | None = None,
        then: Callable[[Any], None] | None = None,
    ) -> None:
        """Make the data from a copy: with `wal`, all that was committed `until` then and no more.

        `then` gets a connection to the product's database. There is no server afterwards. Raises
        ProgramFailed.
        """
        self.programs.own(self.folder)
        self.programs.run(["cp", "-R", str(copy), str(self.data)], self.folder)
        self._forget_source()
        past = self.folder / "past"
        if wal and until:
            self.programs.run(["cp", "-R", str(wal), str(past)], self.folder)
            self._recover(past, until)
        # on a port that nobody knows: the cluster's own answers once it has an instance
        working = Database(self.programs, self.folder, self.passwords)
        try:
            working.start()
            if then:
                with closing(working.connect(postgres.DATABASE)) as connection:
                    then(connection)
        finally:
            working.stop()
        shutil.rmtree(past, ignore_errors=True)

    def _forget_source(self) -> None:
        """Settings of the source's history are not those of this one. The last line counts."""
        self._set("archive_command = 'true'")

    def _recover(self, past: Path, until: datetime) -> None:
        moment = until.astimezone(UTC).strftime(_UNTIL)
        self._set(
            f"restore_command = '{_quoted(fetch_command(past))}'",
            f"recovery_target_time = '{moment}'",
            "recovery_target_action = 'promote'",
            "recovery_target_timeline = 'current'",
        )
        signal_file = self.data / "recovery.signal"
        signal_file.touch()
        shutil.copystat(self.data / "PG_VERSION", signal_file)
        if self.programs.who.user is not None:
            shutil.chown(signal_file, self.programs.who.user, self.programs.who.group)

    def _set(self, *lines: str) -> None:
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def remove(self) -> None:
        """End the server and remove the data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class GuardsDatabase(Database):
    """The Studio's own. Its server is the guard's and never stops: it only refuses clients."""

    @property
    def data(self) -> Path:
        return self.programs.servers / "postgres" / "data"

    @property
    def alive(self) -> bool:
        return True

    def start(self) -> None:
        """Let clients in again."""
        self.let_in(True)

    def stop(self) -> None:
        """Refuse clients, and end the sessions of those that are connected."""
        self.let_in(False)
        self.cut()

    def remove(self) -> None:
        """Nobody gets in any more, until a reset makes it anew."""
        self.stop()


def keep_command(folder: Path) -> str:
    """An archive_command: a file appears in the archive whole, or not at all, and packed.

    A segment that was ended early is nearly empty, and packs to a hundredth.
    """
    place = _shell(folder)
    return f'gzip -1 < "%p" > {place}/"%f.part" && mv {place}/"%f.part" {place}/"%f"'


def fetch_command(folder: Path) -> str:
    """The restore_command to `keep_command`; it fails, as it has to, where a file is not there."""
    return f'gzip -dc < {_shell(folder)}/"%f" > "%p"'


def _shell(folder: Path) -> str:
    return shlex.quote(str(folder)).replace("%", "%%")


def _quoted(text: str) -> str:
    """Inside of single quotes in a configuration file."""
    return text.replace("\\", "\\\\").replace("'", "''")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
