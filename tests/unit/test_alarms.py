"""The table of alarms against what is there, without an account."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from runbook import settings
from runbook.errors import BadInput
from runbook.settings import WantedAlarm
from runbook.studio import alarms, cloudwatch
from runbook.studio.cloudwatch import Alarm

SETTINGS: dict[str, Any] = {
    "Namespace": "AWS/RDS", "MetricName": "CPUUtilization", "Statistic": "Average",
    "Dimensions": [{"Name": "DBClusterIdentifier", "Value": "db"}], "Period": 300,
    "EvaluationPeriods": 1, "Threshold": 80, "ComparisonOperator": "GreaterThanThreshold",
    "AlarmActions": ["topic"],
}  # fmt: skip
ABOUT = WantedAlarm(title="CPU", when="> 80 %", section="search-logs", settings=SETTINGS)
WANTED = cloudwatch.wanted_alarm("cpu", SETTINGS)


def there(state: str = "OK", **changed: Any) -> Alarm:
    found = cloudwatch.wanted_alarm("cpu", {**SETTINGS, **changed})
    return Alarm("cpu", found.settings, state, datetime(2026, 11, 1, tzinfo=UTC), "a reason")


def watch(found: Alarm | None, **more: Any) -> alarms.Watch:
    drift = alarms.drift_of(found, WANTED) if found else ()
    return alarms.Watch(WANTED, ABOUT, found, drift=drift, **more)


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (watch(there()), "ok", ""),
        (watch(there("ALARM")), "critical", "raised: a reason"),
        (watch(there("INSUFFICIENT_DATA")), "warning", "has no data to judge by"),
        (watch(there(Threshold=95)), "warning", "1 settings drifted"),
        (watch(there("ALARM", Threshold=95)), "critical", "raised: a reason; 1 settings drifted"),
        (watch(None), "warning", "there is no such alarm"),
        # OK for ever, since nothing publishes what it watches
        (watch(there(), no_metric=("a metric",)), "warning", "watches what has no data: a metric"),
    ],
)
def test_an_alarm_that_cannot_be_relied_on_is_not_ok(
    found: alarms.Watch, status: str, says: str
) -> None:
    assert (found.status, found.says) == (status, says)


@pytest.mark.parametrize(
    ("changed", "drift"),
    [
        ({"Threshold": 95.5}, "Threshold is 95.5, not 80"),
        ({"ActionsEnabled": False}, "ActionsEnabled is False, not True"),
        ({"AlarmActions": []}, "AlarmActions is not set, not 1 other ones"),
        ({"TreatMissingData": "breaching"}, "TreatMissingData is breaching, not missing"),
    ],
)
def test_drift_is_told_in_words(changed: dict[str, Any], drift: str) -> None:
    assert alarms.drift_of(there(**changed), WANTED) == (drift,)


def test_the_sentence_names_what_is_raised_before_what_is_missing() -> None:
    both = alarms.Alarms((watch(None), watch(there("ALARM"))))
    assert both.findings()["says"] == "Raised: CPU. Missing: CPU."
    assert both.findings()["status"] == "critical"
    assert alarms.Alarms(()).findings()["status"] == "warning"


def test_names_are_looked_up_wherever_they_stand_and_nothing_else_is_touched() -> None:
    setting = {"a": ["{topic:x}", 1, {"b": "n {lb:y} m"}], "c": "100*e/r", "d": True, "e": None}
    found = alarms.filled(setting, lambda kind, name: f"<{kind} {name}>")
    assert found == {
        "a": ["<topic x>", 1, {"b": "n <lb y> m"}], "c": "100*e/r", "d": True, "e": None,
    }  # fmt: skip


@pytest.mark.parametrize("environment", settings.environments())
def test_every_environments_table_has_the_runbooks_six_and_is_readable(environment: str) -> None:
    table = settings.load(environment).alarms
    assert sorted((one.title, one.when) for one in table.values()) == [
        ("ALB 5xx Errors", "> 10 in 5 min"),
        ("Disk Space", "> 80 %"),
        ("ECS Unhealthy Tasks", "> 0"),
        ("OpenAI API Errors", "> 5 %"),
        ("RDS CPU", "> 80 % for 5 min"),
        ("Redis CPU", "> 80 % for 5 min"),
    ]
    for name, wanted in table.items():
        made = cloudwatch.wanted_alarm(name, alarms.filled(wanted.settings, lambda kind, n: n))
        assert f"> {made.settings['Threshold']}" in wanted.when
        assert made.settings["AlarmActions"]
        assert cloudwatch.metrics_of(made)


def test_a_setting_that_no_alarm_has_is_refused() -> None:
    with pytest.raises(BadInput, match="an alarm has no Treshold"):
        cloudwatch.wanted_alarm("cpu", {**SETTINGS, "Treshold": 5})
