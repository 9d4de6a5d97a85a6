"""The verdict of a run: from which cells ran, the journal and the verification; never from labels.

every cell ran          applied, verified → succeeded     already so → no_change
                        a plan was made → planned         neither → succeeded (it only looked)
stopped or cut off      an intent without a result → unknown
                        refused before anything was changed → refused
                        anything else → failed
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from runbook.errors import BadInput, RecordUnavailable
from runbook.record import ledger
from runbook.record.runs import Run, is_alive, running
from runbook.record.store import Store
from runbook.wait import SYSTEM_CLOCK, Clock

EXIT_CODES = {
    "succeeded": 0,
    "planned": 0,
    "no_change": 0,
    "failed": 1,
    "refused": 2,
    "unknown": 3,
}
_LOG = logging.getLogger(__name__)
_BEGUN_WITHIN = timedelta(minutes=10)  # from its mark on the list to its run.json
FINDINGS_EXIT = 4  # --fail-on: the section succeeded and what it found is bad


def exit_code_for(ended: Mapping[str, Any], fail_on: str) -> int:
    """The exit code of a run that has ended, with what it found weighed by `--fail-on`."""
    code: int = ended["exit_code"]
    bad = {"warning": ("warning", "critical"), "critical": ("critical",)}.get(fail_on, ())
    found_bad = (ended["result"] or {}).get("status") in bad
    return FINDINGS_EXIT if code == 0 and found_bad else code


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its last cell: an error's class and message, and the way on."""

    error: str
    message: str
    next: str = ""
    refused: bool = False

    def as_json(self) -> dict[str, str]:
        return {"class": self.error, "message": self.message, "next": self.next}


def seal(
    run: Run,
    stop: Stop | None,
    *,
    finish: Callable[[dict[str, Any]], None] = lambda about: None,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Any]:
    """Give the run its verdict, chain it and close it; returns its `run.json`.

    `stop` is None when every cell ran. `finish` writes what is still to be written into the run's
    folder once the verdict is known: nobody does afterwards.
    """
    if (about := run.read())["verdict"] != "running":  # sealed already, or as far as its verdict
        _close(run, clock)
        return about
    stop = _noted(run) or stop if stop else None
    verdict = _verdict(run, stop)
    if stop and verdict == "unknown":
        stop = Stop(stop.error, stop.message, "Read the world first: ./runbook reconcile")
    run.update(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        finished_at=clock.now().isoformat(),
        changes_applied=_changes_applied(run),
        error=stop.as_json() if stop else None,
    )
    finish(run.read())
    _close(run, clock)
    return run.read()


def seal_cut_off(store: Store) -> list[dict[str, Any]]:
    """Seal every run whose processes are gone, as nobody else can any more; returns them.

    A headless run that was killed outright is `unknown`. A closed notebook is what its journal
    says: its cells were run one by one.
    """
    sealed = []
    for run in running(store):
        try:
            about = run.read()
        except BadInput:  # it is just being begun, or whoever began it got no further than this
            _forget_if_old(run)
            continue
        at_work = any(is_alive(about[name], about["host"]) for name in ("runner", "process"))
        if about["verdict"] != "running":
            if not at_work or ledger.is_chained(run):  # cut off in sealing, or in adding a line
                _close(run, SYSTEM_CLOCK)
        elif not at_work and run.take(about):  # else somebody at work, or another who seals it
            sealed.append(_seal_killed(run, about["mode"]))
    return sealed


def _seal_killed(run: Run, mode: str) -> dict[str, Any]:
    if mode != "headless":
        return seal(run, None)
    run.journal.write("killed", found_by="the next command")
    return seal(run, Stop("Killed", "The run was killed before it could end."))


def _close(run: Run, clock: Clock) -> None:
    """Chain the run and take it off the list; where that cannot be done the next command does."""
    try:
        ledger.chain(run, clock=clock)
        run.ended()
    except RecordUnavailable as error:
        _LOG.warning("Run %s is not in the ledger yet: %s", run.id, error)


def _forget_if_old(run: Run) -> None:
    if SYSTEM_CLOCK.now() - run.began() > _BEGUN_WITHIN:
        run.ended()


def _verdict(run: Run, stop: Stop | None) -> str:
    entries = {entry["entry"]: entry for entry in run.journal.entries()}
    if run.journal.unresolved() or "killed" in entries:
        return "unknown"
    if stop:
        touched = "intent" in entries
        return "refused" if stop.refused and not touched else "failed"
    if "applied" in entries:
        return "succeeded" if entries["applied"]["changes"] else "no_change"
    if "plan" in entries:
        return "planned"
    return "no_change" if "nothing_to_do" in entries else "succeeded"


def _noted(run: Run) -> Stop | None:
    """The error that the kernel put on record itself, with all that it knows of it."""
    noted: Mapping[str, Any] | None = None
    for entry in run.journal.entries():
        if entry["entry"] == "stopped":
            noted = entry
    if noted is None:
        return None
    return Stop(noted["class"], noted["message"], noted["next"], noted["refused"])


def _changes_applied(run: Run) -> int:
    """Changes of the plan that were made, and not taken back."""
    stands: dict[int, bool] = {}  # by position in the plan, as the last word on it was
    for intent, _ in run.journal.done():
        stands[intent.change] = not intent.detail.get("takes_back")
    return sum(stands.values())
