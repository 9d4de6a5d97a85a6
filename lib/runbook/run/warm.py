"""Sections run warm: each in a process forked from one that has its libraries in memory.

    warm.section("check-health", environment="sandbox")     what `run --json` prints
    warm.command("runs", "--json")                          any command of ours, as a shell would
    process = warm.begin(target, *arguments)                any function of a module
    warm.ended(process)                                     its exit code

What is begun cold spends more than two seconds of processor time on loading what every other run
loads too. Here that is done once, by multiprocessing's fork server, which ends with this process.
Each run is a process of its own all the same: one that dies takes nobody along.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from runbook.run.runner import Watch

_starting = threading.Lock()  # multiprocessing looks after its children in one thread at a time


def section(
    slug: str,
    *,
    environment: str,
    typed: Mapping[str, str] = {},
    given: Mapping[str, Any] = {},
    incident: str = "",
    watch: Watch = lambda event, text: None,
) -> dict[str, Any]:
    """Run a section headless and give what `run --json` prints; `watch` hears of each step.

    Parameters are texts as a person types them (`typed`), or values (`given`). A run that ended
    without a word is `unknown`, with what its process complained of last. Safe between threads.
    """
    heard, says = multiprocessing.Pipe(duplex=False)
    with tempfile.NamedTemporaryFile(prefix="runbook-run-") as complaints:
        asked = {
            "typed": dict(typed),
            "given": dict(given),
            "environment": environment,
            "incident": incident,
        }
        process = begin(_section, says, complaints.name, slug, asked)
        says.close()
        try:
            return _told(heard, watch) or _unknown(slug, _text(Path(complaints.name)))
        finally:
            ended(process)
            heard.close()


def command(
    *arguments: str,
    variables: Mapping[str, str] = {},
    given: str = "",
    within_s: float | None = None,
) -> CompletedProcess[str]:
    """Run a command of ours: its exit code, and what it printed.

    `variables` are set for it besides our own, `given` is its standard input. Raises
    subprocess.TimeoutExpired; it is killed then. Safe between threads.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-command-") as place:
        files = [Path(place, name) for name in ("stdin", "stdout", "stderr")]
        for file, text in zip(files, (given, "", ""), strict=True):
            file.write_text(text, encoding="utf-8")
        process = begin(_command, arguments, dict(variables), [str(file) for file in files])
        code = ended(process, within_s=within_s)
        if code is None:
            process.kill()
            ended(process)
        out, err = map(_text, files[1:])
        if code is None:
            raise TimeoutExpired(arguments, within_s or 0.0, output=out, stderr=err)
        return CompletedProcess(arguments, code, out, err)


def begin(target: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Begin a function, in this process's folder and with its variables. Safe between threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runbook.run.loaded"])
    variables, folder = dict(os.environ), str(Path.cwd())
    with _starting:
        process = context.Process(target=_begun, args=(variables, folder, target, arguments))
        process.start()
    return process


def ended(process: BaseProcess, *, within_s: float | None = None) -> int | None:
    """Wait for a process that was begun; its exit code, or None: it goes on after that time."""
    if not connection.wait([process.sentinel], within_s):
        return None
    with _starting:
        process.join()
    return process.exitcode


def _begun(
    variables: Mapping[str, str], folder: str, target: Callable[..., object], arguments: Any
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    target(*arguments)


def _command(arguments: Sequence[str], variables: Mapping[str, str], files: Sequence[str]) -> None:
    """In the forked process: be the command."""
    os.environ.update(variables)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  it lives as long as we do
    sys.argv = ["runbook", *arguments]
    importlib.import_module("runbook.cli").main()  # by its name: the command line stands above


def _section(says: Connection, complaints: str, slug: str, asked: Mapping[str, Any]) -> None:
    """In the forked process: make the request and run it."""
    from runbook.errors import RunbookError
    from runbook.run import request, runner

    file = os.open(complaints, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 2)
    os.close(file)
    try:
        told = runner.run(request.make(slug, **asked), lambda *step: says.send(step))
    except RunbookError as error:
        told = runner.refused(slug, error)
    says.send(told)


def _told(heard: Connection, watch: Watch) -> dict[str, Any] | None:
    """What a run came to, its steps on the way; None where it ended without saying so."""
    try:
        while not isinstance(said := heard.recv(), dict):
            watch(*said)
        return said
    except EOFError:
        return None


def _unknown(slug: str, complained: str) -> dict[str, Any]:
    from runbook.errors import Unknown
    from runbook.run import runner

    last = (complained.strip().splitlines() or ["it ended without a word"])[-1]
    return runner.refused(slug, Unknown(last, next="Read the world: ./runbook reconcile"))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
