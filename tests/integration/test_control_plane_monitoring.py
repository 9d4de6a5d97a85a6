"""Alarms, dashboards and metrics: the runbook's figures, and numbers that agree with the logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

# Alarm, threshold and seconds as the runbook's table has them ("> 10 in 5 min").
CRITICAL = {
    names.ALARM_5XX: (10, 300),
    names.ALARM_UNHEALTHY: (0, 60),
    names.ALARM_RDS_CPU: (80, 300),
    names.ALARM_REDIS_CPU: (80, 300),
    names.ALARM_DISK: (80, 300),
    names.ALARM_PROVIDER: (5, 300),
}
BALANCER = {"Namespace": "AWS/ApplicationELB"}


def period_of(alarm: dict[str, Any]) -> int:
    metrics = alarm.get("Metrics") or []
    return int(
        alarm.get("Period") or max(m["MetricStat"]["Period"] for m in metrics if "MetricStat" in m)
    )


def balancer_metric(cloudwatch: Any, name: str) -> dict[str, Any]:
    """The metric of the whole load balancer."""
    found = cloudwatch.list_metrics(**BALANCER, MetricName=name)["Metrics"]
    (metric,) = [one for one in found if len(one["Dimensions"]) == 1]
    return dict(metric)


def query(name: str, metric: dict[str, Any], stat: str, *, period: int = 300) -> dict[str, Any]:
    return {"Id": name, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}}


def ask(control_plane: Any, *queries: dict[str, Any]) -> dict[str, Any]:
    """The last hour's results by id."""
    end = control_plane.anchor
    answer = control_plane.client("cloudwatch").get_metric_data(
        MetricDataQueries=list(queries), StartTime=end - timedelta(hours=1), EndTime=end,
        ScanBy="TimestampAscending",
    )  # fmt: skip
    return {result["Id"]: result for result in answer["MetricDataResults"]}


def gateway_lines(control_plane: Any) -> list[dict[str, Any]]:
    """The gateway's requests, as its logs tell them."""
    logs = control_plane.client("logs")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=names.LOG_GROUPS[names.GATEWAY], filterPattern="{ $.status > 0 }"
    )
    return [json.loads(event["message"]) for page in pages for event in page["events"]]


@pytest.mark.parametrize("name", names.ALARMS)
def test_critical_alarm_has_the_runbooks_threshold(aws: Callable[..., Any], name: str) -> None:
    (alarm,) = aws("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert (alarm["Threshold"], period_of(alarm)) == CRITICAL[name]
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["StateValue"] == "OK"


def test_alarms_notify_a_topic_that_exists(aws: Callable[..., Any]) -> None:
    alarms = aws("cloudwatch").describe_alarms(AlarmNames=list(names.ALARMS))["MetricAlarms"]
    topics = {topic["TopicArn"] for topic in aws("sns").list_topics()["Topics"]}
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == topics


@pytest.mark.parametrize("name", names.ALARMS)
def test_metrics_of_an_alarm_exist(aws: Callable[..., Any], name: str) -> None:
    cloudwatch = aws("cloudwatch")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    stats = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics") or [] if "MetricStat" in m]
    for metric in stats or [alarm]:
        keys = ("Namespace", "MetricName", "Dimensions")
        assert cloudwatch.list_metrics(**{key: metric[key] for key in keys})["Metrics"]


def test_alarm_history_tells_of_changes_newest_first(changing: Callable[..., Any]) -> None:
    cloudwatch = changing("cloudwatch")
    cloudwatch.set_alarm_state(
        AlarmName=names.ALARM_RDS_CPU, StateValue="ALARM", StateReason="a drill"
    )
    items = cloudwatch.describe_alarm_history(AlarmName=names.ALARM_RDS_CPU)["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in items] == [
        "Alarm updated from OK to ALARM",
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
    ]
    assert json.loads(items[0]["HistoryData"])["newState"]["stateReason"] == "a drill"


def test_new_alarm_has_no_data_and_a_changed_one_keeps_its_state(
    changing: Callable[..., Any],
) -> None:
    cloudwatch = changing("cloudwatch")
    alarm = {"AlarmName": "new", "Namespace": "AWS/RDS", "MetricName": "CPUUtilization",
             "Statistic": "Average", "Period": 60, "EvaluationPeriods": 1,
             "ComparisonOperator": "GreaterThanThreshold"}  # fmt: skip
    states = []
    for threshold in (80, 90):
        cloudwatch.put_metric_alarm(**alarm, Threshold=threshold)
        (found,) = cloudwatch.describe_alarms(AlarmNames=["new"])["MetricAlarms"]
        states.append(found["StateValue"])
        cloudwatch.set_alarm_state(AlarmName="new", StateValue="ALARM", StateReason="test")
    assert states == ["INSUFFICIENT_DATA", "ALARM"]


@pytest.mark.parametrize("name", names.DASHBOARDS)
def test_dashboard_shows_metrics_that_exist(aws: Callable[..., Any], name: str) -> None:
    body = json.loads(aws("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"])
    assert body["widgets"]
    for widget in body["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                namespace, title, *dimensions = [m for m in metric if isinstance(m, str)]
                pairs = zip(dimensions[::2], dimensions[1::2], strict=True)
                region = widget["properties"]["region"]
                assert aws("cloudwatch", region=region).list_metrics(
                    Namespace=namespace,
                    MetricName=title,
                    Dimensions=[{"Name": key, "Value": value} for key, value in pairs],
                )["Metrics"], metric


def test_requests_counted_by_metrics_are_those_in_the_logs(control_plane: Any) -> None:
    lines = gateway_lines(control_plane)
    metric = {
        "Namespace": names.GATEWAY_METRICS,
        "MetricName": "ProviderErrors",
        "Dimensions": [{"Name": "Provider", "Value": "openai"}],
    }
    found = ask(control_plane, query("errors", metric, "Sum"))["errors"]
    failed = [o for o in lines if o["status"] >= 500 and o["model"].startswith("gpt")]
    assert sum(found["Values"]) == len(failed) > 0


def test_percentiles_come_from_single_values(
    changing: Callable[..., Any], control_plane: Any
) -> None:
    metric = {"Namespace": "Test", "MetricName": "Latency", "Dimensions": []}
    when = control_plane.anchor - timedelta(minutes=4)
    datum = {"MetricName": "Latency", "Timestamp": when, "Values": [*range(1, 101)]}
    changing("cloudwatch").put_metric_data(Namespace="Test", MetricData=[datum])
    found = ask(control_plane, query("p50", metric, "p50"), query("p95", metric, "p95"))
    assert found["p50"]["Values"] == [50.5]
    assert found["p95"]["Values"] == [pytest.approx(95.05)]


def test_statistics_answer_percentiles_beside_averages(control_plane: Any) -> None:
    end = control_plane.anchor
    points = control_plane.client("cloudwatch").get_metric_statistics(
        **balancer_metric(control_plane.client("cloudwatch"), "TargetResponseTime"),
        StartTime=end - timedelta(minutes=30), EndTime=end, Period=300,
        ExtendedStatistics=["p50", "p99"],
    )["Datapoints"]  # fmt: skip
    assert len(points) == 6
    assert all(p["ExtendedStatistics"]["p50"] < p["ExtendedStatistics"]["p99"] for p in points)


def test_metric_math_divides_series_by_series(control_plane: Any) -> None:
    cloudwatch = control_plane.client("cloudwatch")
    errors = balancer_metric(cloudwatch, "HTTPCode_Target_5XX_Count")
    requests = balancer_metric(cloudwatch, "RequestCount")
    found = ask(
        control_plane,
        query("e", errors, "Sum"),
        query("r", requests, "Sum"),
        {"Id": "share", "Expression": "100*e/r", "Label": "5xx in per cent"},
        {"Id": "worst", "Expression": "MAX([share, FILL(share, 0)])"},
    )
    expected = [
        100 * e / r for e, r in zip(found["e"]["Values"], found["r"]["Values"], strict=True)
    ]
    assert found["share"]["Values"] == pytest.approx(expected)
    assert found["worst"]["Values"] == found["share"]["Values"]
    assert found["share"]["Label"] == "5xx in per cent"


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("100*nobody", "ValidationError"),
        ("100*(", "ValidationError"),
        ("loop + 1", "ValidationError"),
        ("ANOMALY_DETECTION_BAND(m, 2)", "NotInTheSandbox"),
    ],
)
def test_bad_metric_math_is_an_error_and_never_an_empty_answer(
    control_plane: Any, expression: str, code: str
) -> None:
    metric = balancer_metric(control_plane.client("cloudwatch"), "RequestCount")
    with pytest.raises(ClientError) as refused:
        ask(control_plane, query("m", metric, "Sum"), {"Id": "loop", "Expression": expression})
    assert refused.value.response["Error"]["Code"] == code


def test_put_metric_is_its_own_and_listed_once(
    changing: Callable[..., Any], control_plane: Any
) -> None:
    cloudwatch = changing("cloudwatch")
    when = control_plane.anchor - timedelta(minutes=5)
    for value in (1, 2):
        cloudwatch.put_metric_data(
            Namespace="Test",
            MetricData=[{"MetricName": "RequestCount", "Value": value, "Timestamp": when}],
        )
    (metric,) = cloudwatch.list_metrics(Namespace="Test")["Metrics"]
    found = ask(control_plane, query("m", metric, "Sum"))["m"]
    assert found["Values"] == [3]


def test_alarm_follows_its_metric_up_and_down(changing: Callable[..., Any]) -> None:
    cloudwatch, states = changing("cloudwatch"), []
    cloudwatch.put_metric_alarm(
        AlarmName="queue", Namespace="Test", MetricName="Depth", Statistic="Maximum", Period=60,
        EvaluationPeriods=1, Threshold=5, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    for ago_s, value in ((None, 0), (20, 9), (5, 9)):
        if ago_s is not None:
            when = datetime.now(UTC) - timedelta(seconds=ago_s)
            datum = {"MetricName": "Depth", "Value": value, "Timestamp": when}
            cloudwatch.put_metric_data(Namespace="Test", MetricData=[datum])
        (found,) = cloudwatch.describe_alarms(AlarmNames=["queue"])["MetricAlarms"]
        states.append(found["StateValue"])
    assert states == ["INSUFFICIENT_DATA", "ALARM", "ALARM"]
    (change,) = cloudwatch.describe_alarm_history(AlarmName="queue")["AlarmHistoryItems"]
    assert change["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"


def test_share_of_provider_errors_over_the_limit_raises_its_alarm(
    changing: Callable[..., Any],
) -> None:
    cloudwatch, now = changing("cloudwatch"), datetime.now(UTC)
    for errors, state in ((5, "OK"), (1, "ALARM")):  # 5 of 100, then 6 of 100
        data = {"ProviderErrors": errors, "ProviderRequests": 100 if errors == 5 else 0}
        cloudwatch.put_metric_data(
            Namespace=names.GATEWAY_METRICS,
            MetricData=[
                {"MetricName": name, "Value": value, "Timestamp": now,
                 "Dimensions": [{"Name": "Provider", "Value": "openai"}]}
                for name, value in data.items()
            ],
        )  # fmt: skip
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=[names.ALARM_PROVIDER])["MetricAlarms"]
        assert alarm["StateValue"] == state


def test_seeded_alarms_are_ok_when_the_anchor_is_now(fresh_control_plane: Any) -> None:
    anchor = datetime.now(UTC).isoformat()
    fresh_control_plane.control("POST", "reset", {"anchor": anchor})
    alarms = fresh_control_plane.client("cloudwatch").describe_alarms(AlarmNames=[*names.ALARMS])
    assert {alarm["StateValue"] for alarm in alarms["MetricAlarms"]} == {"OK"}
