"""show-dashboards on the sandbox: the numbers are those of another client, nothing is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import nbformat
import pytest
from tests.integration.test_clear_stuck_jobs import runbook

from runbook.clients import Clients
from runbook.studio import dashboards, widgets
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names


def plain(box: Box) -> Any:
    """A client that is not of our making."""
    variables = sandbox.environment_variables(box)
    return boto3.client(
        "cloudwatch",
        endpoint_url=box.aws_endpoint_url,
        region_name=box.region,
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


def test_percentiles_and_expressions_are_what_another_client_is_told(
    box: Box, clients: Clients
) -> None:
    theirs = plain(box)
    latency = dashboards.read(clients, names.DASHBOARDS[2], hours=1)
    (widget,) = [one for one in latency.widgets if one.title == "Response time: gateway"]
    (p95,) = [line for line in widget.lines if line.label == "p95"]
    metric = p95.query["MetricStat"]["Metric"]
    told = theirs.get_metric_statistics(
        **metric, StartTime=widget.start, EndTime=widget.end, Period=60, ExtendedStatistics=["p95"]
    )["Datapoints"]
    values = {one["Timestamp"]: one["ExtendedStatistics"]["p95"] for one in told}
    ours = dict(p95.points)
    assert len(values) > 30
    # the two operations do not begin and end with the same minute
    assert len(ours.keys() ^ values.keys()) <= 2
    both = ours.keys() & values.keys()
    assert {time: ours[time] for time in both} == pytest.approx({t: values[t] for t in both})
    health = dashboards.read(clients, names.DASHBOARDS[0], hours=1)
    (share,) = [one for one in health.widgets if one.title == "Errors 5xx in per cent"]
    balancer = [one for one in metric["Dimensions"] if one["Name"] == "LoadBalancer"]
    sums = [
        {
            one["Timestamp"]: one["Sum"]
            for one in theirs.get_metric_statistics(
                Namespace="AWS/ApplicationELB", MetricName=name, Dimensions=balancer,
                StartTime=share.start, EndTime=share.end, Period=60, Statistics=["Sum"],
            )["Datapoints"]
        }
        for name in ("HTTPCode_Target_5XX_Count", "RequestCount")
    ]  # fmt: skip
    (line,) = share.lines
    shares = {time: 100 * sums[0][time] / sums[1][time] for time in sums[0].keys() & sums[1].keys()}
    both = dict(line.points).keys() & shares.keys()
    assert len(both) > 30
    assert {t: dict(line.points)[t] for t in both} == pytest.approx({t: shares[t] for t in both})


def test_the_section_draws_all_four_and_every_series_has_data(fresh_box: Box) -> None:
    told = runbook("run", "show-dashboards", "-p", "hours", "1")
    assert (told.code, told.json["verdict"]) == (0, "succeeded"), told.err
    result = told.json["result"]
    assert result["status"] == "ok", result
    bodies = {
        name: json.loads(plain(fresh_box).get_dashboard(DashboardName=name)["DashboardBody"])
        for name in names.DASHBOARDS
    }
    assert result["widgets"] == {name: len(body["widgets"]) for name, body in bodies.items()}
    notebook = nbformat.read(Path(told.json["notebook"]), as_version=4)
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    kinds = [w["type"] for body in bodies.values() for w in body["widgets"]]
    assert len(pictures) == kinds.count("metric")
    text = json.dumps(outputs)
    for body in bodies.values():
        for widget in body["widgets"]:
            assert json.dumps(widget["properties"].get("title", ""))[1:-1] in text


def test_a_widget_that_cannot_be_drawn_says_why_in_its_place(
    fresh_box: Box, clients: Clients
) -> None:
    query = "SOURCE '/ecs/ai-studio-backend' | stats p95(latency_ms)"
    requests = ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", "nobody"]
    body = {
        "widgets": [
            {"type": "metric", "x": 0, "y": 6, "properties": {"metrics": [requests]}},
            {"type": "log", "x": 0, "y": 0, "properties": {"title": "Broken", "query": query}},
            {"type": "explorer", "x": 6, "y": 0, "properties": {"title": "Explorer"}},
            {"type": "metric", "x": 0, "y": 9, "properties": {"title": "None", "metrics": []}},
        ]
    }  # fmt: skip
    clients.aws("cloudwatch").put_dashboard(DashboardName="odd", DashboardBody=json.dumps(body))
    odd = dashboards.read(clients, "odd", hours=1)
    assert [one.title for one in odd.widgets] == ["Broken", "Explorer", "metric", "None"]
    told = dashboards.findings([odd, dashboards.read(clients, "nowhere", hours=1)])
    assert told["status"] == "warning"
    assert told["missing"] == ["nowhere"]
    assert told["empty"] == ["odd, metric: RequestCount"]
    assert len(told["cannot"]) == 3
    assert "MalformedQueryException" in told["cannot"][0]
    assert "'explorer' are not drawn here" in told["cannot"][1]
    for widget in odd.widgets:
        assert all(repr(part) for part in widgets.parts(widget))
