"""What is slow, and why, told apart without a Studio."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from runbook.settings import Slowness
from runbook.studio.latency import Compared, Figures, Latency, OfProvider, OfService
from runbook.studio.logs.search import Window
from runbook.studio.outside import Said

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIMITS = Slowness(lately_minutes=5, times=2, least_ms=200, least_requests=8)


def figures(avg_ms: float, requests: int = 50) -> Figures:
    return Figures(requests, avg_ms, avg_ms * 3, avg_ms * 2)


def found(
    *compared: Compared,
    providers: tuple[OfProvider, ...] = (),
    services: tuple[OfService, ...] = (),
) -> Latency:
    window = Window(NOW - timedelta(hours=1), NOW)
    return Latency(window, LIMITS, compared, pd.DataFrame(), providers, services)


CHAT = Compared("gateway", "/v1/chat", "m", figures(2000), figures(700))


@pytest.mark.parametrize(
    ("lately", "before", "slow"),
    [
        (figures(1400), figures(700), True),
        (figures(1399), figures(700), False),
        (figures(199), figures(10), False),
        (figures(1400, requests=7), figures(700), False),
        (figures(1400), None, False),
    ],
)
def test_slow_is_twice_as_long_as_before_and_often_enough(
    lately: Figures, before: Figures | None, slow: bool
) -> None:
    assert Compared("gateway", "/", "", lately, before).slow(LIMITS) is slow


def test_provider_capacity_and_cold_start_are_told_apart() -> None:
    slow = OfProvider("one", 20.0, 1.0, Said("one", "minor", "Elevated latency"))
    assert [r.cause for r in found(CHAT, providers=(slow,)).reasons()] == ["provider"]
    assert "20 times as long" in found(CHAT, providers=(slow,)).findings()["says"]
    busy = OfService("gateway", 97.0, 3, NOW - timedelta(days=1))
    assert [r.cause for r in found(CHAT, services=(busy,)).reasons()] == ["capacity"]
    young = OfService("gateway", 20.0, 3, NOW - timedelta(minutes=1))
    assert [r.cause for r in found(CHAT, services=(young,)).reasons()] == ["cold start"]


def test_young_tasks_alone_are_no_trouble() -> None:
    young = OfService("gateway", 20.0, 3, NOW - timedelta(minutes=1))
    calm = Compared("gateway", "/v1/chat", "m", figures(700), figures(700))
    assert found(calm, services=(young,)).findings()["status"] == "ok"


def test_a_status_page_that_cannot_be_read_is_no_trouble_of_the_providers() -> None:
    assert not Said("one", "", "does not answer").troubled
    assert not Said("one", "none", "All Systems Operational").troubled
    assert Said("one", "major", "Elevated error rates").troubled
