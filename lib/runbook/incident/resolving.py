"""Resolving: an incident is over when the Studio has been well for a while, and not before.

    found = resolving.watch(room, look, minutes=30)
    found.table()           every look, and what was seen

First it has to be well at all: what was just mended takes a moment to show, alarms as long as
their period. Then it is watched; two bad looks in a row open the incident again. `look` says how
the Studio is: a status and the sentence that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.clients import Clients
from runbook.headline import Status
from runbook.incident.room import Room
from runbook.incident.state import in_words
from runbook.studio import cloudwatch, health
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK, Clock

Look = Callable[[], tuple[Status, str]]
_LOOKS = 12  # in the whole time, at the least
_MOST_S, _TWICE = 60.0, 2


@dataclass(frozen=True)
class Seen:
    """One look at the Studio."""

    at: datetime
    status: Status
    says: str


@dataclass(frozen=True)
class Watched:
    """What was seen while it was watched, and whether it is over."""

    looks: tuple[Seen, ...]
    length: timedelta
    resolved: bool

    def table(self) -> Table:
        """Every look, oldest first; the same seen again is one row."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for one in self.looks:
            if rows and (rows[-1]["status"], rows[-1]["what"]) == (one.status, one.says):
                rows[-1] |= {"until": one.at, "looks": rows[-1]["looks"] + 1}
            else:
                rows.append({"from": one.at, "until": one.at, "looks": 1,
                             "status": one.status, "what": one.says})  # fmt: skip
        return Table(pd.DataFrame(rows), empty="Nobody looked.")

    def findings(self) -> dict[str, Any]:
        """What became of it, as data, with `status` and the sentence `says`."""
        last = self.looks[-1]
        if self.resolved:
            says = f"Resolved: it was well for {in_words(self.length)}."
        else:
            says = f"Not resolved: after {in_words(last.at - self.looks[0].at)}, {last.says}"
        return {"status": "ok" if self.resolved else "critical", "says": says,
                "resolved": self.resolved, "looks": len(self.looks)}  # fmt: skip


def watch(
    room: Room,
    look: Look,
    *,
    minutes: float,
    settle_minutes: float,
    factor: float = 1.0,
    clock: Clock = SYSTEM_CLOCK,
) -> Watched:
    """Look again and again until it was well for that long, and write it down.

    A warning is not bad: it was there on many a good day. What is not well after
    `settle_minutes`, or turns bad at two looks in a row, is not resolved: that is written down,
    and told. Both times are multiplied by `factor`.
    """
    length = timedelta(minutes=minutes * factor)
    settled = timedelta(minutes=settle_minutes * factor)
    pause_s = min(_MOST_S, length.total_seconds() / _LOOKS)
    start, looks = clock.now(), list[Seen]()
    well_since: datetime | None = None
    while True:
        seen = _look(look, clock)
        looks.append(seen)
        _progress(seen, well_since, length)
        if seen.status != "critical":
            well_since = well_since or seen.at
            if seen.at - well_since >= length:
                return _resolve(room, tuple(looks), length)
        elif _is_lost(looks) if well_since else seen.at - start >= settled:
            return _reopen(room, tuple(looks), length)
        clock.sleep(pause_s)


def look_once(look: Look, *, clock: Clock = SYSTEM_CLOCK) -> Watched:
    """One look, from which nothing follows: nothing is written."""
    return Watched((_look(look, clock),), timedelta(), resolved=False)


def studio(clients: Clients) -> tuple[Status, str]:
    """How the Studio is: its health, and every alarm of the runbook's that is raised."""
    found = health.read(clients).findings()
    there = cloudwatch.read_alarms(clients.aws("cloudwatch"), names=clients.environment.alarms)
    raised = [alarm.name for alarm in there if alarm.state == "ALARM"]
    if raised:
        return "critical", f"{', '.join(raised)} raised; {found['says']}"
    return found["status"], found["says"]


def _look(look: Look, clock: Clock) -> Seen:
    status, says = look()
    return Seen(clock.now(), status, says)


def _is_lost(looks: Sequence[Seen]) -> bool:
    return [one.status for one in looks[-_TWICE:]] == ["critical"] * _TWICE


def _resolve(room: Room, looks: tuple[Seen, ...], length: timedelta) -> Watched:
    says = f"well for {in_words(length)}, seen {len(looks)} times"
    room.write("resolved", says)
    room.tell(f"Resolved: {says}.")
    return Watched(looks, length, resolved=True)


def _reopen(room: Room, looks: tuple[Seen, ...], length: timedelta) -> Watched:
    room.write("reopened", looks[-1].says)
    room.tell(f"Not resolved: {looks[-1].says}")
    return Watched(looks, length, resolved=False)


def _progress(seen: Seen, well_since: datetime | None, length: timedelta) -> None:
    well = f"well for {in_words(seen.at - well_since)} of" if well_since else "not well yet,"
    print(
        f"{seen.at:%H:%M:%S} UTC  {well} {in_words(length)}  [{seen.status}] {seen.says}",
        flush=True,
    )
