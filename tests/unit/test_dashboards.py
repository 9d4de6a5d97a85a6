"""Widgets of dashboards, read and drawn without an account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.studio import dashboards, widgets
from runbook.studio.cloudwatch import Alarm
from runbook.studio.dashboards import Dashboard, Line, Widget

END = datetime(2026, 11, 25, 12, tzinfo=UTC)
START = END - timedelta(hours=3)
POINTS = tuple((START + timedelta(minutes=30 * n), float(n)) for n in range(6))


def widget(lines: int = 2, **properties: Any) -> Widget:
    drawn = tuple(Line({"Id": f"m{n}"}, f"line {n}", "Sum of 60 s", points=POINTS)
                  for n in range(lines))  # fmt: skip
    return Widget("metric", "A title", properties, START, END, lines=drawn)


def test_shorthand_is_written_out_as_the_console_reads_it() -> None:
    shown, asked = dashboards.lines_of(
        {
            "stat": "Sum",
            "period": 60,
            "metrics": [
                ["AWS/ECS", "CPUUtilization", "ClusterName", "c", "ServiceName", "a"],
                ["...", "b", {"stat": "p95"}],
                [".", "MemoryUtilization", ".", ".", ".", ".", {"period": 300, "label": "memory"}],
            ],
        }
    )
    metrics = [one["MetricStat"] for one in asked]
    cluster = {"Name": "ClusterName", "Value": "c"}
    assert [one["Metric"]["Dimensions"] for one in metrics] == [
        [cluster, {"Name": "ServiceName", "Value": name}] for name in ("a", "b", "b")
    ]
    assert [one["Metric"]["MetricName"] for one in metrics] == [
        "CPUUtilization", "CPUUtilization", "MemoryUtilization",
    ]  # fmt: skip
    assert [(one["Stat"], one["Period"]) for one in metrics] == [
        ("Sum", 60), ("p95", 60), ("Sum", 300),
    ]  # fmt: skip
    assert [line.of for line in shown] == ["Sum of 60 s", "p95 of 60 s", "Sum of 300 s"]
    assert shown[2].label == "memory"


def test_what_is_hidden_is_asked_for_and_not_shown() -> None:
    shown, asked = dashboards.lines_of(
        {
            "metrics": [
                [{"expression": "100*e/r", "label": "share", "id": "p"}],
                ["N", "Errors", {"id": "e", "visible": False}],
                ["N", "Requests", {"id": "r", "visible": False}],
            ]
        }
    )
    assert [(one["Id"], one["ReturnData"]) for one in asked] == [
        ("p", True), ("e", False), ("r", False),
    ]  # fmt: skip
    assert [(line.label, line.of) for line in shown] == [("share", "100*e/r")]
    assert asked[1]["MetricStat"]["Period"] == 300
    assert asked[1]["MetricStat"]["Stat"] == "Average"


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ([["N", "Requests", "LB", "app/x"]], ["Requests"]),
        ([["N", "CPU", "S", "a"], ["N", "CPU", "S", "b"]], ["a", "b"]),
        ([["N", "CPU", "C", "x"], ["M", "Load", "C", "x"]], ["CPU", "Load"]),
        ([["B", "Charges", "C", "USD"], ["B", "Charges", "S", "ECS", "C", "USD"]],
         ["Charges", "ECS"]),
        ([], []),
    ],
)  # fmt: skip
def test_a_series_is_called_by_what_sets_it_apart(metrics: list[Any], names: list[str]) -> None:
    assert dashboards.names_of(metrics) == names


@pytest.mark.parametrize(
    ("query", "groups", "rest"),
    [
        ("SOURCE '/a' | fields x", ["/a"], "fields x"),
        ("SOURCE '/a' | SOURCE '/b' | fields x | sort y", ["/a", "/b"], "fields x | sort y"),
        ("source '/a', '/b' | fields x", ["/a", "/b"], "fields x"),
        ("fields x | filter m like /SOURCE 'a'/", [], "fields x | filter m like /SOURCE 'a'/"),
    ],
)
def test_a_log_query_is_parted_from_its_groups(query: str, groups: list[str], rest: str) -> None:
    assert dashboards.split_query(query) == (groups, rest)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (widget(), "A title, 2 series, timeSeries"),
        (widget(stacked=True), "A title, 2 series, stacked"),
        (widget(view="bar"), "A title, 2 series, bar"),
        (widget(view="pie"), "A title, 2 series, pie"),
        (widget(view="singleValue"), "A title, 2 series, singleValue"),
        (widget(view="gauge"), "A title, 2 series, gauge"),
        (widget(lines=0), "A title, 0 series, timeSeries"),
        (widget(yAxis={"left": {"min": 0, "max": 9, "label": "ms"}}), "A title, 2 series"),
    ],
)
def test_every_view_is_drawn(found: Widget, says: str) -> None:
    picture = widgets.plot(found)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert says in repr(picture)


def legend(axes: Any) -> set[str]:
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_annotations_are_in_the_picture_and_in_sight() -> None:
    annotations = {
        "horizontal": [
            {"label": "limit", "value": 70},
            {"value": 4, "fill": "above"},
            [{"value": 1, "label": "band"}, {"value": 2}],
        ],
        "vertical": [
            {"label": "deployed", "value": "2026-11-25T10:00:00.000Z"},
            [{"value": "2026-11-25T11:00:00Z"}, {"value": "2026-11-25T11:30:00Z"}],
        ],
    }
    (axes,) = widgets.plot(widget(annotations=annotations))._figure.axes
    assert {"limit 70", "band 1", "deployed"} <= legend(axes)
    assert axes.get_ylim()[1] > 70


def test_a_right_axis_is_drawn_apart() -> None:
    found = widget()
    right = Line({"Id": "r"}, "right", "Sum", axis="right", points=POINTS)
    both = Widget("metric", "t", {}, START, END, lines=(*found.lines, right))
    axes = widgets.plot(both)._figure.axes
    assert len(axes) == 2
    assert legend(axes[0]) >= {"line 0", "right"}


def test_a_text_is_shown_and_nothing_in_it_acts() -> None:
    found = widgets.text_of(
        "# Head <script>alert(1)</script>\n*it* **b** `c` [here](https://x.example/a?b=1&c=2)\n"
        "[no](javascript:alert(1))"
    )
    html = found._repr_html_()
    assert "<script" not in html
    assert '<a href="https://x.example/a?b=1&amp;c=2">here</a>' in html
    assert "<i>it</i> <b>b</b> <code>c</code>" in html
    assert 'href="javascript' not in html
    assert html.startswith("<h4>Head ")


def test_what_is_missing_is_told_and_a_flat_line_is_data() -> None:
    flat = Line({"Id": "a"}, "flat", "Sum", points=((START, 0.0),))
    none = Line({"Id": "b"}, "none", "Sum")
    alarm = Widget(
        "alarm", "Alarms",
        {"alarms": [f"arn:aws:cloudwatch:eu:1:alarm:{name}" for name in ("there", "gone")]},
        START, END, alarms=(Alarm("there", {}, "OK", END),),
    )  # fmt: skip
    metric = Widget("metric", "Both", {}, START, END, lines=(flat, none))
    custom = Widget("custom", "Own", {}, START, END, cannot="not drawn here")
    told = dashboards.findings(
        [Dashboard("d", "eu", 3, (metric, alarm, custom)), Dashboard("x", "eu", 3, there=False)]
    )
    assert told["status"] == "warning"
    assert told["empty"] == ["d, Both: none", "d, Alarms: gone"]
    assert told["cannot"] == ["d, Own: not drawn here"]
    assert told["says"] == (
        "Missing: x. Cannot be drawn: d, Own: not drawn here. "
        "No data: d, Both: none, d, Alarms: gone."
    )
    assert "there is none" in repr(widgets.alarm_table(alarm))
    assert "no data" in repr(widgets.line_table(metric))
