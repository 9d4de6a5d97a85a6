"""Ending a maintenance: refused while something fails, watched, and taken back by the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support import SetClock
from tests.unit.test_maintenance import MODE, on

from runbook.change.kinds import Step
from runbook.change.saved import RowFile
from runbook.errors import BadInput, Failed
from runbook.procedure.finish_maintenance import Finish
from runbook.record.journal import Intent
from runbook.settings import Smoke
from runbook.studio import watching
from runbook.studio.smoke import Tried

NOW = datetime(2026, 12, 6, 3, 0, tzinfo=UTC)
TEST = Smoke(service="web", host="app.example", path="/")
GOOD, BAD = Tried(TEST, 200), Tried(TEST, 503)


class Noted:
    """Steps without a journal."""

    @contextmanager
    def step(self, detail: Mapping[str, Any]) -> Iterator[Step]:
        yield Step(Intent("id", 0, watching.KIND, watching.TARGET, dict(detail)), {})

    def progress(self, done: int, total: int) -> None:
        pass


def test_everybody_is_let_in_first_then_it_is_watched_and_taken_back_if_it_fails() -> None:
    plan = Finish(on(), (GOOD,), 60, NOW).plan()
    *rules, last = plan.changes
    assert len(rules) == 5
    assert (last.kind, last.after["watched_minutes"]) == ("studio-watch", 60)
    assert (plan.on_failure, plan.risk, plan.reversible) == ("inverse", "low", True)


def test_nobody_is_let_into_what_does_not_work() -> None:
    with pytest.raises(BadInput, match="Smoke tests fail: web"):
        Finish(on(), (GOOD, BAD), 60, NOW).plan()


def test_what_is_off_needs_nothing() -> None:
    assert Finish(MODE, (BAD,), 60, NOW).plan().changes == ()


def seen(says: list[str]) -> float:
    """Watch what says so at each look, and is well afterwards; seconds that it took."""
    change = watching.change_of(60)
    assert change.rows
    rows, clock, left = RowFile(change.rows.data, swapped=False), SetClock(), list(says)
    began = clock.monotonic()
    watching.watch(lambda: left.pop(0) if left else "", rows, Noted(), pause_s=300, clock=clock)
    return clock.monotonic() - began


def test_it_is_watched_for_the_whole_time_and_one_bad_look_is_none() -> None:
    assert seen([]) == 3600
    assert seen(["", "a hiccup", "", "another"]) == 3600


@pytest.mark.parametrize("says", [["x", "x"], ["", "x", "x"], [""] * 11 + ["x"]])
def test_what_is_bad_twice_in_a_row_or_in_the_end_has_degraded(says: list[str]) -> None:
    with pytest.raises(Failed, match="It degrades: x"):
        seen(says)
