"""What an incident is follows from its book and from the runs under it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.incident import state
from runbook.incident.book import Event, Incident
from runbook.settings import Incidents

OPENED = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
INCIDENT = Incident("INC-20261125-0300-4fa2", "Videos do not start", "P1", "sara", OPENED)
TARGETS = Incidents(targets_minutes={"acknowledge": 15, "assess": 30, "resolve": 240})


def event(minute: float, kind: str, text: str = "text", **about: Any) -> Event:
    return Event(OPENED + timedelta(minutes=minute), "sara", kind, text, about, f"{minute}-{kind}")


def run(minute: float, section: str, *, changes: int = 0, verdict: str = "succeeded") -> Any:
    ended = OPENED + timedelta(minutes=minute)
    return {"run_id": f"run-{minute}", "section": section, "verdict": verdict, "result": None,
            "changes_applied": changes, "finished_at": ended.isoformat()}  # fmt: skip


def at(
    minute: float, events: Sequence[Event] = (), runs: Sequence[Any] = (), **more: Any
) -> state.State:
    now = OPENED + timedelta(minutes=minute)
    return state.of(INCIDENT, events, runs, settings=TARGETS, now=now, **more)


@pytest.mark.parametrize(
    ("events", "runs", "status"),
    [
        ([], [], "open"),
        ([event(4, "acknowledged")], [], "acknowledged"),
        ([event(4, "acknowledged"), event(20, "mitigated")], [], "mitigated"),
        ([event(4, "acknowledged"), event(50, "resolved")], [], "resolved"),
        ([event(4, "acknowledged"), event(50, "resolved"), event(60, "reopened")], [],
         "acknowledged"),
        ([event(50, "resolved")], [run(70, "post-mortem")], "closed"),
        ([event(50, "resolved")], [run(40, "post-mortem")], "resolved"),
    ],
)  # fmt: skip
def test_its_status_is_the_furthest_that_was_reached_and_still_holds(
    events: list[Event], runs: list[Any], status: str
) -> None:
    assert at(90, events, runs).status == status


def test_a_clock_tells_what_is_left_and_then_what_is_over() -> None:
    (early,) = [one for one in at(10).steps if one.name == "acknowledge"]
    (late,) = [one for one in at(20).steps if one.name == "acknowledge"]

    now = OPENED + timedelta(minutes=10)
    assert (early.says(now), early.status(now)) == ("5 min left", "ok")
    now = OPENED + timedelta(minutes=20)
    assert (late.says(now), late.status(now)) == ("5 min over", "critical")


def test_what_was_done_late_stays_late() -> None:
    (step,) = [one for one in at(90, [event(25, "acknowledged")]).steps
               if one.name == "acknowledge"]  # fmt: skip

    assert step.says(OPENED + timedelta(minutes=90)) == "10 min late"
    assert step.status(OPENED + timedelta(minutes=90)) == "critical"


def test_a_change_that_succeeded_before_it_was_resolved_counts_as_mitigated() -> None:
    runs = [run(20, "roll-back", changes=2), run(30, "scale-service", changes=1, verdict="failed")]

    found = at(90, [event(50, "resolved")], runs)

    assert found.done("mitigate") == OPENED + timedelta(minutes=20)
    assert [one["section"] for one in found.applied] == ["roll-back", "scale-service"]


def test_the_post_mortem_is_due_a_day_after_it_was_resolved() -> None:
    step = at(90, [event(50, "resolved")]).steps[-1]

    assert (step.name, step.due) == ("post-mortem", OPENED + timedelta(minutes=50, hours=24))
    assert at(90).steps[-1].due is None


def test_the_last_word_on_severity_and_roles_holds() -> None:
    events = [
        event(1, "severity", severity="P0"),
        event(2, "role", role="lead", person="sara"),
        event(3, "severity", severity="P2"),
        event(4, "role", role="lead", person="omar"),
    ]

    found = at(9, events)

    assert (found.severity, dict(found.roles)) == ("P2", {"lead": "omar"})


def test_an_action_is_open_until_it_is_closed_or_its_section_has_changed() -> None:
    events = [
        event(1, "action", "alarm on it", owner="omar", section="check-alarms",
              section_sha256="aaa"),
        event(2, "action", "tell customers", section="", section_sha256=""),
        event(3, "closed", "done", action="2-action"),
    ]  # fmt: skip

    before = at(9, events, code_of={"check-alarms": "aaa"}).actions
    after = at(9, events, code_of={"check-alarms": "bbb"}).actions

    assert [one.open for one in before] == [True, False]
    assert [one.closed_by for one in after] == ["a change of check-alarms", "sara"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(45, "45 s"), (720, "12 min"), (12000, "3 h 20 min"), (7200, "2 h"), (187200, "2 d 4 h")],
)
def test_a_length_is_said_as_one_says_it(seconds: int, words: str) -> None:
    assert state.in_words(timedelta(seconds=seconds)) == words
