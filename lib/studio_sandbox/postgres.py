"""PostgreSQL of the sandbox: its data folder, made once, and its server."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import NotReachable
from studio_sandbox.folder import Passwords
from studio_sandbox.servant import Servant

SUPERUSER = "sandbox"  # ours, to seed and to mend; the product never uses it
SEGMENT_MIB = 1  # of WAL: what has happened is archived in small pieces, so soon
ROLE = DATABASE = "studio"  # what the product connects as, and to

# The data is made anew with each start: nothing is worth waiting for a disk.
_SETTINGS = {
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "replica",  # backups and restores to a point in time are real
    "wal_init_zero": "off",
    "max_wal_senders": "4",
    "archive_mode": "on",  # ALTER SYSTEM says by which command
    "checkpoint_timeout": "1h",
    "max_wal_size": "1GB",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "dynamic_shared_memory_type": "mmap",  # nothing of a killed server stays in /dev/shm
}


@dataclass(frozen=True)
class Data:
    """The data folder: `home/data`, owned by whom the server runs as."""

    home: Path
    programs: Path
    who: Servant
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.home / "data"

    def make(self, passwords: Passwords) -> None:
        """Run initdb, unless it was done, and for this password. A killed one leaves no data.

        Raises NotReachable with what initdb said.
        """
        made_for = self.home / "made-for"
        wanted = hashlib.sha256(f"{passwords.superuser} {SEGMENT_MIB}".encode()).hexdigest()
        if self.folder.exists() and made_for.exists() and made_for.read_text() == wanted:
            return
        new = self.home / "new"
        self.drop()
        shutil.rmtree(new, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.home, prefix="password.") as file:
            file.write(f"{passwords.superuser}\n")
            file.flush()
            if self.who.user is not None:
                os.chown(file.name, self.who.user, -1)
            self._initdb(new, Path(file.name))
        new.replace(self.folder)
        made_for.write_text(wanted)

    def drop(self) -> None:
        """Remove the data, so that `make` makes it anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, port: int) -> list[str]:
        """The command line of the server."""
        return server_command(self.programs, self.folder, port)

    def _initdb(self, new: Path, password_file: Path) -> None:
        command = [str(self.programs / "initdb"), "-D", str(new), "-U", SUPERUSER]
        command += [f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
        command += ["--locale=C", "--no-sync", "--no-instructions"]
        command += [f"--wal-segsize={SEGMENT_MIB}"]
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            user=self.who.user,
            group=self.who.group,
            extra_groups=self.who.groups,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NotReachable(f"initdb failed: {(done.stderr or done.stdout).strip()[-600:]}")


def server_command(programs: Path, data: Path, port: int) -> list[str]:
    """The command line of a server on loopback alone."""
    options = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    program = str(programs / "postgres")
    return [program, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), *options]


def superuser_url(passwords: Passwords, port: int, database: str = "postgres") -> str:
    """How the sandbox itself connects."""
    return f"postgresql://{SUPERUSER}:{passwords.superuser}@127.0.0.1:{port}/{database}"


def product_url(passwords: Passwords, port: int) -> str:
    """How the product connects: `postgresql://`, which psql and libpq read too."""
    return f"postgresql://{ROLE}:{passwords.studio}@127.0.0.1:{port}/{DATABASE}"
