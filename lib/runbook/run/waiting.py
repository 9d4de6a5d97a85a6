"""A kernel in waiting: a process beside the runner's that loads what sections need meanwhile.

    waiting = KernelInWaiting.begin()      None where a process cannot be forked safely
    waiting.become(command, environment, folder, confides_to)
    waiting.dismiss()                      no kernel is wanted after all

It is forked before the runner loads what it needs itself, so that both load side by side; where the
runner was begun warm (`runbook.run.warm`), all is in memory already and nothing is loaded. It is
the runner's own child, as a kernel that is launched is, and ends when the runner does.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

EVERY_KERNEL = ("runbook.run.section_kernel", "runbook.notebook", "boto3")
_MOST = 4_000_000  # bytes of a request: an environment is far smaller


class KernelInWaiting:
    """As a process that jupyter_client has launched: poll, wait, send_signal, terminate, kill."""

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        # as a daemon: a runner that ends for whatever reason waits for no kernel
        self._process = multiprocessing.get_context("fork").Process(
            target=_wait, args=(self._ours, theirs), daemon=True
        )
        self._process.start()
        self._is_kernel = False
        theirs.close()

    @classmethod
    def begin(cls) -> KernelInWaiting | None:
        """Fork one, if this process has a single thread: no lock can be held in the child then."""
        return cls() if _single_threaded() else None

    @property
    def pid(self) -> int:
        """Its process, and its process group: it leads a session of its own."""
        assert self._process.pid is not None  # noqa: S101  it was started
        return self._process.pid

    def become(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str | os.PathLike[str] | None,
        confides_to: int,
    ) -> None:
        """Let it be the kernel that this command would start; the end of the pipe is handed over.

        Raises OSError when it has ended.
        """
        parent = f"--IPKernelApp.parent_handle={os.getpid()}"
        asked = {
            "argv": [*command, parent],
            "env": dict(environment),
            "cwd": str(folder or Path.cwd()),
        }
        self._is_kernel = True
        socket.send_fds(self._ours, [_packed(asked)], [confides_to])
        self._ours.shutdown(socket.SHUT_WR)

    def dismiss(self) -> None:
        """End it where it has become nothing; one that is a kernel ends by whoever runs it."""
        if not self._is_kernel:
            self.kill()
            self.wait()
        self._ours.close()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has ended; its exit code."""
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


def _single_threaded() -> bool:
    """Whether the kernel sees one thread here, those of libraries counted; False: nobody knows."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _packed(asked: Mapping[str, Any]) -> bytes:
    return json.dumps(asked).encode("utf-8", "surrogateescape")


def _wait(theirs_not_ours: socket.socket, ours: socket.socket) -> None:
    """In the child: load, and become the kernel that is asked for, or end when none is."""
    theirs_not_ours.close()
    os.setsid()
    _speak_to_nobody()
    load()
    parts: list[bytes] = []
    part, ends, _, _ = socket.recv_fds(ours, _MOST, 1)
    while part:
        parts.append(part)
        part = ours.recv(_MOST)
    ours.close()
    if ends:
        _become(json.loads(b"".join(parts)), ends[0])


def load(names: Sequence[str] = EVERY_KERNEL) -> None:
    """Load libraries by their names: sections use them, nothing here does."""
    for name in names:
        importlib.import_module(name)


def _become(asked: Mapping[str, Any], confides_to: int) -> None:
    from runbook.run.confided import VARIABLE
    from runbook.run.section_kernel import GuardedKernelApp

    os.environ.clear()
    os.environ.update(asked["env"])
    os.environ[VARIABLE] = str(confides_to)
    os.chdir(asked["cwd"])
    sys.argv = list(asked["argv"])
    GuardedKernelApp.launch_instance(argv=sys.argv[1:])


def _speak_to_nobody() -> None:
    """What is written past Python goes nowhere, unseen by any check; nothing is read."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
