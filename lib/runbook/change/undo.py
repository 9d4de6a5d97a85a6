"""Undo: the plan that takes back what a run did, as its record tells it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from runbook.change import saved
from runbook.change.kinds import kind_of
from runbook.change.plan import Change, Plan, undo_title
from runbook.change.saved import SavedPlan, rows_of
from runbook.errors import BadInput, Refused
from runbook.record.runs import Run


def plan_undo(run: Run) -> Plan:
    """The plan that undoes an applied run. Reads the record only.

    What it expects to find is what the run left, so that work done since is not touched. A plan
    that was taken on from a run that was cut off is taken back as a whole.
    Raises BadInput (nothing was applied) and Refused (cut off, or it cannot be undone, and why).
    """
    run.read()
    applying = [entry for entry in run.journal.entries() if entry["entry"] == "applying"]
    if not applying:
        raise BadInput(
            f"Run {run.id} applied nothing; there is nothing to undo.",
            next="See what was applied: ./runbook runs",
        )
    planned = saved.find(run.store, applying[-1]["digest"])
    for one in planned.appliers(run):
        if one.journal.unresolved():
            raise Refused(
                f"Run {one.id} was cut off; what it did is not known yet.",
                next="Read the world first: ./runbook reconcile",
            )
    stuck = [change.target for change in planned.plan.changes if not change.reversible]
    if stuck:
        raise Refused(
            f"{planned.plan.title!r} cannot be undone ({', '.join(stuck)}). {planned.plan.way_back}"
        )
    changes = [back for _, back in way_back(run, planned)]
    return replace(
        planned.plan,
        title=undo_title(planned.plan.title),
        changes=tuple(changes),
        undoes=not planned.plan.undoes,
        warnings=(f"Takes back what run {run.id} did, where nothing has changed since.",),
        way_back="Plan the first change again; its section makes it anew.",
        origin=None,
    )


def way_back(run: Run, planned: SavedPlan) -> list[tuple[int, Change]]:
    """What takes a run back, in the order in which it is to be made: last first, but for what
    only carries out the others, which comes last and in its own order."""
    found = list(taken_back(run, planned))
    trailing = [one for one in found if kind_of(one[1]).trails]
    return [one for one in reversed(found) if one not in trailing] + trailing


def taken_back(run: Run, planned: SavedPlan) -> Iterator[tuple[int, Change]]:
    """For each change that was made and not taken back, by a run or by those that it took the plan
    on from: its position and the way back."""
    done = [each for one in planned.appliers(run) for each in one.journal.done()]
    for index, change in enumerate(planned.plan.changes):
        mine = [each for each in done if each[0].change == index]
        taken = [at for at, (intent, _) in enumerate(mine) if intent.detail.get("takes_back")]
        if taken:
            mine = mine[taken[-1] + 1 :]  # a second attempt made it again
        back = kind_of(change).take_back(change, rows_of(planned, change), mine)
        if back is not None:
            yield index, back
