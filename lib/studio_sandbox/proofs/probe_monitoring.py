"""What is measured, logged and alarmed, and what scales by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.proofs.probing import Aws, Probe, ago, unique

# CloudWatch

_SAMPLES = [10, 20, 30, 40, 50, 60, 70, 80, 90, 1000]


def _measured(aws: Aws) -> dict[str, Any]:
    """Ten values in one minute; gives what queries ask for them with."""
    namespace = unique("Probe")
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    aws("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": "m", "Timestamp": minute, "Value": v} for v in _SAMPLES],
    )
    return {
        "metric": {"Namespace": namespace, "MetricName": "m"},
        "when": {"StartTime": minute, "EndTime": minute + timedelta(minutes=5)},
    }


def _data(aws: Aws, expression: str = "", **stats: str) -> list[float]:
    found = _measured(aws)
    queries: list[dict[str, Any]] = [
        {
            "Id": name,
            "MetricStat": {"Metric": found["metric"], "Period": 300, "Stat": stat},
            "ReturnData": not expression,
        }
        for name, stat in stats.items()
    ]
    if expression:
        queries.append({"Id": "answer", "Expression": expression})
    answer = aws("cloudwatch").get_metric_data(MetricDataQueries=queries, **found["when"])
    return [round(value, 3) for one in answer["MetricDataResults"] for value in one["Values"]]


def _percentile(aws: Aws) -> float:
    found = _measured(aws)
    (point,) = aws("cloudwatch").get_metric_statistics(
        **found["metric"], **found["when"], Period=300, ExtendedStatistics=["p50"]
    )["Datapoints"]
    return float(point["ExtendedStatistics"]["p50"])


def _alarm(aws: Aws, *, threshold: float = 100) -> str:
    metric, name = unique("Probe"), unique("probe")
    put = {"Namespace": metric, "MetricName": "m", "Period": 60, "EvaluationPeriods": 1}
    aws("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Statistic="Maximum",
        Threshold=threshold,
        ComparisonOperator="GreaterThanThreshold",
        **put,
    )
    return name + "@" + metric


def _state(aws: Aws, name: str) -> str:
    (found,) = aws("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(found["StateValue"])


def _raised(aws: Aws) -> list[Any]:
    """A new alarm without data, then with too much of it, and what its history tells."""
    name, namespace = _alarm(aws).split("@")
    states = [_state(aws, name)]
    aws("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": "m", "Value": 500, "Timestamp": datetime.now(UTC)}],
    )
    states.append(aws.until(lambda: _state(aws, name), lambda state: state == "ALARM"))
    (change, *_) = aws("cloudwatch").describe_alarm_history(
        AlarmName=name, HistoryItemType="StateUpdate"
    )["AlarmHistoryItems"]
    return [*states, change["HistorySummary"]]


_CLOUDWATCH = (
    Probe("CloudWatch", "GetMetricData: Average, Sum, p90", [145.0, 1450.0, 181.0],
          lambda aws: _data(aws, a="Average", s="Sum", p="p90")),
    Probe("CloudWatch", "GetMetricStatistics: p50", 55.0, _percentile),
    Probe("CloudWatch", "GetMetricData: 100 * a / b", [14500.0],
          lambda aws: _data(aws, "100 * a / b", a="Sum", b="SampleCount")),
    Probe("CloudWatch", "GetMetricData: an expression over nothing", "error ValidationError",
          lambda aws: _data(aws, "nobody * 2", a="Sum")),
    Probe("CloudWatch", "PutMetricAlarm, data over its threshold, DescribeAlarmHistory",
          ["INSUFFICIENT_DATA", "ALARM", "Alarm updated from INSUFFICIENT_DATA to ALARM"],
          _raised),
    Probe("CloudWatch", "DescribeAnomalyDetectors", [],
          lambda aws: aws("cloudwatch").describe_anomaly_detectors()["AnomalyDetectors"],
          refused=True),
)  # fmt: skip


# Alarms over alarms, and what scales


def _composed(aws: Aws) -> list[str]:
    """A composite alarm, before and after the alarm of its rule is raised."""
    under, name = _alarm(aws).split("@")[0], unique("probe")
    aws("cloudwatch").put_composite_alarm(AlarmName=name, AlarmRule=f"ALARM({under})")

    def state() -> str:
        found = aws("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])[
            "CompositeAlarms"
        ]
        return str(found[0]["StateValue"])

    states = [state()]
    aws("cloudwatch").set_alarm_state(AlarmName=under, StateValue="ALARM", StateReason="probe")
    return [*states, aws.until(state, lambda now: now == "ALARM")]


def _scaled_to(aws: Aws, target: float) -> list[float]:
    """The thresholds of the alarms that a target tracking policy makes."""
    scaling = aws("application-autoscaling")
    which = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{names.CLUSTER}/{names.WORKER}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    alarms = scaling.put_scaling_policy(
        PolicyName=names.scaling_policy(names.WORKER),
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": target,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ECSServiceAverageCPUUtilization"
            },
        },
        **which,
    )["Alarms"]
    found = aws("cloudwatch").describe_alarms(AlarmNames=[one["AlarmName"] for one in alarms])
    return sorted(one["Threshold"] for one in found["MetricAlarms"])


_SCALING = (
    Probe("CloudWatch", "PutCompositeAlarm, then its alarm is raised", ["OK", "ALARM"], _composed),
    Probe("Application Auto Scaling", "PutScalingPolicy at 60 %: thresholds of its alarms",
          [54.0, 60.0], lambda aws: _scaled_to(aws, 60.0)),
)  # fmt: skip


# CloudWatch Logs: 60 JSON lines, and six that are none

_LEVELS = ("ERROR", *["INFO"] * 9)
_PLAIN = ("ERROR db timeout", "WARN slow", "plain ok", "ERROR -x retry", "error lower",
          '[ERROR] foo "bar baz"')  # fmt: skip


def _lines(aws: Aws) -> str:
    """A log group with all of them; gives its name."""
    logs, group = aws("logs"), unique("/probe")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    begin = ago(3_600_000)
    events = [
        {
            "timestamp": begin + number * 30_000,
            "message": json.dumps(
                {
                    "level": _LEVELS[number % 10],
                    "trace_id": "abc123" if number == 7 else f"t{number}",
                    "latency_ms": number * 10,
                    "route": "/orders" if number % 2 else "/login",
                    "status": 200 if number % 10 else 500,
                    "user": {"id": number},
                    "tags": ["a", "b"] if number == 3 else [],
                }
            ),
        }
        for number in range(60)
    ]
    events += [
        {"timestamp": begin + 1_800_000 + number, "message": text}
        for number, text in enumerate(_PLAIN)
    ]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    return group


def _filtered(pattern: str) -> Callable[[Aws], int]:
    return lambda aws: len(
        aws("logs").filter_log_events(logGroupName=_lines(aws), filterPattern=pattern)["events"]
    )


# Pattern, and how many of the 66 lines it lets through.
_PATTERNS: Mapping[str, int] = {
    "ERROR": 9,
    "ERROR timeout": 1,
    '"bar baz"': 1,
    "?WARN ?ERROR": 10,
    "ERROR -timeout": 8,
    "%ERR[A-Z]+%": 9,
    '{ $.trace_id = "abc123" }': 1,
    "{ $.latency_ms > 500 }": 9,
    "{ ($.status = 500) && ($.latency_ms >= 100) }": 5,
    '{ $.level = "ERROR" || $.route = "/login" }': 30,
    '{ $.route = "/lo*" }': 30,
    "{ $.level = %ERR.*% }": 6,
    "{ $.user.id = 5 }": 1,
    '{ $.tags[0] = "a" }': 1,
    "{ $.status != 200 }": 6,
    "{ $.missing NOT EXISTS }": 60,
    "[first=ERROR, ...]": 3,
    '[first=ERROR, second!="db", ...]': 2,
}


def _queried(query: str) -> Callable[[Aws], list[list[str]]]:
    def ask(aws: Aws) -> list[list[str]]:
        logs = aws("logs")
        query_id = logs.start_query(
            logGroupName=_lines(aws),
            startTime=ago(7_200_000) // 1000,
            endTime=ago(0) // 1000,
            queryString=query,
        )["queryId"]
        answer = aws.until(
            lambda: logs.get_query_results(queryId=query_id),
            lambda found: found["status"] not in ("Scheduled", "Running"),
        )
        return [
            [one["value"] for one in row if one["field"] != "@ptr"] for row in answer["results"]
        ]

    return ask


_QUERIES: Mapping[str, Any] = {
    'filter level = "ERROR" | stats count(*)': [["6"]],
    "stats count(*) as n by status | sort n desc": [["200", "54"], ["500", "6"], ["6"]],
    "stats avg(latency_ms), max(latency_ms), pct(latency_ms, 50)": [["295", "590", "295"]],
    'fields user.id | filter trace_id = "abc123"': [["7"]],
    "filter @message like /^WARN/ | parse @message '* *' as level, rest | display rest": [["slow"]],
    "filter latency_ms > 560 | fields latency_ms | sort latency_ms asc | limit 2":
        [["570"], ["580"]],
    "fields route | sort @timestamp asc | dedup route | filter 1 = 1":
        "error MalformedQueryException",
    "stats p95(latency_ms)": "error MalformedQueryException",
    "this is not a query": "error MalformedQueryException",
}  # fmt: skip


def _tailed(aws: Aws) -> list[str]:
    """A live session: what is written after it began."""
    logs, group = aws("logs"), _lines(aws)
    (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    stream = logs.start_live_tail(logGroupIdentifiers=[found["arn"].removesuffix(":*")])
    updates = iter(stream["responseStream"])
    next(updates)
    logs.put_log_events(
        logGroupName=group,
        logStreamName="s",
        logEvents=[{"timestamp": ago(0), "message": "written while it was read"}],
    )
    seen: list[str] = []
    for update in updates:
        seen += [one["message"] for one in update["sessionUpdate"]["sessionResults"]]
        if seen:
            break
    stream["responseStream"].close()
    return seen


_LOGS = (
    *(
        Probe("CloudWatch Logs", f"FilterLogEvents `{pattern}`", count, _filtered(pattern))
        for pattern, count in _PATTERNS.items()
    ),
    Probe("CloudWatch Logs", "FilterLogEvents `{ $.level = `", "error InvalidParameterException",
          _filtered("{ $.level = ")),
    *(
        Probe("CloudWatch Logs", f"StartQuery `{query}`", answer, _queried(query))
        for query, answer in _QUERIES.items()
    ),
    Probe("CloudWatch Logs", "StartLiveTail, then PutLogEvents", ["written while it was read"],
          _tailed),
    Probe("CloudWatch Logs", "TestMetricFilter", 1,
          lambda aws: len(aws("logs").test_metric_filter(
              filterPattern="ERROR", logEventMessages=["ERROR x", "fine"])["matches"])),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*_CLOUDWATCH, *_SCALING, *_LOGS)
