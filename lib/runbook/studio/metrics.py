"""CloudWatch metrics, several in one request: one value each of a stretch of time, or all of them.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
_AT_ONCE = 500  # queries that GetMetricData takes
Points = list[tuple[datetime, float]]


@dataclass(frozen=True)
class Metric:
    """One metric as it is asked for; `stat` in CloudWatch's words: Average, Sum, p95."""

    namespace: str
    name: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    stat: str = "Average"

    def query(self, number: int, period_s: int) -> dict[str, Any]:
        """In the words of GetMetricData."""
        dimensions = [{"Name": key, "Value": value} for key, value in self.dimensions.items()]
        metric = {
            "Namespace": self.namespace,
            "MetricName": self.name,
            "Dimensions": dimensions,
        }
        stat = {"Metric": metric, "Period": period_s, "Stat": self.stat}
        return {"Id": f"m{number}", "MetricStat": stat}


def read(
    cloudwatch: Any,
    metrics: Mapping[Key, Metric],
    *,
    start: datetime,
    end: datetime,
    period_s: int = 60,
) -> dict[Key, Points]:
    """The points of each metric, oldest first; none where CloudWatch has none."""
    keys = list(metrics)
    found: dict[Key, Points] = {key: [] for key in keys}
    for first in range(0, len(keys), _AT_ONCE):
        batch = keys[first : first + _AT_ONCE]
        queries = [metrics[key].query(number, period_s) for number, key in enumerate(batch)]
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                times = (moment.astimezone(UTC) for moment in result["Timestamps"])
                found[batch[int(result["Id"][1:])]] += zip(times, result["Values"], strict=True)
    return found


def mean(points: Sequence[tuple[datetime, float]]) -> float | None:
    """The mean of the points' values; None of none. Pure."""
    return sum(value for _, value in points) / len(points) if points else None


def total(points: Sequence[tuple[datetime, float]]) -> float:
    """The sum of the points' values. Pure."""
    return sum(value for _, value in points)


def since(points: Points, moment: datetime) -> Points:
    """The points from a moment on. Pure."""
    return [(at, value) for at, value in points if at >= moment]


def until(points: Points, moment: datetime) -> Points:
    """The points before a moment. Pure."""
    return [(at, value) for at, value in points if at < moment]
