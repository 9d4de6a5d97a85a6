"""The papermill engine `runbook`: the same guarantees through `runbook run` and through papermill.

    papermill --engine runbook notebooks/2-operations/clear-stuck-jobs.ipynb OUT.ipynb -r NAME VALUE

papermill injects the parameters and leaves the rest to us: the record's copy is saved whole after
every cell, cells are labelled by what happened to them, and the verdict comes from the journal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
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

from runbook import settings
from runbook.errors import RunbookError
from runbook.record.runs import Run
from runbook.run import request
from runbook.run.kernel import SectionKernel
from runbook.run.request import Request
from runbook.run.runner import Watch
from runbook.run.sections import source_of
from runbook.run.verdict import Stop, seal

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


class Terminated(BaseException):
    """A signal asked the runner to end."""


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
        execution_timeout=None,
        start_timeout=60,
        **_settings,
    ):
        """Execute, save after every cell, seal. Raises SectionEnded for any verdict but success.

        Without a `run` that was begun (papermill's own command) the request is read from the
        notebook, and refused before a kernel starts when it is not one.
        """
        if run is None:
            try:
                asked, nb = _asked_of(nb, input_path)
                run = asked.begin()
            except RunbookError as error:
                _say(str(error))
                raise SectionEnded(request.refused_before(error)) from None
        manager = _Manager(nb, run, output_path=output_path, progress_bar=progress_bar, watch=watch)
        manager.notebook_start()
        stop = _execute(manager, run, cell_timeout=execution_timeout, start_timeout=start_timeout)
        sealed = seal(run, stop)
        manager.notebook_complete(sealed=sealed)
        if output_path:
            _say(f"{sealed['verdict']}: {run.store.where(run.key('notebook.ipynb'))}")
        if sealed["exit_code"]:
            ended = SectionEnded(sealed)
            if output_path:
                _say(str(ended))
            raise ended
        return manager.nb


class _Manager(NotebookExecutionManager):  # type: ignore[misc]  # papermill has no types
    """Saves into the record after every code cell, with labels that tell the truth."""

    def __init__(self, nb: Any, run: Run, *, watch: Watch, **settings: Any) -> None:
        super().__init__(nb, autosave_cell_every=2, **settings)
        self._run = run
        self._watch = watch
        self._heading = ""
        self.completed: set[int] = set()
        self.stopped_in: int | None = None

    def save(self, **_: Any) -> None:
        """Write the notebook as it stands: to the record, and where papermill was asked to."""
        content = nbformat.writes(self.nb, version=nbformat.NO_CONVERT).encode()
        self._run.store.write(self._run.key("notebook.ipynb"), content)
        if self.output_path:
            path = Path(self.output_path)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(content)
            draft.replace(path)
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
        if cell.metadata.papermill["status"] != self.FAILED:
            self.completed.add(cell_index)
            self.stopped_in = None
        super().cell_complete(cell, cell_index)

    def all_ran(self) -> bool:
        """Whether every code cell ran to its end."""
        code = {n for n, cell in enumerate(self.nb.cells) if cell.cell_type == "code"}
        return code <= self.completed

    def notebook_complete(self, *, sealed: dict[str, Any]) -> None:
        """Label the cells that did not run, say the verdict at the top, save for the last time."""
        end = self.now()
        self.nb.metadata.papermill["end_time"] = end.isoformat()
        self.nb.metadata.papermill["duration"] = (end - self.start_time).total_seconds()
        self.nb.metadata.papermill["exception"] = self.stopped_in is not None
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "code" and index not in self.completed | {self.stopped_in}:
                cell.metadata.papermill["status"] = "not run"
        if self.stopped_in is not None:
            anchor = '<a id="stopped-here"></a>*The run stopped in the cell below.*'
            self.nb.cells.insert(self.stopped_in, _notice(anchor))
        self.nb.cells.insert(0, _notice(_banner(sealed, stopped=self.stopped_in is not None)))
        self.cleanup_pbar()
        self.save()


class _Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """papermill's client, for a kernel that is told to stop gently before it is killed."""

    def papermill_execute_cells(self) -> None:
        """Run the cells; on a signal the kernel gets to a safe point before it is shut down."""
        try:
            super().papermill_execute_cells()
        except (Terminated, KeyboardInterrupt):
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


def _execute(
    manager: _Manager, run: Run, *, cell_timeout: float | None, start_timeout: float
) -> Stop | None:
    """Run the cells; returns why it stopped before the last one, or None."""
    client = _Client(
        manager,
        kernel_name="python3",
        kernel_manager_class=SectionKernel,
        shutdown_kernel="immediate",
        timeout=cell_timeout,
        startup_timeout=start_timeout,
        log=logger,
    )
    try:
        with _signals_as_exceptions():
            client.execute(
                env=_kernel_environment(run),
                cwd=str(settings.checkout() / "notebooks"),
                # what is written past Python would be echoed here, unseen by any check
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    except (Terminated, KeyboardInterrupt) as error:
        return Stop("Interrupted", f"The run was ended by {str(error) or 'SIGINT'}.")
    except DeadKernelError:
        return Stop("KernelDied", "The kernel died: killed, or out of memory.")
    except CellTimeoutError:
        return Stop("CellTimeout", f"A cell ran for more than {cell_timeout} s and was stopped.")
    return None if manager.all_ran() else _error_of(manager)


def _error_of(manager: _Manager) -> Stop:
    """What the cell that stopped says, as far as its output tells."""
    if manager.stopped_in is None:
        return Stop("NotRun", "Cells were left that did not run.")
    for output in manager.nb.cells[manager.stopped_in].get("outputs", ()):
        if output.output_type == "error":
            return Stop(output.ename, output.evalue)
    return Stop(CellExecutionError.__name__, "A cell failed without saying why.")


def _asked_of(nb: Any, input_path: str) -> tuple[Request, Any]:
    """The request that papermill's command line made, and the notebook with typed parameters."""
    given = dict(nb.metadata.get("papermill", {}).get("parameters", {}))
    asked = request.from_papermill(Path(input_path).stem, nb, given)
    injected = {**asked.parameters, "environment": asked.environment.name}
    return asked, parameterize_notebook(nb, injected, engine_name="runbook")


def _kernel_environment(run: Run) -> dict[str, str]:
    return {**os.environ, "RUNBOOK_RUN": run.id, "RUNBOOK_HOME": str(settings.home())}


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP end the run like Ctrl-C does: gently. Only the main thread gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise Terminated(signal.Signals(number).name)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    if stopped:
        lines.append("[Go to the cell where it stopped](#stopped-here)")
    return "\n\n".join(lines)


def _notice(text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text, metadata={"tags": [NOTICE]})


def _heading(source: str) -> str:
    lines = [line.lstrip("# ").strip() for line in source.splitlines() if line.startswith("#")]
    return lines[0] if lines else ""


def _say(text: str) -> None:
    click.echo(text, err=True)
