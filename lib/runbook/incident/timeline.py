"""The timeline of an incident: everything that anybody or anything did, in order.

    found = timeline.read(clients, store, incident, events, until=…)
    found.table()        what happened, who did it, and whether it went past the runbook

It is put together from five sources that know nothing of each other: the runs on record with
their changes, the incident's own book, alarms, ECS and CloudTrail. What the runbook did is told
once, though CloudTrail saw it too. A source that does not answer is said to be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runbook.change.plan import KNOWN_AFTER_APPLY
from runbook.clients import Clients
from runbook.incident.book import Event, Incident
from runbook.incident.state import in_words
from runbook.record import redaction
from runbook.record.journal import Journal
from runbook.record.runs import runs
from runbook.record.store import Store
from runbook.studio import cloudtrail, cloudwatch, ecs
from runbook.studio.cloudtrail import COMMAND
from runbook.table import Table

if TYPE_CHECKING:
    from runbook.picture import Picture

_LANES = ("alarm", "ecs", "cloudtrail", "run", "change", "book")  # from the Studio to its people
_SAME = timedelta(seconds=60)  # what one did over and over in this time is told once
_LONGEST = 60  # signs of a value before and after
_GROUP = re.compile(r"target-group arn:\S*:targetgroup/([^/\s)]+)[^\s)]*")  # as ECS writes of it
_TASKS = re.compile(r":?( \(task [0-9a-f-]+\))+")
_ROUTINE = "has reached a steady state"  # ECS writes it every six hours


@dataclass(frozen=True)
class Moment:
    """One thing that happened. `outside`: it changed something, and went past the runbook."""

    at: datetime  # aware
    source: str  # one of _LANES
    who: str
    text: str
    outside: bool = False
    times: int = 1
    run: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(), "source": self.source, "who": self.who,
            "text": self.text, "outside": self.outside, "times": self.times, "run": self.run,
        }  # fmt: skip


@dataclass(frozen=True)
class Timeline:
    """Moments in order; `gaps` are stretches of the incident in which nothing is known."""

    incident: Incident
    since: datetime
    until: datetime
    moments: tuple[Moment, ...]
    gaps: tuple[tuple[datetime, datetime], ...]
    not_seen: Mapping[str, str]  # source: why it could not be looked at

    @property
    def outside(self) -> tuple[Moment, ...]:
        """Changes that were made past the runbook."""
        return tuple(one for one in self.moments if one.outside)

    def table(self) -> Table:
        """Every moment, and the gaps between them, to be read."""
        import pandas as pd

        rows = [
            {
                "at": one.at,
                "since opened": self._since(one.at),
                "source": one.source,
                "who": one.who,
                "what": one.text + (f" (×{one.times})" if one.times > 1 else ""),
                "": "past the runbook" if one.outside else "",
            }
            for one in (*self.moments, *self._silences())
        ]
        return Table(pd.DataFrame(sorted(rows, key=lambda row: row["at"])), empty="Nothing yet.")

    def plot(self) -> Picture:
        """A lane for each source; what went past the runbook stands out."""
        from runbook.headline import COLOURS
        from runbook.picture import Picture, clock_axis, strip

        figure, axes = strip(height_inches=2.8)
        lanes = list(reversed(_LANES))
        for outside, colour in ((False, "#1f5fa8"), (True, COLOURS["critical"])):
            mine = [one for one in self.moments if one.outside is outside]
            axes.scatter(
                [one.at for one in mine],  # type: ignore[arg-type]  # matplotlib takes datetimes
                [lanes.index(one.source) for one in mine],
                color=colour, s=28, zorder=3, label="past the runbook" if outside else None,
            )  # fmt: skip
        for start, end in self.gaps:
            axes.axvspan(start, end, color="#eeeeee")  # type: ignore[arg-type]
        axes.axvline(self.incident.opened_at, color="#888888", linestyle=":")  # type: ignore[arg-type]
        axes.set_yticks(range(len(lanes)), lanes)
        axes.set_ylim(-0.6, len(lanes) - 0.4)
        clock_axis(axes)
        if self.outside:
            axes.legend(loc="upper left", fontsize="small", frameon=False)
        return Picture(figure, says=f"{self.says}, by source and time")

    @property
    def says(self) -> str:
        """How much is known, in one line."""
        past = f", {len(self.outside)} of them changes past the runbook" if self.outside else ""
        gaps = f"; {_so_many(len(self.gaps), 'gap')}" if self.gaps else ""
        lost = f"; not seen: {', '.join(self.not_seen)}" if self.not_seen else ""
        return f"{_so_many(len(self.moments), 'moment')}{past}{gaps}{lost}"

    def findings(self) -> dict[str, Any]:
        """The timeline as data, with `status` and the sentence `says`."""
        return {
            "status": "warning" if self.not_seen or self.outside else "ok",
            "says": f"{self.says}.",
            "moments": [one.as_json() for one in self.moments],
            "gaps": [[start.isoformat(), end.isoformat()] for start, end in self.gaps],
            "not_seen": dict(self.not_seen),
        }

    def _silences(self) -> Iterator[Moment]:
        for start, end in self.gaps:
            yield Moment(start, "", "", f"— nothing is known of the next {in_words(end - start)} —")

    def _since(self, at: datetime) -> str:
        opened = self.incident.opened_at
        return f"+{in_words(at - opened)}" if at >= opened else f"-{in_words(opened - at)}"


def read(
    clients: Clients, store: Store, incident: Incident, events: Iterable[Event], *, until: datetime
) -> Timeline:
    """Gather it from `lead_minutes` before the incident was opened on, side by side.

    Reads only. What does not answer is in `not_seen`; nothing is raised for it.
    """
    settings = clients.environment.incidents
    since = incident.opened_at - timedelta(minutes=settings.lead_minutes)
    sources: dict[str, Callable[[], list[Moment]]] = {
        "run": lambda: _of_runs(store, incident, since, until),
        "book": lambda: _of_book(incident, events),
        "alarm": lambda: _of_alarms(clients, since, until),
        "ecs": lambda: _of_ecs(clients, since, until),
        "cloudtrail": lambda: _of_cloudtrail(clients, since, until),
    }
    found, not_seen = _side_by_side(sources)
    known = {COMMAND, *(one.run for one in found if one.source == "run")}
    moments = in_order(one for one in found if one.source != "cloudtrail" or one.run not in known)
    quiet = timedelta(minutes=settings.quiet_minutes)
    gaps = gaps_in(moments, incident.opened_at, until, longer_than=quiet)
    return Timeline(incident, since, until, moments, gaps, not_seen)


def in_order(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    """By time; what the same one did again within a minute is told once, with how often. Pure."""
    told: list[Moment] = []
    last: dict[tuple[str, str, str], int] = {}
    for one in sorted(moments, key=lambda one: one.at):
        what = (one.source, one.who, one.text)
        at = last.get(what)
        if at is not None and one.at - told[at].at <= _SAME:
            told[at] = replace(told[at], times=told[at].times + 1)
            continue
        last[what] = len(told)
        told.append(one)
    return tuple(told)


def gaps_in(
    moments: Sequence[Moment], start: datetime, end: datetime, *, longer_than: timedelta
) -> tuple[tuple[datetime, datetime], ...]:
    """Stretches between start and end without a moment, longer than that. Pure."""
    inside = [one.at for one in moments if start <= one.at <= end]
    return tuple(
        (before, after)
        for before, after in pairwise([start, *inside, end])
        if after - before > longer_than
    )


def _side_by_side(
    sources: Mapping[str, Callable[[], list[Moment]]],
) -> tuple[list[Moment], dict[str, str]]:
    found: list[Moment] = []
    not_seen = {}
    with ThreadPoolExecutor(len(sources), thread_name_prefix="timeline") as pool:
        asked = {name: pool.submit(read) for name, read in sources.items()}
        for name, answer in asked.items():
            try:
                found += answer.result()
            except Exception as error:  # whatever is down must not take the rest along
                not_seen[name] = redaction.mask(f"{type(error).__name__}: {error}")
    return found, not_seen


def _of_runs(store: Store, incident: Incident, since: datetime, until: datetime) -> list[Moment]:
    """Runs under the incident; of others those that changed something at that time."""
    moments: list[Moment] = []
    for about in runs(store):
        began = datetime.fromisoformat(about["started_at"])
        if began < since:
            break  # newest first
        mine = about["incident"] == incident.id
        at_work = about["verdict"] == "running" and not about["changes_applied"]
        if began > until or at_work or not (mine or about["changes_applied"]):
            continue
        moments += _of_run(store, about, mine=mine)
    return moments


def _of_run(store: Store, about: Mapping[str, Any], *, mine: bool) -> Iterator[Moment]:
    who, run = about["operator"] or about.get("os_user") or "", about["run_id"]
    ended = about["finished_at"] or about["started_at"]
    says = (about["result"] or {}).get("says") or (about["error"] or {}).get("message", "")
    verdict = about["verdict"].replace("_", " ")
    text = f"{about['section']}: {verdict}{says and ': '}{says}"
    text += "" if mine else " (not filed under the incident)"
    yield Moment(datetime.fromisoformat(ended), "run", who, text, run=run)
    plan = store.read(f"runs/{run}/plan.json")
    changes = json.loads(plan.data)["changes"] if plan else []
    begun = {}
    for entry in Journal(store, run).entries():
        if entry["entry"] == "intent":
            begun[entry["id"]] = entry
        elif entry["entry"] == "result" and entry["id"] in begun:
            intent = begun[entry["id"]]
            change = changes[intent["change"]] if intent["change"] < len(changes) else {}
            text = f"{intent['target']}: {in_short(change)}{entry['outcome']}"
            yield Moment(datetime.fromisoformat(entry["at"]), "change", who, text, run=run)


def in_short(change: Mapping[str, Any]) -> str:
    """What a change did, before and after, where it fits into a line. Pure."""
    if change.get("rows"):
        return f"{change['rows']['count']:,} rows, "
    before, after = change.get("before"), change.get("after")
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return ""
    told = [
        f"{name} {_value(before.get(name))} → {_value(value)}"
        for name, value in after.items()
        if value != before.get(name)
    ]
    return f"{', '.join(told)}, " if told else ""


def _value(value: Any) -> str:
    if value == KNOWN_AFTER_APPLY:
        return "new"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _of_book(incident: Incident, events: Iterable[Event]) -> list[Moment]:
    opened = f"opened as {incident.severity}: {incident.title}"
    return [
        Moment(incident.opened_at, "book", incident.opened_by, opened),
        *(Moment(one.at, "book", one.by, f"{one.kind}: {one.text}") for one in events),
    ]


def _of_alarms(clients: Clients, since: datetime, until: datetime) -> list[Moment]:
    client = clients.aws("cloudwatch")
    return [
        Moment(change.at, "alarm", "", f"{name} {change.summary}")
        for name, change in cloudwatch.read_transitions(client, since=since, until=until)
    ]


def _of_ecs(clients: Clients, since: datetime, until: datetime) -> list[Moment]:
    told = ecs.read_events(clients.aws("ecs"), cluster=clients.environment.ecs.cluster)
    return [
        Moment(at, "ecs", "", without_ids(text))
        for at, text in told
        if since <= at <= until and _ROUTINE not in text
    ]


def without_ids(text: str) -> str:
    """What ECS wrote, without ids: the same of other tasks is the same, and is told once. Pure."""
    return _TASKS.sub("", _GROUP.sub(r"target group \1", text))


def _of_cloudtrail(clients: Clients, since: datetime, until: datetime) -> list[Moment]:
    calls = cloudtrail.read_changes(clients.aws("cloudtrail"), since=since, until=until)
    return [
        Moment(one.at, "cloudtrail", one.who, one.says, outside=not one.run, run=one.run)
        for one in calls
    ]


def _so_many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
