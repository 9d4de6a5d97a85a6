"""Run one section headless: papermill executes it, our engine records and judges it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any

from runbook.errors import RunbookError
from runbook.record.runs import Run
from runbook.run import request
from runbook.run.request import Request
from runbook.run.waiting import KernelInWaiting

Watch = Callable[[str, str], None]  # an event (`run`, `step`) and its text
_SHOWN = (
    "run_id",
    "section",
    "verdict",
    "exit_code",
    "environment",
    "account",
    "operator",
    "started_at",
    "finished_at",
    "parameters",
    "changes_applied",
    "result",
    "incident",
    "error",
)


def run(asked: Request, watch: Watch = lambda event, text: None) -> dict[str, Any]:
    """Execute the request and return what `run --json` prints.

    `watch(event, text)` hears of each step as it begins. Raises RecordUnavailable when the run
    cannot be put on record: then nothing was begun.
    """
    waiting = KernelInWaiting.begin()  # first: the kernel and we load side by side
    try:
        return _executed(asked, watch, waiting)
    finally:
        if waiting:
            waiting.dismiss()


def _executed(asked: Request, watch: Watch, waiting: KernelInWaiting | None) -> dict[str, Any]:
    import papermill

    from runbook.run.engine import SectionEnded

    logging.getLogger("papermill").setLevel(logging.ERROR)
    begun = asked.begin()
    watch("run", begun.id)
    with contextlib.suppress(SectionEnded):  # its verdict is on record
        papermill.execute_notebook(
            asked.section.path,
            None,  # the record has the only copy
            parameters={**asked.parameters, "environment": asked.environment.name},
            engine_name="runbook",
            progress_bar=False,
            run=begun,
            watch=watch,
            waiting=waiting,
        )
    return summary(begun)


def refused(slug: str, error: RunbookError) -> dict[str, Any]:
    """What `run --json` prints for a request that was refused before a run began."""
    empty = dict.fromkeys((*_SHOWN, "notebook", "plan"))
    return {**empty, "section": slug, "changes_applied": 0, **request.refused_before(error)}


def summary(finished: Run) -> dict[str, Any]:
    """A run as `run --json` and `run-show --json` print it."""
    about = finished.read()
    shown = {name: about.get(name) for name in _SHOWN}
    return {
        **shown,
        "notebook": finished.store.where(finished.key("notebook.ipynb")),
        "plan": _plan_of(finished),
    }


def _plan_of(finished: Run) -> dict[str, Any] | None:
    """The plan that a run made, or that it applied: digest, risk and changes."""
    stored = finished.store.read(finished.key("plan.json"))
    return json.loads(stored.data) if stored else None
