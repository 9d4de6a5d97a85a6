"""Watching the Studio for a while, as a change of its own: what follows depends on its end.

Each look is a step: endpoints, targets, tasks, promises, and the smoke tests. What is bad at two
looks in a row has degraded: the change fails, and a plan with `on_failure: inverse` takes back what
was made before it. Nothing in the Studio is changed by looking, so undo has nothing to take back,
and a run that was cut off watches from the beginning.

Kind of change: `studio-watch`; target `studio:watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.studio import health, smoke
from runbook.wait import SYSTEM_CLOCK, Clock

KIND, TARGET = "studio-watch", "studio:watch"
LOOKS = 12  # in the whole time
_BAD = 2  # looks in a row
Look = Callable[[], str]  # what is bad, in a sentence; empty when all is well


def change_of(minutes: float) -> Change:
    """The change that watches for so many minutes, times the environment's `waits.factor`. Pure.

    Raises BadInput for no time at all.
    """
    if minutes <= 0:
        raise BadInput(f"watch_minutes: expected more than 0, found {minutes:g}.")
    looks = [{"key": str(n + 1), "before": None, "after": None} for n in range(LOOKS)]
    return Change(
        KIND,
        TARGET,
        before={"watched_minutes": 0, "rows": LOOKS},
        after={"watched_minutes": minutes, "rows": LOOKS},
        rows=RowSet.of({"minutes": minutes}, looks),
    )


def look(clients: Clients) -> str:
    """What is bad now, in a sentence; empty when nothing is critical."""
    failed = [one.test.service for one in smoke.run(clients) if not one.passed]
    if failed:
        return f"smoke tests fail: {', '.join(failed)}"
    found = health.read(clients).findings()
    return str(found["says"]) if found["status"] == "critical" else ""


def watch(
    looks: Look, rows: Rows, steps: Steps, *, pause_s: float, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Look once for each row. Raises Failed when it is bad twice in a row, or at the last look."""
    bad = 0
    for n, row in enumerate(rows):
        with steps.step({"look": row["key"]}) as step:
            clock.sleep(pause_s)
            says = looks()
            step.left["says"] = says
        bad = bad + 1 if says else 0
        steps.progress(n + 1, LOOKS)
        if bad >= _BAD or (says and n + 1 == LOOKS):
            raise Failed(
                f"It degrades: {says}",
                next="See what it is: assess. What the plan takes back by itself is taken back.",
            )


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    minutes = rows.header["minutes"]
    pause_s = 60 * minutes * clients.environment.waits.factor / LOOKS
    watch(lambda: look(clients), rows, steps, pause_s=pause_s)
    return {"watched_minutes": minutes, "rows": LOOKS}


register(
    KIND,
    read=lambda clients, target: {},
    apply_pieces=_apply,
    judge=lambda clients, change, rows: Judgement("to do"),
    settled=lambda clients, change, intent: True,  # a look that was cut off changed nothing
    take_back=lambda change, rows, done: None,
)
