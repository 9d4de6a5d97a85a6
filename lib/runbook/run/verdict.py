"""The verdict of a run: from which cells ran, the journal and the verification; never from labels.

every cell ran          applied, verified → succeeded     already so → no_change
                        a plan was made → planned         neither → succeeded (it only looked)
stopped or cut off      an intent without a result → unknown
                        refused before anything was changed → refused
                        anything else → failed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
FINDINGS_EXIT = 4  # --fail-on: the section succeeded and what it found is bad


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its last cell: an error's class and message, and the way on."""

    error: str
    message: str
    next: str = ""
    refused: bool = False

    def as_json(self) -> dict[str, str]:
        return {"class": self.error, "message": self.message, "next": self.next}


def seal(run: Run, stop: Stop | None, *, clock: Clock = SYSTEM_CLOCK) -> dict[str, Any]:
    """Give the run its verdict and close it; returns its `run.json`.

    `stop` is None when every cell ran.
    """
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
    run.ended()
    return run.read()


def seal_cut_off(store: Store) -> list[dict[str, Any]]:
    """Seal every run whose processes are gone, as nobody else can any more; returns them.

    A headless run that was killed outright is `unknown`. A closed notebook is what its journal
    says: its cells were run one by one.
    """
    sealed = []
    for run in running(store):
        about = run.read()
        if any(is_alive(about[name], about["host"]) for name in ("runner", "process")):
            continue
        if about["mode"] == "headless":
            stop = Stop("Killed", "The run was killed before it could end.")
            run.journal.write("killed", found_by="the next command")
            sealed.append(seal(run, stop))
        else:
            sealed.append(seal(run, None))
    return sealed


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
