"""PostgreSQL's programs, run as whom the sandbox's servers run as; they end with this process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from studio_sandbox import programs
from studio_sandbox.process import tied_to_parent
from studio_sandbox.servant import Servant, servant

_PROGRESS = re.compile(rb"\((\d+)%\)")


class ProgramFailed(Exception):
    """A program did not do its work; its own words say why."""


class Programs:
    """Starts programs, until all that run are ended at once."""

    def __init__(self, servers: Path, logs: Path, lock: int | None) -> None:
        self.servers = servers
        self._logs, self._lock = logs, lock
        # the kernel ends children with the thread that started them: this one never ends
        self._births = ThreadPoolExecutor(1, thread_name_prefix="births")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._over = False
        self._guarded = threading.Lock()

    @cached_property
    def who(self) -> Servant:
        return servant()

    @cached_property
    def folder(self) -> Path:
        """Where the programs are that this user can run."""
        return programs.postgres_folder(self.who, self.servers)

    def own(self, folder: Path) -> Path:
        """Make a folder, and those above it, for the servers' user alone."""
        for missing in reversed([folder, *folder.parents]):
            if missing.is_relative_to(self.servers) and missing != self.servers:
                self.who.own(missing)
        return folder

    def serve(self, command: list[str], folder: Path, *, log: str) -> subprocess.Popen[bytes]:
        """Start a server that works in `folder`."""
        with (self._logs / f"{log}.log").open("ab") as file:
            return self._start(command, folder, signal.SIGQUIT, stdout=file, stderr=file)

    def run(
        self,
        command: list[str],
        folder: Path,
        *,
        password: str = "",
        progress: Callable[[int], None] = lambda percent: None,
    ) -> None:
        """Run a program to its end. Raises ProgramFailed with what it said."""
        child = self._start(
            command,
            folder,
            signal.SIGKILL,
            environment={"PGPASSWORD": password},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert child.stderr is not None  # noqa: S101  asked for
        said = b""
        while piece := os.read(child.stderr.fileno(), 4096):
            said = (said + piece)[-4096:]
            if shown := _PROGRESS.findall(piece):
                progress(int(shown[-1]))
        child.stderr.close()
        if code := self.ended(child):
            text = said.decode(errors="replace").strip()
            raise ProgramFailed(f"{Path(command[0]).name} ended with {code}: {text[-800:]}")

    def ended(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for a child's end; gives its exit code."""
        code = child.wait()
        with self._guarded:
            self._running.discard(child)
        return code

    def end_all(self) -> None:
        """End everything that runs, at once; nothing is started any more."""
        with self._guarded:
            running, self._running, self._over = self._running, set(), True
        for child in running:
            if child.poll() is None:
                child.send_signal(signal.SIGQUIT)  # a postmaster takes its backends along
        for child in running:
            child.wait()

    def _start(
        self,
        command: list[str],
        folder: Path,
        ends_by: signal.Signals,
        *,
        environment: dict[str, str] | None = None,
        **streams: Any,
    ) -> subprocess.Popen[bytes]:
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        settings: dict[str, Any] = {
            "cwd": folder,
            "env": kept | {"LC_ALL": "C", "TZ": "UTC"} | (environment or {}),
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
            "pass_fds": () if self._lock is None else (self._lock,),
            "preexec_fn": tied_to_parent(ends_by),
            "user": self.who.user,
            "group": self.who.group,
            "extra_groups": self.who.groups,
        }

        def bear() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, **settings, **streams)

        with self._guarded:
            if self._over:
                raise ProgramFailed(f"{Path(command[0]).name} is not started: all was ended")
            child = self._births.submit(bear).result()
            self._running.add(child)
        return child
