"""Finishing a maintenance: everybody in, watched, and back to the page when it degrades.

    found = finish_maintenance.read(rb.clients, watch_minutes=0)
    found.plan()
    found.note(rb.clients)      a line in the product's file of deployments

The watch is the last change of the plan, so that what happens when it goes wrong stands in the plan
that was reviewed: maintenance mode comes back by `on_failure: inverse`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Headline, Status
from runbook.studio import github, maintenance, smoke, watching
from runbook.studio.maintenance import Mode
from runbook.studio.promises import unanswered
from runbook.studio.smoke import Tried
from runbook.wait import SYSTEM_CLOCK


@dataclass(frozen=True)
class Finish:
    """Maintenance mode and the smoke tests as they are; how long it will be watched, in minutes."""

    mode: Mode
    tried: tuple[Tried, ...]
    watch_minutes: float
    now: datetime

    def plan(self) -> Plan:
        """The plan that ends maintenance mode and watches; without changes when it is off. Pure.

        Raises BadInput while smoke tests fail: nobody is let into what does not work.
        """
        if not self.mode.ours:
            return Plan("Maintenance mode is off", "low", (), "")
        failed = [one.test.service for one in self.tried if not one.passed]
        if failed:
            raise BadInput(
                f"Smoke tests fail: {', '.join(failed)}. Nobody is let into what does not work.",
                next="Mend it, or go back (roll-back); maintenance mode stays on.",
            )
        off = self.mode.plan_off()
        return replace(
            off,
            title=f"Maintenance mode off, then watched for {self.watch_minutes:g} minutes",
            risk="low",
            changes=(*off.changes, watching.change_of(self.watch_minutes)),
            way_back="undo makes the rules again: everybody gets the page; so does this plan by "
            "itself when it degrades.",
            warnings=(
                "If it is bad at two looks in a row, everybody gets the page again at once.",
            ),
            on_failure="inverse",
        )

    def note(self, clients: Clients) -> Headline:
        """Put a line into the product's file of deployments; says so where that does not work."""
        line = f"- {self.now:%Y-%m-%d %H:%M} UTC maintenance finished (runbook {clients.run_id})"
        try:
            github.note(clients, line, mark=f"runbook {clients.run_id}")
        except unanswered() as error:
            return Headline("warning", f"Not noted: {error} Add by hand: {line}")
        return Headline("ok", "The file of deployments tells of it.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`: loud while it is on."""
        found = self.mode.findings()
        failed = [one.test.service for one in self.tried if not one.passed]
        status: Status = "critical" if failed else found["status"]
        told = f" Smoke tests fail: {', '.join(failed)}." if failed else " Smoke tests pass."
        return {**found, "status": status, "says": found["says"] + told, "smoke_failed": failed}


def read(clients: Clients, *, watch_minutes: float) -> Finish:
    """Maintenance mode and the smoke tests; `watch_minutes` 0: as the environment says."""
    return Finish(
        maintenance.read(clients),
        smoke.run(clients),
        watch_minutes or clients.environment.maintenance.watch_minutes,
        SYSTEM_CLOCK.now(),
    )
