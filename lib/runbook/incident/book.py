"""An incident: what is written of it while it lasts, by everybody at once.

incidents/INC-20261125-0913-4fa2/
    incident.json                  id, title, severity, who opened it and when; never changed
    events/20261125T091402Z-….json one thing that was noted, told or decided; never changed

Nothing is ever written over, so two engineers never lose each other's words: what an incident is
at a moment follows from its events. Secrets and personal data never get that far.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from runbook.errors import BadInput
from runbook.incident.notify import Told, fit_to_tell
from runbook.record.origin import os_user
from runbook.record.redaction import mask_all
from runbook.record.store import AlreadyThere, Store, side_by_side
from runbook.wait import SYSTEM_CLOCK, Clock

Severity = Literal["P0", "P1", "P2", "P3"]
SEVERITIES: tuple[str, ...] = get_args(Severity)
KINDS = (
    "note", "told", "alarm", "acknowledged", "role", "severity", "mitigated", "resolved",
    "reopened", "action", "closed",
)  # fmt: skip
_EVENT_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Incident:
    """What is known from its beginning. `opened_at` is aware, in UTC."""

    id: str
    title: str
    severity: str
    opened_by: str
    opened_at: datetime


@dataclass(frozen=True)
class Event:
    """One entry; `kind` is one of KINDS, `about` is its content as data."""

    at: datetime
    by: str
    kind: str
    text: str
    about: dict[str, Any]
    key: str = ""  # its own name in the book


def open_incident(
    store: Store, *, title: str, severity: str, by: str = "", clock: Clock = SYSTEM_CLOCK
) -> Incident:
    """Put a new incident on record. Raises BadInput: no title, or no such severity."""
    if severity not in SEVERITIES:
        raise BadInput(f"Severity {severity!r}; there are {', '.join(SEVERITIES)}.")
    if not title.strip():
        raise BadInput("An incident needs a title: what is broken, as its users would say it.")
    now = clock.now()
    for _ in range(100):
        name = f"INC-{now:%Y%m%d-%H%M}-{secrets.token_hex(2)}"
        made = Incident(name, title.strip(), severity, by or os_user(), now)
        try:
            store.create(_key(name, "incident.json"), _written(asdict(made)))
        except AlreadyThere:
            continue
        return find(store, name)
    raise AssertionError("a hundred incidents in one minute with the same four digits")


def find(store: Store, name: str) -> Incident:
    """An incident by its id. Raises BadInput."""
    stored = store.read(_key(name, "incident.json"))
    if stored is None:
        raise BadInput(
            f"The record has no incident {name!r}.", next="See all of them: ./runbook incident list"
        )
    return _incident(stored.data)


def incidents(store: Store) -> Iterator[Incident]:
    """All of them, newest first."""
    keys = [_key(name, "incident.json") for name in reversed(store.names("incidents"))]
    for stored in side_by_side(store.read, keys):
        if stored:
            yield _incident(stored.data)


def note(store: Store, name: str, text: str, *, by: str = "", clock: Clock = SYSTEM_CLOCK) -> Event:
    """Write down what somebody saw, thought or decided. Raises BadInput: no such incident."""
    return write(store, name, "note", text, by=by, clock=clock)


def write(
    store: Store,
    name: str,
    kind: str,
    text: str,
    *,
    by: str = "",
    about: Mapping[str, Any] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Event:
    """Add an entry of one of KINDS. Raises BadInput: no such incident, or no words."""
    if not text.strip():
        raise BadInput(f"{'A note' if kind == 'note' else f'An entry ({kind})'} needs words.")
    return _add(store, find(store, name), kind, text.strip(), by=by, about=about, clock=clock)


def note_told(
    store: Store, name: str, told: list[Told], *, by: str = "", clock: Clock = SYSTEM_CLOCK
) -> Event:
    """Write down who was told, and who could not be."""
    text = "; ".join(f"{each.channel}: {each.problem or 'told'}" for each in told) or "nobody"
    about = {"channels": [asdict(each) for each in told]}
    return _add(store, find(store, name), "told", text, about=about, by=by, clock=clock)


def events(store: Store, name: str) -> list[Event]:
    """Everything that was written of an incident, oldest first."""
    keys = sorted(store.keys(_key(name, "events")))
    return [_event(stored.data) for stored in side_by_side(store.read, keys) if stored]


def _add(
    store: Store,
    incident: Incident,
    kind: str,
    text: str,
    *,
    by: str,
    clock: Clock,
    about: Mapping[str, Any] | None = None,
) -> Event:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of entry")
    now = clock.now()
    key = f"{now.strftime(_EVENT_TIME)}-{kind}-{secrets.token_hex(3)}"
    written = _written(asdict(Event(now, by or os_user(), kind, text, dict(about or {}), key)))
    store.create(_key(incident.id, f"events/{key}.json"), written)
    return _event(written)


def _key(name: str, rest: str) -> str:
    if "/" in name or not name.startswith("INC-"):
        raise BadInput(f"{name!r} is no incident's id; one looks like INC-20261125-0913-4fa2.")
    return f"incidents/{name}/{rest}"


def _written(content: dict[str, Any]) -> bytes:
    return json.dumps(
        mask_all(content, fit_to_tell), indent=2, ensure_ascii=False, default=str
    ).encode()


def _incident(data: bytes) -> Incident:
    content = json.loads(data)
    return Incident(**{**content, "opened_at": datetime.fromisoformat(content["opened_at"])})


def _event(data: bytes) -> Event:
    content = json.loads(data)
    return Event(**{**content, "at": datetime.fromisoformat(content["at"])})
