"""What a task of its own runs: a command of the product's image, really, as a process here.

No container runs; those commands that the product's images have for people are in
`studio_sandbox.product`, and a process of this machine stands for each. A server (a container's own
command) runs until its task is stopped. What an image has and nothing here stands for is refused
before a task is made; what no image has cannot be started, which is 127 as in a shell.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.process import tied_to_parent

NOT_FOUND = 127  # how a container ends whose command is not there
_NOT_EXECUTABLE, _BY_SIGNAL = 126, 128  # as a shell has them; the signal's number is added
_SERVERS = ("uvicorn", "celery", "node")
_PYTHON = (names.repository(names.BACKEND), names.repository(names.WORKER))  # images that have it
_INTERPRETERS = ("sh", "bash", "env", "python", "python3", "pip")  # in an image, whatever they run
_SCRIPTS = {"scripts.sync_usage_to_db": "studio_sandbox.product.sync_usage_to_db"}


class OneOff:
    """One command that runs. Safe between threads."""

    def __init__(
        self,
        command: list[str],
        *,
        image: str,
        release: int,
        environment: dict[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._program = _program(command, image, release)
        self._environment, self._say = environment, say
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self.exit_code: int | None = None
        if self._program:
            with _guarded:
                _running.append(self)
            # a thread of its own: it outlives the process, which the kernel ends with it
            threading.Thread(target=self._run, args=(self._program,), daemon=True).start()

    def stop(self) -> None:
        """Tell it to end, and hear no more of it."""
        with self._lock:
            self._stopped = True
            if self._process and self._process.poll() is None:
                self._process.terminate()

    def _run(self, program: list[str]) -> None:
        try:
            self.exit_code = self._follow(program)
        except (OSError, ValueError) as failed:  # an environment that no process can be given
            self._tell(str(failed))
            self.exit_code = _NOT_EXECUTABLE
        finally:
            with _guarded:
                _running.remove(self)

    def _follow(self, program: list[str]) -> int | None:
        """Run to its end; gives its exit code, None when it is told to end before."""
        with self._lock:
            if self._stopped:
                return None
            self._process = process = self._start(program)
        assert process.stdout is not None  # noqa: S101  asked for
        for line in process.stdout:
            self._tell(line.rstrip("\n"))
        code = process.wait()
        if self._stopped:
            return None
        return code if code >= 0 else _BY_SIGNAL - code

    def _start(self, program: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *program],
            env={"PATH": os.environ.get("PATH", os.defpath)} | self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            preexec_fn=tied_to_parent(signal.SIGKILL),
        )

    def _tell(self, line: str) -> None:
        with core.LOCK:  # as a reset does, which tells this to stop first
            if not self._stopped:
                self._say(line)


_running: list[OneOff] = []
_guarded = threading.Lock()


def stop_all() -> None:
    """Tell all that runs to end: whatever they belong to is about to be forgotten."""
    with _guarded:
        running = list(_running)
    for one in running:
        one.stop()


def why_unplayed(command: list[str]) -> str:
    """Why nothing here stands for a command that an image may well have; empty when that is not so.

    A shell or an interpreter can do anything, so it is there and only its scripts are not.
    """
    if command and command[0] in _INTERPRETERS and not _script(command):
        scripts = ", ".join(f"python -m {name}" for name in _SCRIPTS)
        return f"nothing runs {' '.join(command)}; what runs is alembic, and {scripts}"
    return ""


def why_not_started(command: list[str], image: str) -> str:
    """The reason that a container is stopped with whose command its image lacks; else empty."""
    if not command or command[0] in _SERVERS or _program(command, image, 0):
        return ""
    return (
        "CannotStartContainerError: ResourceInitializationError: failed to create new container "
        "runtime task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{command[0]}": executable file not found in '
        "$PATH: unknown"
    )


def _program(command: list[str], image: str, release: int) -> list[str] | None:
    """The module that stands for a command, with its arguments; None where the image lacks it."""
    if image.rpartition("/")[2].partition(":")[0] not in _PYTHON:
        return None
    if command[:1] == ["alembic"]:
        return ["studio_sandbox.product.migrate", str(release), *command[1:]]
    return _script(command)


def _script(command: list[str]) -> list[str] | None:
    match command:
        case ["python" | "python3", "-m", name, *arguments] if name in _SCRIPTS:
            return [_SCRIPTS[name], *arguments]
    return None
