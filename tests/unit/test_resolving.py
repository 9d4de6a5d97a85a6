"""An incident is over when the Studio has been well for a while, and not before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support import SetClock

from runbook import settings
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.incident import book, notify, resolving
from runbook.incident.notify import Told
from runbook.incident.resolving import Watched
from runbook.incident.room import Room
from runbook.record.store import FolderStore

OK: Status = "ok"
BAD: Status = "critical"
MINUTES = 12  # a look a minute


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(notify, "tell", lambda clients, text, *, subject: [Told("slack")])
    store = FolderStore(tmp_path)
    opened = book.open_incident(store, title="Slow", severity="P1")
    return Room(store, Clients(settings.load("sandbox")), opened)


def watched(room: Room, seen: Iterable[Status]) -> Watched:
    looks = iter(seen)
    return resolving.watch(room, lambda: (next(looks), "as it is"), minutes=MINUTES,
                           settle_minutes=MINUTES, clock=SetClock())  # fmt: skip


def kinds(room: Room) -> list[str]:
    return [one.kind for one in room.events()]


def test_well_all_the_time_is_resolved_and_told(room: Room) -> None:
    found = watched(room, [OK] * 13)

    assert found.resolved
    assert found.looks[-1].at - found.looks[0].at == timedelta(minutes=MINUTES)
    assert kinds(room) == ["resolved", "told"]


def test_what_was_just_mended_has_time_to_show(room: Room) -> None:
    assert watched(room, [BAD] * 5 + [OK] * 13).resolved


def test_a_warning_is_no_reason_to_stay_up(room: Room) -> None:
    assert watched(room, ["warning"] * 13).resolved


def test_one_bad_look_is_a_blip_and_two_open_it_again(room: Room) -> None:
    assert watched(room, [OK] * 3 + [BAD] + [OK] * 9).resolved
    again = watched(room, [OK] * 3 + [BAD] * 2)

    assert not again.resolved
    assert kinds(room)[-2:] == ["reopened", "told"]
    assert room.state().status == "open"


def test_what_never_gets_well_is_not_resolved(room: Room) -> None:
    found = watched(room, [BAD] * 13)

    assert not found.resolved
    assert found.findings()["status"] == "critical"
    assert kinds(room) == ["reopened", "told"]


def test_what_is_resolved_is_neither_acknowledged_nor_watched_again(room: Room) -> None:
    room.refuse_if_over()
    watched(room, [OK] * 13)

    with pytest.raises(BadInput, match="is resolved already"):
        room.refuse_if_over()
