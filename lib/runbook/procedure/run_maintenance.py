"""Running a maintenance: maintenance mode, Terraform, the chosen sections in order, smoke tests.

    found = run_maintenance.read(rb.clients, steps="run-migrations, deploy", terraform="")
    found.step_table(), found.plan(), found.findings()

One run does one thing: first maintenance mode, then Terraform's saved plan; each of the other
steps is a section of its own, with its own plan and approval. Run it again after each, or after a
lost session: what is done is read from the load balancer, the state and the record, not remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.procedure.plan_maintenance import window_of
from runbook.record.runs import runs, store_of
from runbook.settings import Maintenance
from runbook.studio import maintenance, smoke
from runbook.studio import terraform as saved_plans
from runbook.studio.maintenance import Mode
from runbook.studio.smoke import Tried
from runbook.studio.terraform import SavedPlan
from runbook.table import Table, section
from runbook.wait import SYSTEM_CLOCK

SLUG, PLANNING, TURNING = "run-maintenance", "plan-maintenance", "maintenance-mode"
_NOT_YET = "not yet"
_ONE_MAINTENANCE = timedelta(hours=12)  # where nothing on record says when it was turned on


@dataclass(frozen=True)
class Step:
    """One step, and how it stands: done, not yet, or what its last run came to."""

    name: str
    state: str

    @property
    def done(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True)
class Running:
    """A maintenance as it stands now."""

    mode: Mode
    terraform: SavedPlan | None
    steps: tuple[Step, ...]
    tried: tuple[Tried, ...]
    minutes: int
    now: datetime
    applied: str = ""  # the SHA-256 of the saved plan that this run has applied

    def plan(self) -> Plan:
        """What comes next of what this section does itself; without changes when that is done.

        Pure. Terraform's plan comes once maintenance mode is on, and only if it was not applied.
        """
        if not self.mode.is_on:
            return self.mode.plan(turn="on", minutes=self.minutes, now=self.now)
        if self.terraform and not self._done("terraform"):
            return self.terraform.plan()
        return Plan("Nothing is left for this section itself", "high", (), "")

    def step_table(self) -> Table:
        """Every step in its order, and what to do for the next one, to be read."""
        import pandas as pd

        coming = self.next_step()
        rows = [
            {
                "step": section(one.name) if one.name not in ("maintenance mode", "terraform")
                else one.name,
                "state": one.state,
                "": "next" if one.name == coming else "",
            }
            for one in self.steps
        ]  # fmt: skip
        return Table(pd.DataFrame(rows))

    def next_step(self) -> str:
        """The first step that is not done; empty when all are."""
        return next((one.name for one in self.steps if not one.done), "")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`: loud while it is on."""
        done, coming = sum(one.done for one in self.steps), self.next_step()
        failed = [one.test.service for one in self.tried if not one.passed]
        status: Status = "warning" if self.mode.ours else "ok"
        if failed:
            status = "critical"
        told = f"{done} of {len(self.steps)} steps are done"
        told += f", next is {coming}" if coming else ""
        smoked = f"smoke tests fail: {', '.join(failed)}" if failed else "smoke tests pass"
        loud = "MAINTENANCE MODE IS ON; " if self.mode.is_on else ""
        return {
            "status": status,
            "says": f"{loud}{told}; {smoked}.",
            "on": self.mode.is_on,
            "steps": {one.name: one.state for one in self.steps},
            "next": coming,
            "smoke_failed": failed,
            "terraform": self.applied,
        }

    def _done(self, name: str) -> bool:
        return any(one.done for one in self.steps if one.name == name)


def read(
    clients: Clients, *, steps: str, terraform: str, minutes: int, applied: Iterable[Change] = ()
) -> Running:
    """The maintenance as it stands; `applied` is what this run has changed.

    Raises BadInput outside of the window, or without notice.
    """
    now, wanted = SYSTEM_CLOCK.now(), clients.environment.maintenance
    known = [about for about in runs(store_of(clients.environment))
             if about["started_at"] >= (now - timedelta(days=15)).isoformat()]  # fmt: skip
    refuse_outside(wanted, now, known)
    mode = maintenance.read(clients)
    since = _turned_on(known) or (now - _ONE_MAINTENANCE).isoformat()
    mine = saved_plans.applied(applied)
    saved = saved_plans.read(clients, terraform) if terraform else None
    names = [one.strip() for one in steps.split(",") if one.strip()]
    listed = [Step("maintenance mode", "done" if mode.is_on else _NOT_YET)]
    if saved:
        of_record = state_of_terraform(saved, known, since)
        listed.append(Step("terraform", "done" if mine == saved.sha256 else of_record))
    listed += [Step(one, state_of(one, known, since) if mode.is_on else _NOT_YET) for one in names]
    return Running(mode, saved, tuple(listed), smoke.run(clients), minutes, now, mine)


def refuse_outside(wanted: Maintenance, now: datetime, known: Iterable[Mapping[str, Any]]) -> None:
    """Raise BadInput unless now is in the window and users have notice of it. Pure."""
    if wanted.any_time:
        return
    begin, end = window_of(wanted.window, now)
    if f"{now:%a}" != wanted.window.day or not begin <= now < end:
        raise BadInput(
            f"Maintenance is for {wanted.window.day} {wanted.window.start}-{wanted.window.end} "
            f"UTC; now it is {now:%a %H:%M}.",
            next="In an incident use maintenance-mode.",
        )
    if not any(_covers(about, now) for about in known):
        raise BadInput(
            "Users have no notice of a maintenance now: no plan-maintenance on record is for it.",
            next="Announce the next window by plan-maintenance.",
        )


def state_of(name: str, known: Iterable[Mapping[str, Any]], since: str) -> str:
    """How a section stands, by its newest run since then that was meant to do something. Pure."""
    for about in known:  # the newest first
        if about["section"] != name or about["started_at"] < since:
            continue
        verdict = about["verdict"]
        if verdict in ("succeeded", "no_change"):
            return "done"
        return f"{verdict}, {about['run_id']}"
    return _NOT_YET


def state_of_terraform(saved: SavedPlan, known: Iterable[Mapping[str, Any]], since: str) -> str:
    """Whether this very file was applied by a run of ours since then. Pure."""
    for about in known:
        applied = (about.get("result") or {}).get("terraform")
        if about["section"] == SLUG and about["started_at"] >= since and applied == saved.sha256:
            return "done"
    return _NOT_YET


def _covers(about: Mapping[str, Any], now: datetime) -> bool:
    """Whether a run is an applied planning of a maintenance that now is part of."""
    result = about.get("result") or {}
    if about["section"] != PLANNING or about["verdict"] != "succeeded" or "start" not in result:
        return False
    start, end = (datetime.fromisoformat(result[name]) for name in ("start", "end"))
    return start <= now.astimezone(UTC) < end + timedelta(hours=2)


def _turned_on(known: Iterable[Mapping[str, Any]]) -> str:
    """When it was turned on last: the first of the runs that changed something and left it on,
    since one saw it off. Who else turned it off leaves no run of ours; who looked then, does."""
    began = ""
    for about in known:  # the newest first
        on = (about.get("result") or {}).get("on")
        if about["section"] not in (SLUG, TURNING) or on is None:
            continue
        if not on:
            break
        if about.get("changes_applied"):
            began = str(about["started_at"])
    return began
