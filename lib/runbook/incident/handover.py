"""The handover of an incident: what whoever comes next has to know, on one page.

found = handover.read(room)
found.text()        state, clocks, done, remaining, locks held, approvals pending
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook.change.lock import leases
from runbook.change.saved import waiting
from runbook.incident.alarm import command
from runbook.incident.room import Room
from runbook.incident.state import State
from runbook.run import request


@dataclass(frozen=True)
class Handover:
    """An incident for the next one on call. Everything in it is of now."""

    state: State
    done: tuple[str, ...]
    remaining: tuple[str, ...]
    locks: tuple[str, ...]
    approvals: tuple[str, ...]
    notes: tuple[str, ...]  # the last ones, oldest first

    def as_json(self) -> dict[str, Any]:
        return {
            "incident": self.state.incident.id,
            "title": self.state.incident.title,
            "severity": self.state.severity,
            "status": self.state.status,
            "roles": dict(self.state.roles),
            "clocks": self.state.clock_table().records(),
            "done": list(self.done),
            "remaining": list(self.remaining),
            "locks": list(self.locks),
            "approvals": list(self.approvals),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """To be read, or pasted to where the next one reads it."""
        state = self.state
        roles = ", ".join(f"{person} ({role})" for role, person in state.roles.items())
        clocks = [
            f"{one.name}: {f'{one.done:%H:%M} UTC' if one.done else 'open'}, {one.says(state.now)}"
            for one in state.steps
        ]
        parts = (
            ("Clocks", clocks),
            ("Done", self.done),
            ("Remaining", self.remaining),
            ("Locks held", self.locks),
            ("Approvals pending", self.approvals),
            ("Last notes", self.notes),
        )
        head = f"{state.incident.id}  {state.severity}  {state.status}  {state.incident.title}"
        return "\n\n".join([f"{head}\nPeople: {roles or 'no roles taken'}", *map(_part, parts)])


def read(room: Room) -> Handover:
    """Look at the record: reads only."""
    state = room.state()
    return Handover(
        state,
        done=tuple(_done(state)),
        remaining=tuple(_remaining(room, state)),
        locks=tuple(
            f"{one.target}: {one.holder}, at '{one.step}', until {one.expires_at[11:16]} UTC"
            f"{' (abandoned)' if one.abandoned else ''} ({one.run})"
            for one in leases(room.store)
        ),
        approvals=tuple(_approvals(room, state)),
        notes=tuple(
            f"{one.at:%H:%M} UTC {one.by}: {one.text}"
            for one in [each for each in room.events() if each.kind == "note"][-5:]
        ),
    )


def _done(state: State) -> list[str]:
    return [
        f"{run['section']} by {run['operator']}: {run['verdict']}, "
        f"{run['changes_applied']} changes; back: ./runbook undo {run['run_id']}"
        for run in state.applied
    ]


def _remaining(room: Room, state: State) -> list[str]:
    """Steps that are not done, suspects that nothing was done about, actions, runs cut off."""
    steps = [f"{one.name}: {one.says(state.now)}" for one in state.steps if not one.done]
    runs = room.runs()
    cut = [f"{one['run_id']} ended {one['verdict']}: ./runbook reconcile"
           for one in runs if one["verdict"] == "unknown"]  # fmt: skip
    done = {one["section"] for one in state.applied}
    suspects = [
        f"suspect: {each['cause']} ({each['confidence']}): {command(each['mend'])}"
        for each in _suspects(runs)
        if each.get("mend") and each["mend"]["section"] not in done
    ]
    return [*steps, *cut, *suspects, *(one.text for one in state.actions if one.open)]


def _suspects(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that the last assessment named."""
    for about in reversed(runs):
        if about["section"] == "assess" and about["result"]:
            return list(about["result"].get("suspects", ()))[:3]
    return []


def _approvals(room: Room, state: State) -> list[str]:
    """Plans that wait, with who has approved them."""
    environment = room.clients.environment
    found = []
    for saved in waiting(room.store, state.now):
        section = saved.plan.origin.section if saved.plan.origin else ""
        by = ", ".join(one["name"] for one in saved.approvals(state.now))
        missing = saved.plan.risk in environment.approval.risks and not by
        way_on = (
            f"./runbook approve {saved.plan.short}" if missing
            else request.command(section, saved.digest, environment.name)
        )  # fmt: skip
        told = f"approved by {by}" if by else "not approved" if missing else "needs no approval"
        found.append(f"{saved.plan.title} ({told}): {way_on}")
    return found


def _part(part: tuple[str, Sequence[str]]) -> str:
    title, lines = part
    return "\n".join([title, *(f"  - {line}" for line in lines or ("none",))])
