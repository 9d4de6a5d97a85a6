"""CloudWatch's dashboards: their own definitions, and the data of each widget.

    board = dashboards.read(rb.clients, "NAME", hours=3)
    board.draw()                    its widgets as pictures and tables (see `widgets`)
    dashboards.findings(boards)

A widget is read as the console reads it: metrics in their shorthand, expressions, percentiles,
periods and regions of their own. What cannot be read says why, in its place.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from runbook.clients import Clients
from runbook.headline import Status
from runbook.studio import cloudwatch
from runbook.studio.cloudwatch import Alarm
from runbook.wait import SYSTEM_CLOCK, DeadlinePassed, Wait

_PERIOD_S, _STATISTIC = 300, "Average"  # CloudWatch's own, where a widget says nothing
_SOURCE = re.compile(r"\s*SOURCE\s+(?P<groups>'[^']*'(?:\s*,\s*'[^']*')*)\s*\|?", re.IGNORECASE)
_QUERY_WITHIN_S = 60.0
_AT_ONCE = 8
_ALARM = re.compile(r"arn:aws[a-z-]*:cloudwatch:[^:]*:\d+:alarm:(.+)")


@dataclass(frozen=True)
class Line:
    """One series of a metric widget: what is asked, and what is shown; points oldest first."""

    query: Mapping[str, Any]
    label: str
    of: str  # statistic and period, or the expression
    axis: str = "left"
    color: str = ""
    points: tuple[tuple[datetime, float], ...] = ()


@dataclass(frozen=True)
class Widget:
    """One widget, with what it shows. `cannot` is why nothing is shown, if so."""

    type: str
    title: str
    properties: Mapping[str, Any]
    start: datetime
    end: datetime
    lines: tuple[Line, ...] = ()
    columns: tuple[str, ...] = ()  # of a log query's rows
    rows: tuple[tuple[str, ...], ...] = ()
    alarms: tuple[Alarm, ...] = ()
    cannot: str = ""

    @property
    def empty(self) -> tuple[str, ...]:
        """Series without a point, and alarms that are not there."""
        lost = [name for name in alarm_names(self.properties) if self.type == "alarm"
                and name not in {alarm.name for alarm in self.alarms}]  # fmt: skip
        return tuple(line.label for line in self.lines if not line.points) + tuple(lost)


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. `there` is False when the account has none of that name."""

    name: str
    region: str
    hours: float
    widgets: tuple[Widget, ...] = ()
    there: bool = True

    @property
    def url(self) -> str:
        """Where the console shows it."""
        place = f"https://{self.region}.console.aws.amazon.com/cloudwatch/home"
        return f"{place}?region={self.region}#dashboards/dashboard/{self.name}"

    def draw(self) -> None:
        """Show all but its log queries: a picture and a table for each widget, in their order."""
        from runbook.studio import widgets

        widgets.show(self, [one for one in self.widgets if one.type != "log"])

    def draw_queries(self) -> None:
        """Show its log queries, as tables."""
        from runbook.studio import widgets

        widgets.show(self, [one for one in self.widgets if one.type == "log"])


@dataclass
class _Shorthand:
    """CloudWatch's shorthand: `.` repeats a value of the metric before, `...` all that fit."""

    before: list[str] = field(default_factory=list)

    def whole(self, given: Sequence[Any]) -> list[str]:
        """The words of a metric, written out."""
        words = [str(word) for word in given]
        if words and words[0] == "...":
            tail = words[1:]
            words = [*self.before[: len(self.before) - len(tail)], *tail]
        words = [self.before[n] if word == "." and n < len(self.before) else word
                 for n, word in enumerate(words)]  # fmt: skip
        self.before = words
        return words


def read(clients: Clients, name: str, *, hours: float) -> Dashboard:
    """A dashboard with the data of all its widgets, over the last `hours`."""
    region = clients.region
    try:
        body = clients.aws("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ResourceNotFound", "DashboardNotFoundError"):
            raise
        return Dashboard(name, region, hours, there=False)
    placed = sorted(
        json.loads(body).get("widgets", ()), key=lambda one: (one.get("y", 0), one.get("x", 0))
    )
    end = SYSTEM_CLOCK.now()
    begun = [_begin(widget, end - timedelta(hours=hours), end) for widget in placed]
    for widget in begun:
        _client_of(clients, widget)  # made here: making clients is nothing for threads
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        filled = tuple(pool.map(lambda one: _filled(clients, one), begun))
    return Dashboard(name, region, hours, filled)


def lines_of(properties: Mapping[str, Any]) -> tuple[list[Line], list[dict[str, Any]]]:
    """The series that a metric widget shows, and every query that they need. Pure."""
    shown, asked = list[Line](), list[dict[str, Any]]()
    metrics = _written_out(properties.get("metrics", ()))
    names = iter(names_of([words for words, options in metrics if "expression" not in options]))
    stat, period = properties.get("stat", _STATISTIC), properties.get("period", _PERIOD_S)
    for number, (words, options) in enumerate(metrics):
        query: dict[str, Any] = {"Id": options.get("id", f"m{number}")}
        if "expression" in options:
            query["Expression"], of = options["expression"], options["expression"]
            query["Period"] = int(options.get("period", period))
            named = options.get("label") or options["expression"]
        else:
            name = next(names)
            each = {"stat": options.get("stat", stat), "period": options.get("period", period)}
            query["MetricStat"] = {
                "Metric": _metric(words), "Period": int(each["period"]), "Stat": each["stat"],
            }  # fmt: skip
            of = f"{each['stat']} of {int(each['period'])} s"
            named = options.get("label") or name
        query["ReturnData"] = options.get("visible", True) is not False
        asked.append(query)
        if query["ReturnData"]:
            shown.append(
                Line(query, named, of, options.get("yAxis", "left"), options.get("color", ""))
            )
    return shown, asked


def names_of(metrics: Sequence[Sequence[str]]) -> list[str]:
    """What metrics without a label are called: by what sets each apart from the others. Pure."""
    told = [[words[1], *words[3::2]] for words in metrics]  # the name, and the dimensions' values
    common = set.intersection(*map(set, told)) if told else set()
    return [" ".join(word for word in words if word not in common) or words[0] for words in told]


def alarm_names(properties: Mapping[str, Any]) -> list[str]:
    """The alarms that an alarm widget names, by their ARNs. Pure."""
    matches = [_ALARM.fullmatch(arn) for arn in properties.get("alarms", ())]
    return [found[1] for found in matches if found]


def split_query(query: str) -> tuple[list[str], str]:
    """The log groups of a widget's query, and the query without them. Pure."""
    groups: list[str] = []
    while found := _SOURCE.match(query):
        groups += re.findall(r"'([^']*)'", found["groups"])
        query = query[found.end() :]
    return groups, query.strip()


def findings(boards: Iterable[Dashboard]) -> dict[str, Any]:
    """What the dashboards show and do not show, as data, with `status` and `says`. Pure."""
    every = list(boards)
    missing = [one.name for one in every if not one.there]
    cannot = [
        f"{one.name}, {w.title}: {w.cannot}" for one in every for w in one.widgets if w.cannot
    ]
    empty = [f"{one.name}, {w.title}: {name}" for one in every for w in one.widgets
             for name in w.empty]  # fmt: skip
    status: Status = "warning" if missing or cannot or empty or not every else "ok"
    told = [
        f"{what}: {', '.join(found[:3])}{f' and {len(found) - 3} more' if len(found) > 3 else ''}"
        for what, found in (("Missing", missing), ("Cannot be drawn", cannot), ("No data", empty))
        if found
    ]
    widgets = [widget for one in every for widget in one.widgets]
    says = ". ".join(told) or (
        f"{len(every)} dashboards with {len(widgets)} widgets; each of their "
        f"{sum(len(widget.lines) for widget in widgets)} series has data"
    )
    return {
        "status": status,
        "says": f"{says}.",
        "missing": missing,
        "cannot": cannot,
        "empty": empty,
        "widgets": {one.name: len(one.widgets) for one in every},
    }


def _begin(found: Mapping[str, Any], start: datetime, end: datetime) -> Widget:
    properties = found.get("properties", {})
    title = properties.get("title") or found.get("type", "widget")
    return Widget(found.get("type", ""), str(title), properties, start, end)


def _client_of(clients: Clients, widget: Widget) -> Any:
    """The client that a widget's data comes from, in the region that it names."""
    service = "logs" if widget.type == "log" else "cloudwatch"
    return clients.aws(service, region=str(widget.properties.get("region", "")))


def _filled(clients: Clients, widget: Widget) -> Widget:
    """The widget with its data, or with the reason why it has none."""
    try:
        match widget.type:
            case "text":
                return widget
            case "metric":
                return _with_lines(clients, widget)
            case "log":
                return _with_rows(clients, widget)
            case "alarm":
                client = _client_of(clients, widget)
                names = alarm_names(widget.properties)
                found = cloudwatch.read_alarms(client, names=names) if names else []
                return replace(widget, alarms=tuple(found))
    except ClientError as error:
        told = error.response["Error"]
        return replace(widget, cannot=f"{told['Code']}: {told['Message']}")
    except DeadlinePassed as late:
        return replace(widget, cannot=late.message)
    return replace(widget, cannot=f"widgets of the type {widget.type!r} are not drawn here")


def _with_lines(clients: Clients, widget: Widget) -> Widget:
    lines, asked = lines_of(widget.properties)
    if not asked:
        return replace(widget, cannot="it names no metric")
    periods = [one.get("Period") or one["MetricStat"]["Period"] for one in asked]
    # of what is published every six hours, three hours would show nothing
    start = min(widget.start, widget.end - timedelta(seconds=3 * max(periods)))
    client = _client_of(clients, widget)
    pages = client.get_paginator("get_metric_data").paginate(
        MetricDataQueries=asked, StartTime=start, EndTime=widget.end, ScanBy="TimestampAscending"
    )
    points: dict[str, list[tuple[datetime, float]]] = {}
    for result in (one for page in pages for one in page["MetricDataResults"]):
        pairs = zip(result["Timestamps"], result["Values"], strict=True)
        points.setdefault(result["Id"], []).extend(pairs)
    filled = [replace(line, points=tuple(points.get(line.query["Id"], ()))) for line in lines]
    return replace(widget, lines=tuple(filled), start=start)


def _with_rows(clients: Clients, widget: Widget) -> Widget:
    """The rows of a log widget's query. Raises DeadlinePassed; then the query is stopped."""
    groups, query = split_query(widget.properties.get("query", ""))
    client = _client_of(clients, widget)
    begun = client.start_query(
        logGroupNames=groups,
        queryString=query,
        startTime=int(widget.start.timestamp()),
        endTime=int(widget.end.timestamp()),
    )["queryId"]

    def ended() -> Any:
        answer = client.get_query_results(queryId=begun)
        return None if answer["status"] in ("Scheduled", "Running") else answer

    wait = Wait(_QUERY_WITHIN_S, interval_s=1, factor=clients.environment.waits.factor)
    try:
        answer = wait.until(ended, what=f"the query of {widget.title!r}")
    except DeadlinePassed:
        client.stop_query(queryId=begun)
        raise
    if answer["status"] != "Complete":
        return replace(widget, cannot=f"the query is {answer['status']}")
    rows = [
        {cell["field"]: cell["value"] for cell in row if cell["field"] != "@ptr"}
        for row in answer["results"]
    ]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    table = tuple(tuple(row.get(name, "") for name in columns) for row in rows)
    return replace(widget, columns=columns, rows=table)


def _written_out(entries: Sequence[Any]) -> list[tuple[list[str], Mapping[str, Any]]]:
    """Each entry's words, without shorthand (none for an expression), and its options."""
    shorthand, found = _Shorthand(), []
    for entry in entries:
        options = next((word for word in entry if isinstance(word, Mapping)), {})
        words = [word for word in entry if not isinstance(word, Mapping)]
        found.append((shorthand.whole(words) if words else [], options))
    return found


def _metric(words: Sequence[str]) -> dict[str, Any]:
    namespace, name, *rest = words
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in pairs],
    }
