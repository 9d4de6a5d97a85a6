"""Every way in which a run can end, through `runbook run` and through papermill alike.

Each is done for real: a cell raises, a clock runs out, a process is killed, a disk is full. What
the run's folder says afterwards is compared with what happened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_sandbox.proofs.proof import Asked
from studio_sandbox.proofs.workshop import Workshop, labels, read_json

_WITHIN_S = 180.0
_AFTER = "print('not reached')"
_SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(600)"
_INTENT = """
import os, signal
from runbook import settings
from runbook.record.runs import Run, store_of
run = Run(store_of(settings.load("sandbox")), os.environ["RUNBOOK_RUN"])
run.journal.intent(0, "sql-rows", "postgresql:jobs")
os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Way:
    """One way to die, and what has to be said of it.

    `kills` is the signal that the runner gets while the section sleeps; `full` runs it on a disk
    that fills up; `ran` is how many code cells ran to their end, with the two of the parameters.
    """

    name: str
    cells: tuple[str, ...]
    verdict: str
    exit_code: int
    error: str
    ran: int = 2
    kills: int = 0
    full: bool = False


WAYS = (
    Way("reaches its end", ("print('here')",), "succeeded", 0, "", ran=3),
    Way("a cell raises", ("raise ValueError('no')", _AFTER), "failed", 1, "ValueError"),
    Way(
        "a cell refuses",
        ("from runbook.errors import BadInput\nraise BadInput('not this one')", _AFTER),
        "refused",
        2,
        "BadInput",
    ),
    Way("sys.exit(0)", ("import sys\nsys.exit(0)", _AFTER), "failed", 1, "SystemExit"),
    Way("sys.exit(3)", ("import sys\nsys.exit(3)", _AFTER), "failed", 1, "SystemExit"),
    Way("os._exit(0)", ("import os\nos._exit(0)", _AFTER), "failed", 1, "KernelDied"),
    Way(
        "the kernel is killed, as when memory runs out",
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", _AFTER),
        "failed",
        1,
        "KernelDied",
    ),
    Way(
        "the kernel is killed between an intent and its result",
        (_INTENT, _AFTER),
        "unknown",
        3,
        "KernelDied",
    ),
    Way("a cell takes too long", (_SLEEP, _AFTER), "failed", 1, "CellTimeout"),
    Way(
        "the run takes too long",
        ("import time\ntime.sleep(5)", "time.sleep(5)", "time.sleep(5)", _AFTER),
        "failed",
        1,
        "RunTimeout",
        ran=-1,
    ),
    Way("SIGINT", (_SLEEP, _AFTER), "failed", 1, "Interrupted", kills=signal.SIGINT),
    Way("SIGTERM", (_SLEEP, _AFTER), "failed", 1, "Interrupted", kills=signal.SIGTERM),
    Way("SIGHUP", (_SLEEP, _AFTER), "failed", 1, "Interrupted", kills=signal.SIGHUP),
    Way("SIGKILL of the runner", (_SLEEP, _AFTER), "unknown", 3, "Killed", kills=signal.SIGKILL),
    Way(
        "the disk is full",
        ("print('x' * 1_500_000)", _AFTER),
        "refused",
        2,
        "RecordUnavailable",
        ran=-1,
        full=True,
    ),
)


@dataclass(frozen=True)
class Death:
    """What was said of one way, through one door."""

    way: Way
    through: str
    exit_code: int
    verdict: str
    error: str
    labels: tuple[str, ...]
    wrong: str

    def row(self) -> str:
        said = ", ".join(f"{self.labels.count(each)} {each}" for each in dict.fromkeys(self.labels))
        cells = said or "no notebook"
        wrong = f" **{self.wrong}**" if self.wrong else ""
        return (
            f"| {self.way.name} | {self.through} | {self.verdict} | {self.exit_code} "
            f"| {self.error or '-'} | {cells}{wrong} |"
        )


@dataclass(frozen=True)
class Deaths:
    """All of them."""

    deaths: tuple[Death, ...]

    @property
    def holds(self) -> bool:
        return not any(death.wrong for death in self.deaths)

    def table(self) -> str:
        heads = ("way to die", "through", "verdict", "exit", "error", "what the file says of cells")
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        return "\n".join([*lines, *(death.row() for death in self.deaths)])


def prove(asked: Asked) -> Deaths:
    """`./runbook prove ways-to-die`: every way, through both doors."""
    return Deaths(tuple(die(asked.home, WAYS, ("runbook run", "papermill"))))


def die(home: Path, ways: tuple[Way, ...], doors: tuple[str, ...]) -> list[Death]:
    """Try each of the ways through each of the doors, two at a time."""
    usual = Workshop.make(home / "usual")
    hurried = {
        "CellTimeout": Workshop.make(home / "cells", runs={"cell_timeout_s": 5}),
        "RunTimeout": Workshop.make(home / "run", runs={"timeout_s": 10}),
    }
    attempts = []
    for number, way in enumerate(ways):
        workshop = hurried.get(way.error, usual)
        path = workshop.section(f"way-{number}", *way.cells)
        attempts += [(workshop, path, way, door) for door in doors]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda attempt: _die(*attempt), attempts))


def _die(workshop: Workshop, notebook: Path, way: Way, through: str) -> Death:
    slug = notebook.stem
    state = workshop.folder / f"{slug}-{through[:4]}"
    with _disk(state, small=way.full):
        started = _start(workshop, notebook, through, state)
        if way.kills:
            _kill_when_asleep(workshop, slug, state, started, way.kills)
        try:
            started.communicate(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:  # judged by what it left: it was to end by itself
            started.kill()
            started.communicate()
        if way.kills == signal.SIGKILL:  # nobody is left to seal it: the next command does
            workshop.runbook("runs", state=state).communicate(timeout=_WITHIN_S)
        return _judge(workshop, slug, state, way, through, started.returncode)


def _start(workshop: Workshop, notebook: Path, through: str, state: Path) -> subprocess.Popen[str]:
    if through == "papermill":
        out = workshop.folder / f"{notebook.stem}-out.ipynb"
        return workshop.papermill("--no-progress-bar", str(notebook), str(out), state=state)
    return workshop.runbook("run", notebook.stem, "--json", state=state)


def _kill_when_asleep(
    workshop: Workshop, slug: str, state: Path, runner: subprocess.Popen[str], number: int
) -> None:
    """Send the signal once the section's own cell has begun, the third: two are its parameters.

    An earlier one may be over before anybody looks, and the signal would never be sent.
    """
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline and runner.poll() is None:
        for folder in workshop.run_folders(slug, state):
            notebook = read_json(folder / "notebook.ipynb") or {"cells": []}
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            if (
                len(code) > 2
                and code[2]["metadata"].get("papermill", {}).get("status") == "running"
            ):
                time.sleep(1)  # it is in the cell, and sleeps
                runner.send_signal(number)
                return
        time.sleep(0.05)


def _judge(
    workshop: Workshop, slug: str, state: Path, way: Way, through: str, exit_code: int
) -> Death:
    """Read what was left behind; `wrong` is what does not fit what happened."""
    folders = workshop.run_folders(slug, state)
    about: dict[str, Any] = read_json(folders[0] / "run.json") if folders else {}
    notebook = folders[0] / "notebook.ipynb" if folders else Path()
    said = tuple(labels(notebook)) if notebook.is_file() else ()
    error = (about.get("error") or {}).get("class", "")
    wanted_exit = -signal.SIGKILL if way.kills == signal.SIGKILL else way.exit_code
    wrong = [
        f"{what}: expected {wanted}, found {found}"
        for what, wanted, found in (
            ("runs", 1, len(folders)),
            ("verdict", way.verdict, about.get("verdict")),
            ("exit code on record", way.exit_code, about.get("exit_code")),
            ("exit code", wanted_exit, exit_code),
            ("error", way.error, error),
            ("cells that ran", way.ran if way.ran >= 0 else None, said.count("completed")),
        )
        if wanted is not None and wanted != found
    ]
    verdict = str(about.get("verdict"))
    return Death(way, through, exit_code, verdict, error, said, "; ".join(wrong))


@contextlib.contextmanager
def _disk(state: Path, *, small: bool) -> Iterator[None]:
    """A state folder; a small one is a disk of its own, which only root can make."""
    state.mkdir()
    if not small or os.getuid() != 0:
        yield
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
