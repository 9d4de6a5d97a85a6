"""CloudWatch: points and alarms with a past; what moto would compute wrongly is refused.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.control_plane.moto_adapter import core

Dimensions = tuple[tuple[str, str], ...]
_KNOWN_STATISTICS = {"Average", "Sum", "Minimum", "Maximum", "SampleCount"}


def patch() -> None:
    """No silent None for percentiles, no empty answer to metric math, alarms start as in AWS."""
    from moto.cloudwatch import models, responses

    _refuse_percentiles(models.CloudWatchBackend, responses.CloudWatchResponse)
    _keep_state(models.CloudWatchBackend)


def _refuse_percentiles(backend: Any, response: Any) -> None:
    """Plain moto answers percentiles with nulls, and metric math that it cannot parse with []."""
    metric_data, metric_statistics = backend.get_metric_data, response.get_metric_statistics

    def get_metric_data(self: Any, queries: list[dict[str, Any]], *a: Any, **k: Any) -> Any:
        for query in queries:
            _refuse_unknown(query)
        return metric_data(self, queries, *a, **k)

    def get_metric_statistics(self: Any) -> Any:
        if self._get_param("ExtendedStatistics"):
            raise NotInSandbox("percentiles (ExtendedStatistics)")
        return metric_statistics(self)

    backend.get_metric_data = get_metric_data
    response.get_metric_statistics = get_metric_statistics


def _refuse_unknown(query: dict[str, Any]) -> None:
    if "Expression" in query:
        raise NotInSandbox(f"metric math ({query['Expression']})")
    statistic = query["MetricStat"]["Stat"]
    if statistic not in _KNOWN_STATISTICS:
        raise NotInSandbox(f"the statistic {statistic}")


def _keep_state(backend: Any) -> None:
    """A new alarm has no data yet, a changed one keeps its state: plain moto says OK to both."""
    put_alarm = backend.put_metric_alarm

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


@dataclass(frozen=True)
class Point:
    """What one minute of a metric holds: its values, or what they came to."""

    time: datetime
    values: Sequence[float] = ()
    count: float = 0
    total: float = 0
    lowest: float = 0
    highest: float = 0


class Metrics:
    """The metrics of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        from moto.cloudwatch import models

        self._data = core.backend("cloudwatch", account, region).metric_data
        self._models = models

    def put(
        self, namespace: str, name: str, dimensions: Dimensions, unit: str, points: list[Point]
    ) -> None:
        """Add points: each value as one datum, a summary as one statistic set."""
        named = [{"Name": key, "Value": value} for key, value in dimensions]
        for point in points:
            time = point.time  # aware: so are the times that moto compares with
            self._data.extend(
                self._models.MetricDatum(namespace, name, value, named, time, unit)
                for value in point.values
            )
            if point.count:
                self._data.append(
                    self._models.MetricAggregatedDatum(
                        namespace,
                        name,
                        point.lowest,
                        point.highest,
                        point.count,
                        point.total,
                        named,
                        time,
                        unit,
                    )
                )


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
    _be_ok(alarm, spec, ok_since)


def _be_ok(alarm: Any, spec: AlarmSpec, since: datetime) -> None:
    moment = since.strftime("%d/%m/%y %H:%M:%S")
    reason = (
        f"Threshold Crossed: 1 datapoint [{spec.last_value} ({moment})] was not greater than "
        f"the threshold ({float(spec.threshold)})."
    )
    data = {
        "version": "1.0",
        "queryDate": since.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "period": spec.period_s,
        "recentDatapoints": [spec.last_value],
        "threshold": float(spec.threshold),
    }
    alarm.update_state(reason, json.dumps(data), "OK")
    alarm.state_updated_timestamp = core.naive(since)
    alarm.history = []


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
