"""CloudWatch: alarms and dashboards with a past; the numbers themselves are in `metrics`.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from studio_sandbox.control_plane.moto_adapter import (
    alarm_composites,
    alarm_evaluation,
    alarm_history,
    core,
    metrics,
)

Dimensions = tuple[tuple[str, str], ...]
_LAST_ALARM = timedelta(minutes=7)  # how long each seeded alarm was raised, the last time


def patch() -> None:
    """Metrics from a store of our own; alarms that start, and change, as in AWS."""
    from moto.cloudwatch import models, responses

    metrics.patch(models.CloudWatchBackend, responses.CloudWatchResponse)
    alarm_composites.patch(responses.CloudWatchResponse)
    alarm_history.patch(responses.CloudWatchResponse)
    alarm_evaluation.patch(models.CloudWatchBackend, responses.CloudWatchResponse)
    _keep_state(models.CloudWatchBackend)


def _keep_state(backend: Any) -> None:
    """A new alarm has no data yet, a changed one keeps its state: plain moto says OK to both."""
    put_alarm = backend.put_metric_alarm

    @functools.wraps(put_alarm)
    def put_metric_alarm(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        before = self.alarms.get(name)
        alarm = put_alarm(self, name, *args, **kwargs)
        if before:
            for kept in ("state_value", "state_reason", "state_reason_data", "history"):
                setattr(alarm, kept, getattr(before, kept))
            alarm.state_updated_timestamp = before.state_updated_timestamp
        else:
            alarm.state_value = "INSUFFICIENT_DATA"
        return alarm

    backend.put_metric_alarm = put_metric_alarm


class Metrics:
    """The metrics of one region, for the seed and for what happens since."""

    def __init__(self, account: str, region: str) -> None:
        self._store = metrics.store_of(core.backend("cloudwatch", account, region))
        self._keys: set[metrics.Key] = set()

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        unit: str,
        points: Iterable[tuple[datetime, Sequence[float]]],
    ) -> None:
        """Add points: the values that were measured in the minute that began then."""
        key = (namespace, name, tuple(sorted(dimensions)))
        self._keys.add(key)
        self._store.put(
            key,
            (metrics.Datum(time, v, 1, v, v, unit) for time, values in points for v in values),
        )

    def thin_out(self, *, whole_before: datetime, drop_before: datetime) -> None:
        """Of the metrics put here: add up whole minutes from before, drop what is too old.

        Seconds stay single values: they are latencies, which are asked for percentiles.
        """
        for key in self._keys:
            self._store.thin_out(key, whole_before, drop_before, single=("Seconds",))


@dataclass(frozen=True)
class Term:
    """One metric of an alarm's expression."""

    id: str
    namespace: str
    name: str
    dimensions: Dimensions
    statistic: str


@dataclass(frozen=True)
class AlarmSpec:
    """An alarm on one metric, or on an expression over several."""

    name: str
    description: str
    threshold: float
    period_s: int
    action: str
    terms: tuple[Term, ...]
    expression: str = ""
    label: str = ""
    missing: str = "notBreaching"
    last_value: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)


def put_alarm(
    account: str, region: str, spec: AlarmSpec, *, created: datetime, ok_since: datetime
) -> None:
    """An alarm that is OK since `ok_since`, with the reason that AWS gives for it."""
    backend = core.backend("cloudwatch", account, region)
    single = None if spec.expression else spec.terms[0]
    alarm = core.call(
        backend.put_metric_alarm,
        name=spec.name,
        namespace=single and single.namespace,
        metric_name=single and single.name,
        statistic=single and single.statistic,
        period=single and spec.period_s,
        dimensions=[{"Name": k, "Value": v} for k, v in single.dimensions] if single else [],
        metric_data_queries=None if single else _queries(spec),
        comparison_operator="GreaterThanThreshold",
        evaluation_periods=1,
        datapoints_to_alarm=1,
        threshold=spec.threshold,
        description=spec.description,
        alarm_actions=[spec.action],
        ok_actions=[spec.action],
        actions_enabled=True,
        treat_missing_data=spec.missing,
        tags=[{"Key": key, "Value": value} for key, value in spec.tags.items()],
    )
    alarm.configuration_updated_timestamp = core.naive(created)
    breach = round(spec.threshold * 1.1 + 1, 1)
    _enter(alarm, spec, "OK", spec.last_value, created)
    alarm.history = []
    _enter(alarm, spec, "ALARM", breach, ok_since - _LAST_ALARM)
    _enter(alarm, spec, "OK", spec.last_value, ok_since)


def _enter(alarm: Any, spec: AlarmSpec, state: str, value: float, since: datetime) -> None:
    """Change the state at a time in the past, with the reason that AWS gives for it."""
    moment = since.strftime("%d/%m/%y %H:%M:%S")
    compared = "greater" if state == "ALARM" else "not greater"
    reason = (
        f"Threshold Crossed: 1 datapoint [{value} ({moment})] was {compared} than "
        f"the threshold ({float(spec.threshold)})."
    )
    data = {
        "version": "1.0",
        "queryDate": since.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "period": spec.period_s,
        "recentDatapoints": [value],
        "threshold": float(spec.threshold),
    }
    alarm.update_state(reason, json.dumps(data), state)
    alarm.state_updated_timestamp = core.naive(since)


def _queries(spec: AlarmSpec) -> list[Any]:
    from moto.cloudwatch import models

    queries = [
        models.MetricDataQuery(
            term.id,
            None,
            None,
            False,
            metric_stat=models.MetricStat(
                models.Metric(
                    term.name,
                    term.namespace,
                    [models.Dimension(k, v) for k, v in term.dimensions],
                ),
                spec.period_s,
                term.statistic,
                None,
            ),
        )
        for term in spec.terms
    ]
    queries.append(models.MetricDataQuery("value", spec.label, None, True, spec.expression))
    return queries


def put_dashboard(
    account: str, region: str, name: str, body: dict[str, Any], *, modified: datetime
) -> None:
    """A dashboard from its own JSON."""
    backend = core.backend("cloudwatch", account, region)
    backend.put_dashboard(name, json.dumps(body)).last_modified = core.naive(modified)
