"""Waiting has a deadline, and looks once more when it is reached."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runbook.wait import DeadlinePassed, Wait


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_it_returns_what_was_found_as_soon_as_it_is_there() -> None:
    clock = FakeClock()
    found = Wait(60, 5, clock=clock).until(lambda: clock.time >= 10 and "ready", what="it")
    assert (found, clock.time) == ("ready", 10)


def test_what_holds_already_costs_no_wait() -> None:
    clock = FakeClock()
    assert Wait(60, 5, clock=clock).until(lambda: "ready", what="it") == "ready"
    assert clock.time == 0


def test_a_deadline_is_kept_and_says_how_long_and_for_what() -> None:
    clock = FakeClock()
    looked: list[float] = []
    with pytest.raises(DeadlinePassed, match="Waited 12 s for the tasks"):
        Wait(12, 5, clock=clock).until(lambda: looked.append(clock.time), what="the tasks")
    assert looked == [0, 5, 10, 12]


def test_the_factor_shortens_deadline_and_interval_alike() -> None:
    clock = FakeClock()
    looked: list[float] = []
    with pytest.raises(DeadlinePassed):
        Wait(100, 50, factor=0.1, clock=clock).until(lambda: looked.append(clock.time), what="it")
    assert looked == [0, 5, 10]


def test_progress_hears_how_long_was_waited() -> None:
    clock = FakeClock()
    heard: list[float] = []
    wait = Wait(60, 5, clock=clock, progress=heard.append)
    wait.until(lambda: clock.time >= 10 and True, what="it")
    assert heard == [0, 5]
