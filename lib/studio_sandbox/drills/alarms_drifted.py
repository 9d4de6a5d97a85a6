"""alarms-drifted: alarms are missing, and others would be raised too late or tell nobody."""

from __future__ import annotations

import random
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.drills.drill import Details, Drill, RunSection
from studio_sandbox.drills.studio import Studio

_SETTINGS = (
    "AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions",
    "InsufficientDataActions", "MetricName", "Namespace", "Statistic", "ExtendedStatistic",
    "Dimensions", "Period", "Unit", "EvaluationPeriods", "DatapointsToAlarm", "Threshold",
    "ComparisonOperator", "TreatMissingData", "Metrics",
)  # fmt: skip
_RULE = ("Threshold", "ComparisonOperator", "EvaluationPeriods", "ActionsEnabled")
_TOO_LATE = 10


def _draw(studio: Studio, dice: random.Random) -> Details:
    drawn = dice.sample(names.ALARMS, k=4)
    missing = dice.randint(1, 2)
    return {
        "missing": sorted(drawn[:missing]),
        "late": sorted(drawn[missing:3]),
        "silent": sorted(drawn[3:]),
    }


def _start(studio: Studio, details: Details) -> None:
    cloudwatch = studio.pipeline("cloudwatch", session="Terraform")
    details["wanted"] = _alarms(studio)
    cloudwatch.delete_alarms(AlarmNames=details["missing"])
    for name in details["late"]:
        wanted = details["wanted"][name]
        # a threshold of nothing at all would be 10 as well
        cloudwatch.put_metric_alarm(
            **wanted | {"Threshold": wanted["Threshold"] * _TOO_LATE or _TOO_LATE}
        )
    cloudwatch.disable_alarm_actions(AlarmNames=details["silent"])


def _alarms(studio: Studio) -> dict[str, dict[str, Any]]:
    """The runbook's alarms that are there, as they would be put again."""
    found = studio.aws("cloudwatch").describe_alarms(AlarmNames=list(names.ALARMS))
    return {one["AlarmName"]: _settings(one) for one in found["MetricAlarms"]}


def _settings(alarm: dict[str, Any]) -> dict[str, Any]:
    found = {key: alarm[key] for key in _SETTINGS if alarm.get(key) not in (None, [], "")}
    return found | {"ActionsEnabled": alarm["ActionsEnabled"]}


def _judge(studio: Studio, details: Details) -> list[str]:
    """All alarms watch what they did, at the thresholds that they had, and tell somebody."""
    found, findings = _alarms(studio), []
    for name, wanted in details["wanted"].items():
        if name not in found:
            findings.append(f"{name} is missing")
            continue
        alarm = found[name]
        findings += [
            f"{name}: {key} is {alarm.get(key)}, not {wanted[key]}"
            for key in _RULE
            if alarm.get(key) != wanted[key]
        ]
        if _watched(alarm) != _watched(wanted):
            findings.append(f"{name} watches something else")
        if not alarm.get("AlarmActions"):
            findings.append(f"{name} tells nobody")
    return findings


def _watched(alarm: dict[str, Any]) -> list[list[Any]]:
    """What an alarm is about: its metrics with their periods, whatever they are called in it."""
    metrics = [one["MetricStat"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
    plain = [{"Metric": alarm, "Period": alarm.get("Period")}] if "MetricName" in alarm else []
    return sorted(
        [one["Metric"]["Namespace"], one["Metric"]["MetricName"], one["Period"]]
        for one in (*metrics, *plain)
    )


def _clean_up(studio: Studio, details: Details) -> None:
    for wanted in details.get("wanted", {}).values():
        studio.pipeline("cloudwatch", session="Terraform").put_metric_alarm(**wanted)


def _mend(run: RunSection) -> None:
    run("check-alarms")
    planned = run("create-alarms")
    run("create-alarms", apply=planned["plan"]["digest"])


ALARMS_DRIFTED = Drill(
    name="alarms-drifted",
    symptom="Last night half of the requests failed for an hour, and nobody was called.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    needed=("alarm ai-studio-*",),
    mend=_mend,
)
