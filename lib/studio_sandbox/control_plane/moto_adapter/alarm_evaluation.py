"""Alarms follow their metrics: evaluated whenever somebody looks at them.

moto leaves every alarm in the state that it was put in. Here the last evaluation periods up to
now are worked out; where they have no data at all, the state stays what it was. A state that was
set by hand holds for a minute, until AWS would evaluate again.

Where the Studio moves, an alarm on what it measures itself is evaluated at a pace: a shorter time
stands for the period that is declared (docs/adr/0011).
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.moto_adapter import alarm_composites, metrics

_HELD = timedelta(seconds=60)
# Measured every other second; what others put may come once a minute, and is waited for.
_DENSE = ("AWS/", "ECS/", names.GATEWAY_METRICS)
_COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


_ALWAYS = datetime.min.replace(tzinfo=UTC)


class _Clock:
    """How much faster than on AWS alarms are evaluated, and since when the Studio moves."""

    pace, since = 1.0, _ALWAYS


def evaluate_at(pace: float, *, since: datetime) -> None:
    """A period of an alarm is shorter by this, once so much of it was measured `since` then."""
    _Clock.pace, _Clock.since = pace, since


def patch(backend: Any, response: Any) -> None:
    """Evaluate before every look; remember when a state was set by hand."""
    for name in ("describe_alarms", "describe_alarm_history", "describe_alarms_for_metric"):
        setattr(response, name, _after_evaluation(getattr(response, name)))
    set_state = backend.set_alarm_state

    def set_alarm_state(self: Any, alarm_name: str, *args: Any, **kwargs: Any) -> None:
        set_state(self, alarm_name, *args, **kwargs)
        self.alarms[alarm_name].sandbox_held_until = datetime.now(UTC) + _HELD

    backend.set_alarm_state = set_alarm_state


def _after_evaluation(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def look_now(self: Any) -> Any:
        evaluate(self.cloudwatch_backend, datetime.now(UTC), pace=_Clock.pace, since=_Clock.since)
        return look(self)

    return look_now


def evaluate(backend: Any, now: datetime, *, pace: float = 1.0, since: datetime = _ALWAYS) -> None:
    """Bring each alarm of a region to the state that its metrics mean at `now`."""
    for alarm in list(backend.alarms.values()):
        held = getattr(alarm, "sandbox_held_until", None)
        if alarm.comparison_operator not in _COMPARISONS or (held and held > now):
            continue
        try:
            _evaluate(backend, alarm, now, pace, since)
        except SandboxError as error:  # one alarm that cannot be worked out hides no other
            alarm.state_reason = f"Not evaluated: {error}"
    alarm_composites.evaluate(backend)


def _evaluate(backend: Any, alarm: Any, now: datetime, pace: float, since: datetime) -> None:
    queries, value_of = _queries(alarm)
    measured = [query["MetricStat"] for query in queries if "MetricStat" in query]
    period_s = max((one["Period"] for one in measured), default=60)
    asked = int(alarm.evaluation_periods)
    dense = all(one["Metric"]["Namespace"].startswith(_DENSE) for one in measured)
    looked_at = timedelta(seconds=asked * metrics.shortened(period_s, pace))
    if not dense or now - looked_at < since:
        pace = 1.0
    # periods that end with this second, not on the clock: an alarm has not to wait for a full one
    end = now.replace(microsecond=0) + timedelta(seconds=1)
    start = end - timedelta(seconds=asked * metrics.shortened(period_s, pace))
    answers = metrics.Answers(
        metrics.store_of(backend), queries, start, end, aligned=False, pace=pace
    )
    values = list(answers.of(value_of).values())
    if not values:
        return
    breaching = _breaching(alarm, values, missing=asked - len(values))
    if breaching >= int(alarm.datapoints_to_alarm or asked):
        _enter(alarm, "ALARM", values, now)
    elif len(values) == asked or alarm.treat_missing_data == "notBreaching":
        _enter(alarm, "OK", values, now)


def _breaching(alarm: Any, values: list[float], *, missing: int) -> int:
    compare, _ = _COMPARISONS[alarm.comparison_operator]
    found = sum(compare(value, float(alarm.threshold)) for value in values)
    return found + (missing if alarm.treat_missing_data == "breaching" else 0)


def _enter(alarm: Any, state: str, values: list[float], now: datetime) -> None:
    if alarm.state_value == state:
        return
    words = _COMPARISONS[alarm.comparison_operator][1]
    recent = ", ".join(f"{value:g}" for value in values)
    reason = (
        f"Threshold Crossed: {len(values)} datapoint(s) [{recent}] "
        f"{'were' if state == 'ALARM' else 'were not'} {words} the threshold "
        f"({float(alarm.threshold)})."
    )
    data = {
        "version": "1.0",
        "queryDate": now.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "recentDatapoints": values,
        "threshold": float(alarm.threshold),
    }
    alarm.update_state(reason, json.dumps(data), state)


def _queries(alarm: Any) -> tuple[list[dict[str, Any]], str]:
    """The alarm's metrics as GetMetricData asks for them, and the id whose value counts."""
    if not alarm.metric_data_queries:
        statistic = alarm.statistic or alarm.extended_statistic
        return [_measure("value", alarm, alarm.period, statistic, alarm.unit)], "value"
    queries = []
    for query in alarm.metric_data_queries:
        if stat := query.metric_stat:
            queries.append(_measure(query.id, stat.metric, stat.period, stat.stat, stat.unit))
        else:
            queries.append({"Id": query.id, "Expression": query.expression})
    counted = [query.id for query in alarm.metric_data_queries if query.return_data]
    return queries, counted[-1]


def _measure(name: str, metric: Any, period: Any, statistic: str, unit: Any) -> dict[str, Any]:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace,
                "MetricName": metric.metric_name,
                "Dimensions": [{"Name": d.name, "Value": d.value} for d in metric.dimensions],
            },
            "Period": int(period),
            "Stat": statistic,
            "Unit": unit,
        },
    }
