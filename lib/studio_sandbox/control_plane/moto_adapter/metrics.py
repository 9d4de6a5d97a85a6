"""CloudWatch's numbers: kept by metric, added up by period, percentiles from raw values.

Replaces moto's own store, which is one list for all metrics: it ignores the namespace when there
are dimensions, answers a metric without dimensions with all that share its name, lists the same
metric once a point, gives nulls for percentiles, and answers most metric math with nothing.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from studio_sandbox.control_plane import metric_math
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError

Dimensions = tuple[tuple[str, str], ...]
Key = tuple[str, str, Dimensions]  # namespace, name, dimensions in order of their names

_PAGE = 500
_STATISTICS = ("Average", "Sum", "Minimum", "Maximum", "SampleCount")
_ADDED_UP = ("Sum", "SampleCount")  # grow with the length of a period
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)$")


class Datum(NamedTuple):
    """What was put once: a value (`samples` 1), or a statistic set."""

    time: datetime
    total: float
    samples: float
    lowest: float
    highest: float
    unit: str


class Store:
    """The metrics of one account and region."""

    def __init__(self) -> None:
        self._data: dict[Key, list[Datum]] = defaultdict(list)

    def put(self, key: Key, data: Iterable[Datum]) -> None:
        """Add data to a metric."""
        self._data[key].extend(data)

    def thin_out(
        self, key: Key, whole_before: datetime, drop_before: datetime, single: tuple[str, ...]
    ) -> None:
        """Keep one datum a minute from before `whole_before`, none from before `drop_before`."""
        minutes: dict[datetime, list[Datum]] = defaultdict(list)
        kept = []
        for datum in self._data[key]:
            if datum.time >= whole_before or datum.unit in single:
                kept.append(datum)
            else:
                minutes[datum.time.replace(second=0, microsecond=0)].append(datum)
        whole = [_added_up(moment, data) for moment, data in sorted(minutes.items())]
        self._data[key] = [datum for datum in (*whole, *kept) if datum.time >= drop_before]

    def names(self) -> list[Key]:
        """All metrics that have data, in a fixed order."""
        return sorted(self._data)

    def by_period(
        self,
        key: Key,
        start: datetime,
        end: datetime,
        period_s: int,
        unit: str | None,
        offset_s: int = 0,
    ) -> list[tuple[datetime, list[Datum]]]:
        """Data from `start` until before `end`, in periods aligned to the clock, or beside it."""
        periods: dict[int, list[Datum]] = defaultdict(list)
        for datum in self._data.get(key, ()):
            if start <= datum.time < end and unit in (None, "", datum.unit):
                periods[_period_of(datum.time, period_s, offset_s)].append(datum)
        return [(datetime.fromtimestamp(at, UTC), periods[at]) for at in sorted(periods)]


def _added_up(moment: datetime, data: list[Datum]) -> Datum:
    """One statistic set of several data: every statistic of it is theirs, but for percentiles."""
    return Datum(
        moment,
        sum(one.total for one in data),
        sum(one.samples for one in data),
        min(one.lowest for one in data),
        max(one.highest for one in data),
        data[0].unit,
    )


def _period_of(moment: datetime, period_s: int, offset_s: int) -> int:
    """When the period that a moment lies in begins, in seconds since the epoch."""
    since = int(moment.timestamp()) - offset_s
    return since // period_s * period_s + offset_s


def store_of(backend: Any) -> Store:
    """The store of one of moto's CloudWatch backends; a reset drops both."""
    if not hasattr(backend, "sandbox_metrics"):
        backend.sandbox_metrics = Store()
    store: Store = backend.sandbox_metrics
    return store


def patch(backend: Any, response: Any) -> None:
    """Let moto answer its metric operations from the store."""
    backend.put_metric_data = _put_metric_data
    response.list_metrics = _list_metrics
    response.get_metric_statistics = _get_metric_statistics
    response.get_metric_data = _get_metric_data


def key_of(namespace: str, name: str, dimensions: Iterable[dict[str, str]]) -> Key:
    """A metric's identity: dimensions in any order are the same metric."""
    return namespace, name, tuple(sorted((d["Name"], d["Value"]) for d in dimensions))


def statistic(name: str, data: list[Datum]) -> float | None:
    """One statistic over data; None where AWS has none either.

    A percentile needs single values: a statistic set has one only if all its values are equal.
    Raises NotInSandbox for trimmed means and the like.
    """
    if name in _STATISTICS:
        total, count = sum(d.total for d in data), sum(d.samples for d in data)
        values = {
            "Average": total / count if count else 0.0,
            "Sum": total,
            "SampleCount": count,
            "Minimum": min(d.lowest for d in data),
            "Maximum": max(d.highest for d in data),
        }
        return float(values[name])
    percentile = _PERCENTILE.match(name)
    if not percentile:
        raise NotInSandbox(f"the statistic {name}")
    if any(d.lowest != d.highest for d in data):
        return None
    values_in_order = sorted(v for d in data for v in [d.lowest] * max(1, int(d.samples)))
    return _percentile(values_in_order, float(percentile[1]))


def _percentile(values: list[float], percent: float) -> float:
    position = (len(values) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (position - below)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
    for number, metric in enumerate(metric_data, start=1):
        self._validate_parameters_put_metric_data(metric, number)
    for metric in metric_data:
        key = key_of(namespace, metric["MetricName"], metric.get("Dimensions") or [])
        store_of(self).put(key, _data(metric))


def _data(metric: dict[str, Any]) -> Iterator[Datum]:
    time = _aware(metric.get("Timestamp") or datetime.now(UTC))
    unit = metric.get("Unit") or "None"
    if stats := metric.get("StatisticValues"):
        yield Datum(
            time,
            float(stats["Sum"]),
            float(stats["SampleCount"]),
            float(stats["Minimum"]),
            float(stats["Maximum"]),
            unit,
        )
        return
    values = [float(value) for value in metric.get("Values") or [metric.get("Value", 0)]]
    counts = [float(count) for count in metric.get("Counts") or [1] * len(values)]
    for value, count in zip(values, counts, strict=True):
        yield Datum(time, value * count, count, value, value, unit)


def _list_metrics(self: Any) -> Any:
    """Each metric once; plain moto lists a metric as often as it has points."""
    from moto.core.responses import ActionResult

    namespace, name = self._get_param("Namespace"), self._get_param("MetricName")
    wanted = [(d["Name"], d.get("Value")) for d in self._get_param("Dimensions") or []]
    found = [
        key
        for key in store_of(self.cloudwatch_backend).names()
        if namespace in (None, "", key[0])
        and name in (None, "", key[1])
        and all(any(n == dn and v in (None, "", dv) for dn, dv in key[2]) for n, v in wanted)
    ]
    first = int(self._get_param("NextToken") or 0)
    answer: dict[str, Any] = {"Metrics": [_described(key) for key in found[first : first + _PAGE]]}
    if first + _PAGE < len(found):
        answer["NextToken"] = str(first + _PAGE)
    return ActionResult(answer)


def _described(key: Key) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in key[2]]
    return {"Namespace": key[0], "MetricName": key[1], "Dimensions": dimensions}


def _get_metric_statistics(self: Any) -> Any:
    from moto.core.responses import ActionResult

    plain = self._get_param("Statistics") or []
    extended = self._get_param("ExtendedStatistics") or []
    if not plain and not extended:
        raise SandboxError(
            "Must specify either Statistics or ExtendedStatistics",
            code="InvalidParameterCombination",
            status=400,
        )
    name = self._get_param("MetricName")
    key = key_of(self._get_param("Namespace"), name, self._get_param("Dimensions") or [])
    start, end = _range(self._get_param("StartTime"), self._get_param("EndTime"))
    period_s = int(self._get_param("Period"))
    periods = store_of(self.cloudwatch_backend).by_period(
        key, start, end, period_s, self._get_param("Unit")
    )
    points = [_datapoint(time, data, plain, extended) for time, data in periods]
    return ActionResult({"Label": name, "Datapoints": points})


def _datapoint(
    time: datetime, data: list[Datum], plain: list[str], extended: list[str]
) -> dict[str, Any]:
    point: dict[str, Any] = {"Timestamp": time, "Unit": data[0].unit}
    point.update({name: statistic(name, data) for name in plain})
    percentiles = {name: statistic(name, data) for name in extended}
    if found := {name: value for name, value in percentiles.items() if value is not None}:
        point["ExtendedStatistics"] = found
    return point


def _range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    start, end = _aware(start), _aware(end)
    if start >= end:
        raise SandboxError(
            "The parameter StartTime must be less than the parameter EndTime.",
            code="InvalidParameterValue",
            status=400,
        )
    return start, end


def _get_metric_data(self: Any) -> Any:
    from moto.core.responses import ActionResult

    start, end = _range(self._get_param("StartTime"), self._get_param("EndTime"))
    newest_first = (self._get_param("ScanBy") or "TimestampDescending") == "TimestampDescending"
    queries = self._get_param("MetricDataQueries") or []
    found = Answers(store_of(self.cloudwatch_backend), queries, start, end)
    results = [
        _described_series(query, found.of(query["Id"]), newest_first=newest_first)
        for query in queries
        if query.get("ReturnData", True)
    ]
    return ActionResult({"MetricDataResults": results, "Messages": []})


class Answers:
    """The series of each query of one request, worked out when first asked for."""

    def __init__(
        self,
        store: Store,
        queries: list[dict[str, Any]],
        start: datetime,
        end: datetime,
        *,
        aligned: bool = True,
        pace: float = 1.0,
    ) -> None:
        """Between two times; periods are aligned to the clock, or (for alarms) to `start`.

        With a `pace` a period is shorter by it, and stands for a whole one: what is added up in it
        is multiplied.
        """
        self._store = store
        self._queries = {query["Id"]: query for query in queries}
        self._range = start, end
        self._offset_s = 0 if aligned else int(start.timestamp())
        self._pace = pace
        self._found: dict[str, metric_math.Series] = {}
        self._asked: list[str] = []

    def of(self, name: str) -> metric_math.Series:
        """The series of one query. Raises SandboxError as AWS words it."""
        if name not in self._found:
            query = self._queries[name]
            plain = "MetricStat" in query
            self._found[name] = self._measured(query) if plain else self._computed(query)
        return self._found[name]

    def _measured(self, query: dict[str, Any]) -> metric_math.Series:
        return _series(self._store, query["MetricStat"], *self._range, self._offset_s, self._pace)

    def _computed(self, query: dict[str, Any]) -> metric_math.Series:
        name, expression = query["Id"], query["Expression"]
        if name in self._asked:
            raise _invalid(f"the expression {name} refers to itself")
        self._asked.append(name)
        try:
            # METRICS() means all queries that measure; an expression names the others itself
            wanted = metric_math.names_in(expression) & self._queries.keys()
            if "METRICS(" in expression:
                wanted |= {k for k, q in self._queries.items() if "MetricStat" in q}
            series = {one: self.of(one) for one in self._queries if one in wanted}
            value = metric_math.evaluate(expression, series, period_s=self._period_s(query))
        except metric_math.BadExpression as error:
            raise _invalid(f"Error in expression '{name}': {error}") from error
        if not isinstance(value, dict):
            raise _invalid(f"The expression '{name}' does not come to one time series.")
        return value

    def _period_s(self, query: dict[str, Any]) -> int:
        periods = [q["MetricStat"]["Period"] for q in self._queries.values() if "MetricStat" in q]
        return int(query.get("Period") or max(periods, default=60))


def _invalid(message: str) -> SandboxError:
    return SandboxError(message, code="ValidationError", status=400)


def shortened(period_s: int, pace: float) -> int:
    """A period as it is looked at, in whole seconds."""
    return max(1, round(period_s / pace))


def _series(
    store: Store, wanted: dict[str, Any], start: datetime, end: datetime, offset_s: int, pace: float
) -> metric_math.Series:
    metric = wanted["Metric"]
    key = key_of(metric["Namespace"], metric["MetricName"], metric.get("Dimensions") or [])
    period_s = shortened(int(wanted["Period"]), pace)
    times = int(wanted["Period"]) / period_s if wanted["Stat"] in _ADDED_UP else 1
    # the period that `start` lies in is answered whole, as AWS rounds the start down
    first_s = _period_of(start, period_s, offset_s)
    first = datetime.fromtimestamp(first_s, UTC)
    periods = store.by_period(key, first, end, period_s, wanted.get("Unit"), offset_s)
    found = [(time, statistic(wanted["Stat"], data)) for time, data in periods]
    return {time: value * times for time, value in found if value is not None}


def _described_series(
    query: dict[str, Any], series: metric_math.Series, *, newest_first: bool
) -> dict[str, Any]:
    metric = query.get("MetricStat", {}).get("Metric", {}).get("MetricName")
    times = sorted(series, reverse=newest_first)
    return {
        "Id": query["Id"],
        "Label": query.get("Label") or metric or query["Id"],
        "Timestamps": times,
        "Values": [series[time] for time in times],
        "StatusCode": "Complete",
    }
