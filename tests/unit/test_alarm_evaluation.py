"""Alarms of the sandbox: which moments of a metric count, and at which pace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from studio_sandbox.control_plane.moto_adapter import alarm_evaluation, metrics
from studio_sandbox.control_plane.moto_adapter.metrics import Datum

NOW = datetime(2026, 11, 25, 9, 13, 20, 700_000, tzinfo=UTC)
BALANCER = "AWS/ApplicationELB"


class Alarm(SimpleNamespace):
    """What of moto's alarm is looked at."""

    def update_state(self, reason: str, data: str, state: str) -> None:
        self.state_reason, self.state_reason_data, self.state_value = reason, data, state


def state_of(
    points: Iterable[tuple[float, float]],
    *,
    pace: float,
    statistic: str = "Sum",
    threshold: float = 10,
    namespace: str = BALANCER,
    periods: int = 1,
    moves_since_s: float = 3600,
) -> str:
    """The state of an alarm on 300 s, of values by how many seconds ago they were measured."""
    alarm = Alarm(
        name="errors", rule=None, state_value="INSUFFICIENT_DATA", state_reason="",
        comparison_operator="GreaterThanThreshold", threshold=threshold, evaluation_periods=periods,
        datapoints_to_alarm=None, treat_missing_data="notBreaching", metric_data_queries=None,
        namespace=namespace, metric_name="Errors", dimensions=[], statistic=statistic,
        extended_statistic=None, period=300, unit=None,
    )  # fmt: skip
    backend = SimpleNamespace(alarms={"errors": alarm})
    put(backend, namespace, "Errors", points)
    since = NOW - timedelta(seconds=moves_since_s)
    alarm_evaluation.evaluate(backend, NOW, pace=pace, since=since)
    return str(alarm.state_value)


def put(backend: Any, namespace: str, name: str, points: Iterable[tuple[float, float]]) -> None:
    data = [
        Datum(NOW - timedelta(seconds=ago_s), value, 1, value, value, "Count")
        for ago_s, value in points
    ]
    metrics.store_of(backend).put(metrics.key_of(namespace, name, []), data)


@pytest.mark.parametrize(
    ("points", "pace", "state"),
    [
        ([(280, 11)], 1, "ALARM"),
        ([(280, 10)], 1, "OK"),
        ([(280, 11)], 2.5, "INSUFFICIENT_DATA"),  # longer ago than the 120 s that are looked at
        ([(280, 11), (5, 0)], 2.5, "OK"),
        ([(100, 2), (5, 2)], 2.5, "OK"),  # 4 in 120 s are 10 in 300 s, and no more than that
        ([(100, 2), (5, 3)], 2.5, "ALARM"),
    ],
)
def test_a_sum_over_a_shorter_time_counts_as_one_over_the_whole_period(
    points: list[tuple[float, float]], pace: float, state: str
) -> None:
    assert state_of(points, pace=pace) == state


def test_until_the_studio_has_moved_for_long_enough_the_whole_period_counts() -> None:
    """What was seeded has a point a minute: one failure of the first calls would be a share."""
    assert state_of([(280, 11)], pace=2.5, moves_since_s=60) == "ALARM"
    assert state_of([(280, 0), (5, 5)], pace=2.5, moves_since_s=60) == "OK"
    assert state_of([(280, 0), (5, 5)], pace=2.5, moves_since_s=130) == "ALARM"


@pytest.mark.parametrize("statistic", ["Average", "Maximum", "Minimum"])
def test_what_is_not_added_up_is_as_large_at_any_pace(statistic: str) -> None:
    assert state_of([(100, 10), (5, 10)], pace=2.5, statistic=statistic) == "OK"
    assert state_of([(100, 11), (5, 11)], pace=2.5, statistic=statistic) == "ALARM"


def test_a_metric_that_others_put_is_evaluated_over_the_whole_period() -> None:
    once_in_a_period = [(550.0, 11.0), (250.0, 11.0)]
    assert state_of(once_in_a_period, pace=2.5, namespace="Somebody/Else", periods=2) == "ALARM"
    assert state_of([(250, 11)], pace=2.5, namespace="Somebody/Else") == "ALARM"


def test_what_was_measured_this_very_second_is_no_period_of_its_own() -> None:
    """Two failures of three calls just now are few among those of the whole period."""
    backend = SimpleNamespace(alarms={})
    alarm = Alarm(
        name="share", rule=None, state_value="OK", state_reason="",
        comparison_operator="GreaterThanThreshold", threshold=5, evaluation_periods=1,
        datapoints_to_alarm=None, treat_missing_data="notBreaching",
        metric_data_queries=[
            query("errors", BALANCER), query("requests", BALANCER),
            SimpleNamespace(id="value", metric_stat=None, expression="100*errors/requests",
                            return_data=True),
        ],
    )  # fmt: skip
    backend.alarms["share"] = alarm
    put(backend, BALANCER, "errors", [(100, 0), (0.3, 2)])
    put(backend, BALANCER, "requests", [(100, 97), (0.3, 3)])
    alarm_evaluation.evaluate(backend, NOW)
    assert alarm.state_value == "OK"


def query(name: str, namespace: str) -> Any:
    metric = SimpleNamespace(namespace=namespace, metric_name=name, dimensions=[])
    stat = SimpleNamespace(metric=metric, period=300, stat="Sum", unit=None)
    return SimpleNamespace(id=name, metric_stat=stat, expression=None, return_data=False)
