"""The papermill engine `runbook`: the same guarantees through `runbook run` and through papermill.

    papermill --engine runbook notebooks/2-operations/clear-stuck-jobs.ipynb OUT.ipynb -r NAME VALUE

papermill injects the parameters and leaves the rest to us: the record's copy is saved whole after
every cell, masked and past the gate, cells are labelled by what happened to them, and the verdict
comes from the journal.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import nbformat
from jupyter_client import BlockingKernelClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager
from papermill.exceptions import PapermillException
from papermill.log import logger
from papermill.parameterize import parameterize_notebook

from runbook import errors, settings
from runbook.errors import RecordUnavailable, Refused, RunbookError
from runbook.record import redaction
from runbook.record.runs import Run
from runbook.run import request
from runbook.run.confided import Confided
from runbook.run.executed import ExecutedCopy, joined
from runbook.run.kernel import SectionKernel
from runbook.run.request import Request
from runbook.run.runner import Watch
from runbook.run.sections import source_of
from runbook.run.verdict import Stop, seal
from runbook.run.waiting import KernelInWaiting

NOTICE = "runbook-verdict"  # the tag of the cells that we add
_PATIENCE_S = 10.0  # for the kernel to reach a safe point after a signal


class SectionEnded(PapermillException, click.exceptions.Exit):  # type: ignore[misc]
    """The run ended without success; papermill's command exits with the verdict's code."""

    def __init__(self, sealed: dict[str, Any]) -> None:
        click.exceptions.Exit.__init__(self, sealed["exit_code"])
        self.sealed = sealed

    def __str__(self) -> str:
        error = self.sealed["error"] or {}
        told = f"{error.get('message', '')} {error.get('next', '')}"
        return f"{self.sealed['verdict']}: {told}".strip()


class Terminated(KeyboardInterrupt):
    """A signal asked the runner to end.

    Of all exceptions asyncio lets only this kind through: any other that is raised while one of
    its tasks runs is kept there, and the runner would go on waiting for a cell.
    """


class RunbookEngine(Engine):  # type: ignore[misc]
    """Executes one section and seals its run."""

    @classmethod
    def execute_notebook(  # type: ignore[no-untyped-def]  # papermill's own signature
        cls,
        nb,
        kernel_name,
        output_path=None,
        progress_bar=True,
        *,
        input_path="",
        run: Run | None = None,
        watch: Watch = lambda event, text: None,
        waiting: KernelInWaiting | None = None,
        execution_timeout=None,
        start_timeout=60,
        **_settings,
    ):
        """Execute, save after every cell, seal. Raises SectionEnded for any verdict but success.

        Without a `run` that was begun (papermill's own command) the request is read from the
        notebook, and refused before a kernel starts when it is not one.
        """
        asked = None
        if run is None:
            try:
                asked, nb = _asked_of(nb, input_path)
                run = asked.begin()
            except RunbookError as error:
                _say(str(error))
                raise SectionEnded(request.refused_before(error)) from None
        limits = asked.environment.runs if asked else settings.load(run.read()["environment"]).runs
        cell_s = min(execution_timeout or limits.cell_timeout_s, limits.cell_timeout_s)
        deadline = _Deadline(cell_s, limits.timeout_s)
        signals = _Signals()
        manager = _Manager(nb, run, output_path=output_path, progress_bar=progress_bar, watch=watch)
        stop = _execute(manager, run, deadline, signals, waiting, start_timeout=start_timeout)
        with signals.held_off():
            sealed = seal(run, stop, finish=manager.finish)
        if output_path:
            _say(f"{sealed['verdict']}: {run.store.where(run.key('notebook.ipynb'))}")
        if sealed["exit_code"]:
            ended = SectionEnded(sealed)
            if output_path:
                _say(str(ended))
            raise ended
        return manager.seen


class _Manager(NotebookExecutionManager):  # type: ignore[misc]  # papermill has no types
    """Saves into the record after every code cell, with labels that tell the truth."""

    def __init__(self, nb: Any, run: Run, *, watch: Watch, **settings: Any) -> None:
        super().__init__(nb, autosave_cell_every=2, **settings)
        self._run = run
        self._watch = watch
        self._heading = ""
        self._copy = ExecutedCopy(is_known=lambda: self.kernel is None or self.kernel.begun)
        self.kernel: Confided | None = None  # until there is one nothing can have been shown
        self.seen = nb
        self.completed: set[int] = set()
        self.stopped_in: int | None = None

    def save(self, **_: Any) -> None:
        """Write the notebook as it may be seen: to the record, and where papermill was asked to."""
        self.seen = self._copy.of(self.nb)
        content = nbformat.writes(self.seen, version=nbformat.NO_CONVERT).encode()
        self._run.store.write(self._run.key("notebook.ipynb"), content)
        if self.output_path:
            _write_out(Path(self.output_path), content)
        self.last_save_time = self.now()

    def cell_start(self, cell: Any, cell_index: int, **_: Any) -> None:
        """Prose is not run and not saved for; a code cell is, and its heading is announced."""
        if cell.cell_type != "code":
            self._heading = _heading(source_of(cell)) or self._heading
            return
        if self._heading:
            self._watch("step", self._heading)
            self._heading = ""
        self.stopped_in = cell_index
        super().cell_start(cell, cell_index)

    def cell_complete(self, cell: Any, cell_index: int, **_: Any) -> None:
        """Called in a `finally`: a cell is complete only when nothing is on its way out."""
        if cell.cell_type != "code":
            cell.metadata.papermill["status"] = self.COMPLETED
            return
        if sys.exc_info()[0] is not None:
            self.cell_exception(cell, cell_index)
        cell.outputs = joined(cell.outputs)
        if cell.metadata.papermill["status"] != self.FAILED:
            self.completed.add(cell_index)
            self.stopped_in = None
        super().cell_complete(cell, cell_index)

    def all_ran(self) -> bool:
        """Whether every code cell ran to its end."""
        code = {n for n, cell in enumerate(self.nb.cells) if cell.cell_type == "code"}
        return code <= self.completed

    def finish(self, about: dict[str, Any]) -> None:
        """The last save; where it cannot be made the one before it stands, and that is said."""
        try:
            self.notebook_complete(about=about)
        except RecordUnavailable as error:
            self._run.update(notebook_incomplete=error.message)

    def notebook_complete(self, *, about: dict[str, Any]) -> None:
        """Label the cells that did not run, say the verdict at the top, save for the last time."""
        end = self.now()
        self.nb.metadata.papermill["end_time"] = end.isoformat()
        self.nb.metadata.papermill["duration"] = (end - self.start_time).total_seconds()
        self.nb.metadata.papermill["exception"] = self.stopped_in is not None
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "code" and index not in self.completed | {self.stopped_in}:
                cell.metadata.papermill["status"] = "not run"
        stopped = self.stopped_in is not None
        if self.stopped_in is not None:
            anchor = '<a id="stopped-here"></a>*The run stopped in the cell below.*'
            self.nb.cells.insert(self.stopped_in, _notice(anchor))
        self.nb.cells.insert(0, _notice(_banner(about, stopped=stopped)))
        self.cleanup_pbar()
        self.save()
        if self._copy.withheld:
            self._run.update(withheld=self._copy.withheld)
            self.nb.cells[0] = _notice(_banner(self._run.read(), stopped=stopped))
            self.save()


class _Signals:
    """SIGINT, SIGTERM and SIGHUP end the run, gently: as an exception, and as often as it takes.

    An exception that is raised while a finalizer runs is dropped by Python, and with it the
    signal. So the signal is noted too, and `heed` raises for it at every cell and every second.
    Only the main thread gets signals.
    """

    _ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = ""  # the signal's name

    def heed(self) -> None:
        """Raises Terminated: a signal has come, and the run goes on all the same."""
        if self.asked:
            raise Terminated(self.asked)

    @contextlib.contextmanager
    def as_exceptions(self) -> Iterator[None]:
        """Take them for as long as cells run."""
        with self._handled_by(self._end):
            yield

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """Let none of them cut short what takes a moment: the run is being sealed."""
        with self._handled_by(signal.SIG_IGN):
            yield

    def _end(self, number: int, _frame: object) -> None:
        self.asked = signal.Signals(number).name
        raise Terminated(self.asked)

    @contextlib.contextmanager
    def _handled_by(self, handler: Any) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handler) for number in self._ALL}
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)


class _Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """papermill's client, for a kernel that is told to stop gently before it is killed."""

    def __init__(self, manager: _Manager, *, signals: _Signals, **settings: Any) -> None:
        super().__init__(manager, on_cell_start=lambda **_: signals.heed(), **settings)
        self._signals = signals

    async def _async_check_alive(self) -> None:
        """Called every second while a cell runs."""
        self._signals.heed()
        await super()._async_check_alive()

    def papermill_execute_cells(self) -> None:
        """Run the cells; on a signal, or when time is up, the kernel gets to a safe point first."""
        try:
            super().papermill_execute_cells()
        except (KeyboardInterrupt, CellTimeoutError):
            self._stop_gently()
            raise

    def _stop_gently(self) -> None:
        """Interrupt the cell and wait for the kernel to be idle: it settles its intents first."""
        client = BlockingKernelClient(connection_file=self.km.connection_file)
        with contextlib.suppress(OSError, RuntimeError):  # one that is gone has stopped already
            os.kill(self.km.provisioner.pid, signal.SIGINT)
            client.load_connection_file()
            client.start_channels()
            client.wait_for_ready(timeout=_PATIENCE_S)
        client.stop_channels()


@dataclass
class _Deadline:
    """How long a cell may run, and how long the run. Seconds."""

    cell_s: float
    run_s: float
    began: float = field(default_factory=time.monotonic)

    def left_for(self, _cell: Any) -> int:
        """Whole seconds for the next cell, at least one: the client counts in these."""
        return max(1, math.ceil(min(self.cell_s, self._left())))

    def passed(self) -> Stop:
        """Which of the two it was."""
        if self._left() <= 0:
            return Stop("RunTimeout", f"The run took more than {self.run_s:g} s and was stopped.")
        return Stop("CellTimeout", f"A cell ran for more than {self.cell_s:g} s and was stopped.")

    def _left(self) -> float:
        return self.began + self.run_s - time.monotonic()


def _execute(
    manager: _Manager,
    run: Run,
    deadline: _Deadline,
    signals: _Signals,
    waiting: KernelInWaiting | None,
    *,
    start_timeout: float,
) -> Stop | None:
    """Run the cells; returns why it stopped before the last one, or None."""
    client = _Client(
        manager,
        signals=signals,
        kernel_name="python3",
        kernel_manager_class=SectionKernel,
        shutdown_kernel="immediate",
        timeout_func=deadline.left_for,
        startup_timeout=start_timeout,
        log=logger,
    )
    kernel = client.create_kernel_manager()
    kernel.waiting = waiting
    manager.kernel = kernel.confided
    try:
        with signals.as_exceptions():
            manager.notebook_start()
            client.execute(
                env=_kernel_environment(run),
                cwd=str(settings.checkout() / "notebooks"),
                # what is written past Python would be echoed here, unseen by any check
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    except KeyboardInterrupt as error:
        return Stop("Interrupted", f"The run was ended by {error}.")
    except DeadKernelError:
        return Stop("KernelDied", "The kernel died: killed, or out of memory.")
    except CellTimeoutError:
        return deadline.passed()
    except RunbookError as error:  # the record cannot be written any more
        return _stop_of(type(error).__name__, error.message, error.next)
    except Exception as error:  # whatever went wrong in the runner: the run gets its verdict
        traceback.print_exc()
        return Stop(type(error).__name__, redaction.mask(f"The runner failed: {error}"))
    return None if manager.all_ran() else _error_of(manager)


def _error_of(manager: _Manager) -> Stop:
    """What the cell that stopped says, as far as its output tells."""
    if manager.stopped_in is None:
        return Stop("NotRun", "Cells were left that did not run.")
    for output in manager.nb.cells[manager.stopped_in].get("outputs", ()):
        if output.output_type == "error":
            return _stop_of(output.ename, redaction.mask(output.evalue))
    return Stop(CellExecutionError.__name__, "A cell failed without saying why.")


def _stop_of(name: str, message: str, way_on: str = "") -> Stop:
    if name == "SystemExit":
        message = f"A cell ended the kernel's program (sys.exit: {message or 'no code'})."
    known = getattr(errors, name, None)
    refused = isinstance(known, type) and issubclass(known, Refused)
    return Stop(name, message, way_on, refused)


def _asked_of(nb: Any, input_path: str) -> tuple[Request, Any]:
    """The request that papermill's command line made, and the notebook with typed parameters."""
    given = dict(nb.metadata.get("papermill", {}).get("parameters", {}))
    asked = request.from_papermill(Path(input_path).stem, nb, given)
    injected = {**asked.parameters, "environment": asked.environment.name}
    return asked, parameterize_notebook(nb, injected, engine_name="runbook")


def _kernel_environment(run: Run) -> dict[str, str]:
    return {**os.environ, "RUNBOOK_RUN": run.id, "RUNBOOK_HOME": str(settings.home())}


def _banner(sealed: dict[str, Any], *, stopped: bool) -> str:
    """What a reviewer reads first."""
    lines = [
        f"**{sealed['verdict'].replace('_', ' ').upper()}** · {sealed['section']} · "
        f"{sealed['environment']} · {sealed['started_at'][:19]} UTC · run `{sealed['run_id']}`"
    ]
    if sealed["break_glass"]:
        lines.append(
            f"**GLASS BROKEN**, past approval, freezes and windows: {sealed['break_glass']}"
        )
    if sealed["error"]:
        error = sealed["error"]
        way_on = f" **{error['next']}**" if error["next"] else ""
        lines.append(f"{error['class']}: {error['message']}{way_on}")
    for held in sealed.get("withheld") or ():
        lines.append(f"**WITHHELD**, cell {held['cell']}: {held['reason']}.")
    if stopped:
        lines.append("[Go to the cell where it stopped](#stopped-here)")
    return "\n\n".join(lines)


def _notice(text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text, metadata={"tags": [NOTICE]})


def _heading(source: str) -> str:
    lines = [line.lstrip("# ").strip() for line in source.splitlines() if line.startswith("#")]
    return lines[0] if lines else ""


def _write_out(path: Path, content: bytes) -> None:
    """The copy that papermill was asked for; the evidence is the record's."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        _say(f"{path} is not written ({error.strerror}); the record has the executed copy.")


def _say(text: str) -> None:
    click.echo(redaction.mask(text), err=True)
