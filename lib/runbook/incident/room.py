"""An incident's room: its book, its state and who is told, for commands and sections alike.

room = enter(store, clients, "INC-…")      or at_hand(store, clients): the only open one
room.acknowledge()
room.state().clock_table()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.incident import book, notify, state, timeline
from runbook.incident.book import Event, Incident
from runbook.incident.notify import Told
from runbook.incident.state import State
from runbook.incident.timeline import Timeline
from runbook.record.runs import runs
from runbook.record.store import Store
from runbook.run.sections import code_sha256, find, sections
from runbook.wait import SYSTEM_CLOCK, Clock


@dataclass(frozen=True)
class Room:
    """One incident of a record. `by` is who writes; empty: the machine's user."""

    store: Store
    clients: Clients
    incident: Incident
    by: str = ""
    clock: Clock = SYSTEM_CLOCK

    @property
    def id(self) -> str:
        return self.incident.id

    def events(self) -> list[Event]:
        """Its book, oldest first."""
        return book.events(self.store, self.id)

    def runs(self) -> list[dict[str, Any]]:
        """The runs that are filed under it, oldest first."""
        return [about for about in runs(self.store) if about["incident"] == self.id][::-1]

    def state(self) -> State:
        """What it is now."""
        return state.of(
            self.incident,
            self.events(),
            self.runs(),
            settings=self.clients.environment.incidents,
            now=self.clock.now(),
            code_of={one.slug: code_sha256(one.content) for one in sections()},
        )

    def timeline(self) -> Timeline:
        """Everything that happened, from before it was opened until it was over."""
        until = self.state().until
        return timeline.read(self.clients, self.store, self.incident, self.events(), until=until)

    def write(self, kind: str, text: str, **about: Any) -> Event:
        """Add an entry to its book."""
        return book.write(
            self.store, self.id, kind, text, by=self.by, about=about, clock=self.clock
        )

    def refuse_if_over(self) -> None:
        """Raises BadInput for an incident that is resolved: nobody is on it any more."""
        if state.is_over(self.events()):
            raise BadInput(
                f"{self.id} is resolved already.", next="Open another one, by a title of its own."
            )

    def acknowledge(self, text: str = "on it") -> Event:
        """Say that somebody is on it: the first to do so stops the clock."""
        return self.write("acknowledged", text)

    def take_role(self, role: str, person: str) -> Event:
        """Who does what: `lead`, `scribe`, `talks to customers`."""
        return self.write("role", f"{person} is {role}", role=role, person=person)

    def set_severity(self, severity: str, why: str) -> Event:
        """Raise or lower it. Raises BadInput: no such severity."""
        if severity not in book.SEVERITIES:
            raise BadInput(f"Severity {severity!r}; there are {', '.join(book.SEVERITIES)}.")
        return self.write("severity", f"{severity}: {why}", severity=severity)

    def add_action(self, text: str, *, owner: str = "", section: str = "") -> Event:
        """Something to be done afterwards. With a section it is done once that has changed.

        Raises BadInput: no such section.
        """
        sha256 = code_sha256(find(section).content) if section else ""
        return self.write("action", text, owner=owner, section=section, section_sha256=sha256)

    def close_action(self, key: str, text: str = "done") -> Event:
        """Close an action by the beginning of its id. Raises BadInput: none, or more than one."""
        found = [one for one in self.state().actions if one.key.startswith(key)]
        if len(found) != 1:
            known = ", ".join(one.key for one in self.state().actions if one.open) or "none"
            raise BadInput(f"{len(found)} actions are named {key!r}.", next=f"Open: {known}")
        return self.write("closed", text, action=found[0].key)

    def tell(self, text: str) -> list[Told]:
        """Tell the team, and write down who could be told. Never raises for a channel."""
        subject = f"{self.incident.severity} {self.incident.title} ({self.id})"
        told = notify.tell(self.clients, text, subject=subject)
        book.note_told(self.store, self.id, told, by=self.by, clock=self.clock)
        return told


def open_room(
    store: Store, clients: Clients, *, title: str, severity: str, by: str = "", tell: bool = True
) -> tuple[Room, list[Told]]:
    """Open an incident and tell the team; its clock runs from now. Raises BadInput."""
    opened = book.open_incident(store, title=title, severity=severity, by=by)
    room = Room(store, clients, opened, by)
    said = f"Opened by {opened.opened_by} at {opened.opened_at:%H:%M} UTC."
    return room, room.tell(said) if tell else []


def enter(store: Store, clients: Clients, name: str, *, by: str = "") -> Room:
    """The room of an incident; with no name, of the only one that is open, or of the last one.

    Raises BadInput: there is none, or several are open.
    """
    if name:
        return Room(store, clients, book.find(store, name), by)
    found = list(open_rooms(store, clients, by=by))
    if len(found) > 1:
        raise BadInput(
            f"{len(found)} incidents are open: {', '.join(room.id for room in found)}.",
            next="Name one of them.",
        )
    last = next(book.incidents(store), None)
    if last is None:
        raise BadInput(
            "The record has no incident yet.", next="./runbook incident open 'what is broken'"
        )
    return found[0] if found else Room(store, clients, last, by)


def open_rooms(store: Store, clients: Clients, *, by: str = "") -> Iterator[Room]:
    """Rooms of incidents that are not resolved, newest first."""
    for each in book.incidents(store):
        if not state.is_over(book.events(store, each.id)):
            yield Room(store, clients, each, by)
