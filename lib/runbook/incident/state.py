"""What an incident is at a moment: it follows from its book and from the runs under it. Pure.

found = state.of(incident, book.events(store, name), runs, settings=…, now=…)
found.status            open, acknowledged, mitigated, resolved or closed
found.clock_table()     what was due when, and when it was done
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.headline import Status
from runbook.incident.book import Event, Incident
from runbook.settings import Incidents
from runbook.table import Table

_FIRST = ("acknowledge", "assess", "mitigate", "resolve")
_POST_MORTEM = "post-mortem"


@dataclass(frozen=True)
class Step:
    """One thing that has to be done by a time; `done` is None until it is."""

    name: str
    due: datetime | None
    done: datetime | None

    def status(self, now: datetime) -> Status:
        """`critical` when it is late, or was; without a time to be done by it never is."""
        return "critical" if self.due and (self.done or now) > self.due else "ok"

    def says(self, now: datetime) -> str:
        """In words: how long it took, or how long there is."""
        if self.done and self.due:
            late = self.done - self.due
            return f"{in_words(late)} late" if late > timedelta() else "in time"
        if self.done:
            return "done"
        if self.due is None:
            return "not yet"
        left = self.due - now
        return f"{in_words(left)} left" if left > timedelta() else f"{in_words(-left)} over"


@dataclass(frozen=True)
class Action:
    """Something to be done after the incident: open until closed, or until its section changed."""

    key: str
    text: str
    owner: str
    section: str
    section_sha256: str  # of its code, when the action was written down
    closed_by: str = ""  # who, or what, closed it

    @property
    def open(self) -> bool:
        return not self.closed_by


@dataclass(frozen=True)
class State:
    """An incident now. `roles` are people by role; times are aware."""

    incident: Incident
    now: datetime
    status: str
    severity: str
    roles: Mapping[str, str]
    steps: tuple[Step, ...]
    actions: tuple[Action, ...]
    applied: tuple[Mapping[str, Any], ...]  # runs that changed something, oldest first

    @property
    def until(self) -> datetime:
        """When it was over; now, while it is not."""
        return self.done("resolve") or self.now

    def done(self, step: str) -> datetime | None:
        """When a step was done."""
        return next((one.done for one in self.steps if one.name == step), None)

    def clock_table(self) -> Table:
        """What was due when, when it was done, and how long is left."""
        import pandas as pd

        opened = self.incident.opened_at
        rows = [
            {
                "step": one.name,
                "due": f"{one.due:%Y-%m-%d %H:%M}" if one.due else "",
                "done": f"{one.done:%Y-%m-%d %H:%M}" if one.done else "",
                "after": in_words(one.done - opened) if one.done else "",
                "": one.says(self.now),
                "status": one.status(self.now),
            }
            for one in self.steps
        ]
        return Table(pd.DataFrame(rows))

    def told_table(self) -> Table:
        """What it is, and who is in it."""
        import pandas as pd

        facts = {"incident": self.incident.id, "title": self.incident.title,
                 "severity": self.severity, "status": self.status,
                 "opened": f"{self.incident.opened_at:%Y-%m-%d %H:%M} UTC"}  # fmt: skip
        rows = [{"": name, "what": text} for name, text in {**facts, **self.roles}.items()]
        return Table(pd.DataFrame(rows))

    def applied_table(self) -> Table:
        """The runs that changed something."""
        import pandas as pd

        rows = [
            {"section": run["section"], "verdict": run["verdict"], "by": run["operator"],
             "changes": run["changes_applied"], "run": run["run_id"]}
            for run in self.applied
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="Nothing was changed through the runbook.")

    def findings(self) -> dict[str, Any]:
        """What it is, as data, with `status` and the sentence `says`."""
        late = [one for one in self.steps if one.status(self.now) == "critical"]
        left = next((one for one in self.steps if not one.done), None)
        next_step = f"; {left.name}: {left.says(self.now)}" if left else ""
        return {
            "status": "warning" if late else "ok",
            "says": f"{self.incident.id} ({self.severity}) is {self.status}{next_step}.",
            "incident": self.incident.id,
            "severity": self.severity,
            "state": self.status,
            "roles": dict(self.roles),
        }

    def action_table(self) -> Table:
        """What is still to be done, and what was."""
        import pandas as pd

        rows = [
            {"action": one.text, "owner": one.owner, "section": one.section,
             "closed by": one.closed_by or "open", "id": one.key}
            for one in self.actions
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="No action was written down.")


def of(
    incident: Incident,
    events: Sequence[Event],
    runs: Iterable[Mapping[str, Any]],
    *,
    settings: Incidents,
    now: datetime,
    code_of: Mapping[str, str] | None = None,
) -> State:
    """What it is now, from its events and the runs under it, each oldest first.

    `code_of` are the hashes of the sections' code now: an action is closed by a change of its.
    """
    runs = [about for about in runs if about["finished_at"]]
    steps = _steps(incident, events, runs, settings)
    times = {one.name: one.done for one in steps}
    return State(
        incident=incident,
        now=now,
        status=_status(times),
        severity=_last(events, "severity", "severity") or incident.severity,
        roles={e.about["role"]: e.about["person"] for e in events if e.kind == "role"},
        steps=steps,
        actions=_actions(events, code_of or {}),
        applied=tuple(about for about in runs if about["changes_applied"]),
    )


def is_over(events: Iterable[Event]) -> bool:
    """Whether it was resolved, and not opened again since."""
    return _standing(events) is not None


def in_words(length: timedelta) -> str:
    """A length as one says it: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = int(length.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def _steps(
    incident: Incident,
    events: Sequence[Event],
    runs: Sequence[Mapping[str, Any]],
    settings: Incidents,
) -> tuple[Step, ...]:
    resolved = _standing(events)
    changed = [one for one in runs if one["changes_applied"] and one["verdict"] == "succeeded"]
    times = {
        "acknowledge": _first(events, "acknowledged"),
        "assess": _first_run(runs, "assess"),
        "mitigate": _first(events, "mitigated") or (resolved and _last_before(changed, resolved)),
        "resolve": resolved,
    }
    due = {
        name: incident.opened_at + timedelta(minutes=minutes)
        for name, minutes in settings.targets_minutes.items()
    }
    names = (*_FIRST, *(name for name in due if name not in _FIRST))
    steps = [Step(name, due.get(name), times.get(name)) for name in names]
    after = resolved and resolved + timedelta(hours=settings.post_mortem_hours)
    written = _first_run(runs, _POST_MORTEM, after=resolved) if resolved else None
    return (*steps, Step(_POST_MORTEM, after, written))


def _standing(events: Iterable[Event]) -> datetime | None:
    """When it was resolved for good: the last time, unless it was opened again since."""
    resolved = None
    for event in events:
        if event.kind == "resolved":
            resolved = event.at
        elif event.kind == "reopened":
            resolved = None
    return resolved


def _status(times: Mapping[str, datetime | None]) -> str:
    if times[_POST_MORTEM]:
        return "closed"
    for step, status in (
        ("resolve", "resolved"), ("mitigate", "mitigated"), ("acknowledge", "acknowledged"),
    ):  # fmt: skip
        if times[step]:
            return status
    return "open"


def _actions(events: Iterable[Event], code_of: Mapping[str, str]) -> tuple[Action, ...]:
    written, closed = [], {}
    for event in events:
        if event.kind == "action":
            written.append(event)
        elif event.kind == "closed":
            closed[event.about["action"]] = event.by
    return tuple(_action(event, closed.get(event.key, ""), code_of) for event in written)


def _action(event: Event, closed_by: str, code_of: Mapping[str, str]) -> Action:
    section, then = event.about.get("section", ""), event.about.get("section_sha256", "")
    changed = bool(section) and code_of.get(section, then) != then
    by = closed_by or (f"a change of {section}" if changed else "")
    return Action(event.key, event.text, event.about.get("owner", ""), section, then, by)


def _first(events: Iterable[Event], kind: str) -> datetime | None:
    return next((event.at for event in events if event.kind == kind), None)


def _last(events: Iterable[Event], kind: str, field: str) -> str:
    return next((e.about[field] for e in reversed(list(events)) if e.kind == kind), "")


def _first_run(
    runs: Iterable[Mapping[str, Any]], section: str, *, after: datetime | None = None
) -> datetime | None:
    ended = (
        datetime.fromisoformat(one["finished_at"])
        for one in runs
        if one["section"] == section and one["verdict"] == "succeeded"
    )
    return next((at for at in ended if after is None or at >= after), None)


def _last_before(runs: Sequence[Mapping[str, Any]], moment: datetime) -> datetime | None:
    ended = [datetime.fromisoformat(one["finished_at"]) for one in runs]
    return max((at for at in ended if at <= moment), default=None)
