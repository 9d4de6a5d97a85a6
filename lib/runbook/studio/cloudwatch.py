"""CloudWatch: alarms, as they are and as they should be.

An alarm's settings are compared in one canonical form: everything that `PutMetricAlarm` takes,
with AWS's defaults written out and lists sorted whose order has no meaning. A plan names just the
settings that drifted; since `PutMetricAlarm` replaces an alarm whole, applying reads the alarm
and lays those over it.

Kind of change: `cloudwatch-alarm`; target `alarm:NAME`, null where there is no alarm.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent

KIND = "cloudwatch-alarm"
SETTINGS = (
    "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "InsufficientDataActions",
    "MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit",
    "EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ComparisonOperator",
    "TreatMissingData", "EvaluateLowSampleCountPercentile", "Metrics", "ThresholdMetricId",
)  # fmt: skip
_DEFAULTS = {"ActionsEnabled": True, "TreatMissingData": "missing"}
_REQUIRED = ("EvaluationPeriods", "ComparisonOperator")
_EMPTY: tuple[Json, ...] = (None, "", [], {})


@dataclass(frozen=True)
class Alarm:
    """One alarm: `settings` in canonical form; the rest is what it says now."""

    name: str
    settings: Mapping[str, Json]
    state: str = ""
    state_since: datetime | None = None
    reason: str = ""

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"alarm:{self.name}"


@dataclass(frozen=True)
class StateChange:
    """One change of an alarm's state, and AWS's reason for the new one."""

    at: datetime  # aware
    summary: str
    reason: str


def read_alarms(cloudwatch: Any, *, prefix: str = "", names: Iterable[str] = ()) -> list[Alarm]:
    """Metric alarms by name: all, those that begin with `prefix`, or just `names`.

    A name that no alarm has is left out. Composite alarms are not read.
    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    listed = list(names)
    if listed:
        requests: list[dict[str, Any]] = [
            {"AlarmNames": listed[start : start + 100]} for start in range(0, len(listed), 100)
        ]
    else:
        requests = [{"AlarmNamePrefix": prefix} if prefix else {}]
    paginator = cloudwatch.get_paginator("describe_alarms")
    found = [
        _alarm(one)
        for request in requests
        for page in paginator.paginate(AlarmTypes=["MetricAlarm"], **request)
        for one in page["MetricAlarms"]
    ]
    return sorted(found, key=lambda alarm: alarm.name)


def read_changes(cloudwatch: Any, name: str, *, most: int) -> list[StateChange]:
    """The last changes of an alarm's state, newest first. Kept by AWS for 30 days.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """
    answer = cloudwatch.describe_alarm_history(
        AlarmName=name, HistoryItemType="StateUpdate", MaxRecords=most, ScanBy="TimestampDescending"
    )
    return [_state_change(item) for item in answer["AlarmHistoryItems"]]


def read_transitions(
    cloudwatch: Any, *, since: datetime, until: datetime
) -> list[tuple[str, StateChange]]:
    """Every alarm's changes of state in a stretch of time, with its name, oldest first."""
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        HistoryItemType="StateUpdate", StartDate=since, EndDate=until, ScanBy="TimestampAscending"
    )
    return [
        (item["AlarmName"], _state_change(item))
        for page in pages
        for item in page["AlarmHistoryItems"]
    ]


def read_values(cloudwatch: Any, alarm: Alarm, *, since: datetime) -> list[tuple[datetime, float]]:
    """What an alarm compared with its threshold, oldest first, in its own periods.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
    """
    queries = list(alarm.settings["Metrics"])
    if not queries:
        (metric,), stat = metrics_of(alarm), alarm.settings["Statistic"]
        each = {"Metric": metric, "Period": alarm.settings["Period"],
                "Stat": stat or alarm.settings["ExtendedStatistic"]}  # fmt: skip
        queries = [{"Id": "value", "MetricStat": each}]
    return _series(cloudwatch, queries, since)


def read_series(
    cloudwatch: Any, metric_stat: Mapping[str, Any], *, since: datetime
) -> list[tuple[datetime, float]]:
    """One metric, given as a MetricStat, in its own periods, oldest first.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
    """
    return _series(cloudwatch, [{"Id": "value", "MetricStat": dict(metric_stat)}], since)


def _series(
    cloudwatch: Any, queries: list[dict[str, Any]], since: datetime
) -> list[tuple[datetime, float]]:
    """The one series that these queries return."""
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries,
        StartTime=since,
        EndTime=datetime.now(UTC),
        ScanBy="TimestampAscending",
    )
    results = [result for page in pages for result in page["MetricDataResults"]]
    shown = results[0]["Id"] if results else ""  # an alarm returns one series
    mine = [result for result in results if result["Id"] == shown]
    return [pair for one in mine for pair in zip(one["Timestamps"], one["Values"], strict=True)]


def metrics_of(alarm: Alarm) -> list[dict[str, Any]]:
    """What an alarm watches, in the words of `ListMetrics`. Pure."""
    settings = alarm.settings
    if not settings["Metrics"]:
        return [{key: settings[key] for key in ("Namespace", "MetricName", "Dimensions")}]
    return [dict(one["MetricStat"]["Metric"]) for one in settings["Metrics"] if "MetricStat" in one]


def has_metric(cloudwatch: Any, metric: Mapping[str, Any]) -> bool:
    """Whether there is any data of a metric: AWS lists those that had some in two weeks.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html
    """
    pages = cloudwatch.get_paginator("list_metrics").paginate(**metric)
    wanted = _sorted(metric["Dimensions"], "Name")  # AWS also lists those with more dimensions
    return any(
        _sorted(one["Dimensions"], "Name") == wanted for page in pages for one in page["Metrics"]
    )


def metric_in_words(metric: Mapping[str, Any]) -> str:
    """`AWS/RDS CPUUtilization of` what its dimensions name. Pure."""
    values = ", ".join(str(one["Value"]) for one in metric["Dimensions"])
    return f"{metric['Namespace']} {metric['MetricName']}{f' of {values}' if values else ''}"


def wanted_alarm(name: str, settings: Mapping[str, Json]) -> Alarm:
    """An alarm as it should be, from settings in the words of `PutMetricAlarm`.

    Raises BadInput for a setting that it does not know, and for one that is missing.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise BadInput(f"{name}: an alarm has no {', '.join(unknown)}.")
    missing = [key for key in _REQUIRED if key not in settings]
    if missing or not (settings.get("MetricName") or settings.get("Metrics")):
        absent = ", ".join(missing) or "MetricName or Metrics"
        raise BadInput(f"{name}: an alarm needs {absent}.")
    return Alarm(name, canonical(settings))


def plan_alarms(current: Iterable[Alarm], wanted: Iterable[Alarm]) -> Plan:
    """The plan that makes the alarms that are missing and mends those that drifted. Pure.

    Alarms that are not wanted are left alone. Without changes when all is so already.
    """
    there = {alarm.name: alarm for alarm in current}
    changes = [
        change
        for alarm in sorted(wanted, key=lambda one: one.name)
        for change in _towards(there.get(alarm.name), alarm)
    ]
    made = sum(change.before is None for change in changes)
    title = f"Make {made} missing and mend {len(changes) - made} drifted alarms"
    return Plan(
        title=title if changes else "Every alarm is as it should be",
        risk="low",
        changes=tuple(changes),
        way_back="undo removes what was made and sets back what was mended; states are evaluated "
        "anew.",
    )


def plan_delete(alarm: Alarm) -> Plan:
    """The plan that removes one alarm. Pure."""
    return Plan(
        title=f"Remove the alarm {alarm.name}",
        risk="high",  # what it watched goes unseen
        changes=(Change(KIND, alarm.target, _present(alarm.settings), None),),
        way_back="undo makes the alarm again; its history and tags are gone.",
    )


def canonical(settings: Mapping[str, Json]) -> dict[str, Json]:
    """Every setting of an alarm: defaults written out, null where it is not set."""
    given = {key: value for key, value in settings.items() if value not in _EMPTY}
    whole = {key: given.get(key, _DEFAULTS.get(key)) for key in SETTINGS}
    if whole["DatapointsToAlarm"] is None:
        whole["DatapointsToAlarm"] = whole["EvaluationPeriods"]
    for key in ("OKActions", "AlarmActions", "InsufficientDataActions"):
        whole[key] = sorted(whole[key] or ())
    whole["Dimensions"] = _sorted(whole["Dimensions"] or (), "Name")
    whole["Metrics"] = _sorted((_query(one) for one in whole["Metrics"] or ()), "Id")
    return whole


def _query(query: Mapping[str, Json]) -> dict[str, Json]:
    """One metric or expression of an alarm, the same way."""
    kept = {"ReturnData": True, **{k: v for k, v in query.items() if v not in _EMPTY}}
    if "MetricStat" in kept:
        stat = {key: value for key, value in kept["MetricStat"].items() if value not in _EMPTY}
        metric = dict(stat["Metric"])
        metric["Dimensions"] = _sorted(metric.get("Dimensions", ()), "Name")
        kept["MetricStat"] = {**stat, "Metric": metric}
    return kept


def _sorted(items: Iterable[Mapping[str, Json]], key: str) -> list[dict[str, Json]]:
    return sorted((dict(item) for item in items), key=lambda item: (item[key], json.dumps(item)))


def _towards(current: Alarm | None, wanted: Alarm) -> list[Change]:
    """The change of one alarm: whole when there is none yet, else just what drifted."""
    if current is None:
        return [Change(KIND, wanted.target, None, _present(wanted.settings))]
    drifted = [key for key in SETTINGS if current.settings[key] != wanted.settings[key]]
    before, after = ({key: each.settings[key] for key in drifted} for each in (current, wanted))
    return [Change(KIND, wanted.target, before, after)] if drifted else []


def _present(settings: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in settings.items() if value not in _EMPTY}


def _state_change(item: Mapping[str, Any]) -> StateChange:
    data = json.loads(item.get("HistoryData") or "{}")
    reason = data.get("newState", {}).get("stateReason") or ""
    summary = item["HistorySummary"].removeprefix("Alarm updated ")
    return StateChange(item["Timestamp"], summary, reason)


def _alarm(found: Mapping[str, Any]) -> Alarm:
    return Alarm(
        name=found["AlarmName"],
        settings=canonical({key: found[key] for key in SETTINGS if key in found}),
        state=found.get("StateValue", ""),
        state_since=found.get("StateUpdatedTimestamp"),
        reason=found.get("StateReason", ""),
    )


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    found = read_alarms(clients.aws("cloudwatch"), names=[target.removeprefix("alarm:")])
    return dict(found[0].settings) if found else None


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Both calls replace or remove whatever is there: sent twice they do the same."""
    cloudwatch, name = clients.aws("cloudwatch"), change.target.removeprefix("alarm:")
    if change.after is None:
        cloudwatch.delete_alarms(AlarmNames=[name])
        return
    settings = {**(_read(clients, change.target) or {}), **change.after}
    cloudwatch.put_metric_alarm(AlarmName=name, **_present(settings))


register(KIND, read=_read, apply=_apply, measure=lambda change: {"alarms": 1})
