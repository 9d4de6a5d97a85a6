"""Where one sandbox lives: a private folder below the state folder.

home()/sandbox/             0700; root's: 0710, so that its servers' user can pass through
    state.json              a running sandbox: URLs and processes (state.py)
    connection.json         how the library reaches its AWS (state.py)
    endpoints.json          where the load balancer and the world outside answer (state.py)
    passwords.json          kept as long as PostgreSQL's data
    command.lock            held by a command that starts, stops or resets
    processes.lock          held by every process of the sandbox, so free when none is left
    logs/
    servers/postgres, servers/valkey    owned by whom the servers run as (servant.py)
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

COMMAND_LOCK = "command.lock"
PROCESSES_LOCK = "processes.lock"


def sandbox_folder() -> Path:
    """The folder of this checkout's (or `RUNBOOK_HOME`'s) sandbox; it need not exist yet."""
    from runbook.settings import home  # imports pydantic: only where the folder is not given

    return home() / "sandbox"


def make(folder: Path) -> None:
    """Make the folder and `logs` in it, for its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "logs").mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Put a file in place in one step, readable by its owner alone from its first byte."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def command_lock(folder: Path) -> Iterator[None]:
    """One command at a time starts, stops or resets; the others wait here."""
    descriptor = _open_lock(folder / COMMAND_LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def take_processes_lock(folder: Path) -> int | None:
    """The lock that all processes of a sandbox share, or None while any of them lives.

    Whoever inherits the descriptor holds the lock too; the kernel lets go with the last of them.
    """
    descriptor = _open_lock(folder / PROCESSES_LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def nothing_lives(folder: Path) -> bool:
    """Whether no process of this sandbox is left."""
    if not folder.exists():
        return True
    descriptor = take_processes_lock(folder)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@dataclass(frozen=True)
class Passwords:
    """Random for each sandbox; URL-safe, so that they stand in a URL as they are."""

    superuser: str = field(repr=False)
    studio: str = field(repr=False)
    redis: str = field(repr=False)


def passwords(folder: Path) -> Passwords:
    """The sandbox's passwords, made on first use and whenever their file is not readable."""
    path = folder / "passwords.json"
    try:
        return Passwords(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        made = Passwords(*(secrets.token_urlsafe(24) for _ in range(3)))
        write_private(path, json.dumps(asdict(made)))
        return made
