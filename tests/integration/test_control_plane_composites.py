"""Composite alarms: rules over other alarms, with a history; and alarms by type and in pages.

Plain moto has no PutCompositeAlarm, and describes all alarms at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.alarm_rule import BadRule, Rule

DATABASE, CACHE = names.ALARM_RDS_CPU, names.ALARM_REDIS_CPU


@pytest.fixture
def cloudwatch(changing: Callable[..., Any]) -> Any:
    return changing("cloudwatch")


def set_state(cloudwatch: Any, alarm: str, state: str) -> None:
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="test")


def state(cloudwatch: Any, name: str) -> str:
    answer = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])
    (alarm,) = answer["CompositeAlarms"]
    return str(alarm["StateValue"])


def test_composite_alarm_follows_the_alarms_of_its_rule(cloudwatch: Any) -> None:
    rule = f'ALARM("{DATABASE}") AND ALARM({CACHE})'
    cloudwatch.put_composite_alarm(AlarmName="stores", AlarmRule=rule)
    states = [state(cloudwatch, "stores")]
    for alarm in (DATABASE, CACHE):
        set_state(cloudwatch, alarm, "ALARM")
        states.append(state(cloudwatch, "stores"))
    assert states == ["OK", "OK", "ALARM"]
    items = cloudwatch.describe_alarm_history(AlarmName="stores", AlarmTypes=["CompositeAlarm"])
    assert [item["HistorySummary"] for item in items["AlarmHistoryItems"]] == [
        "Alarm updated from OK to ALARM",
        "Alarm updated from INSUFFICIENT_DATA to OK",
    ]
    assert {item["AlarmType"] for item in items["AlarmHistoryItems"]} == {"CompositeAlarm"}


def test_composites_stand_on_composites_but_never_on_themselves(cloudwatch: Any) -> None:
    cloudwatch.put_composite_alarm(AlarmName="b", AlarmRule=f"ALARM({DATABASE})")
    cloudwatch.put_composite_alarm(AlarmName="a", AlarmRule="ALARM(b)")
    set_state(cloudwatch, DATABASE, "ALARM")
    assert state(cloudwatch, "a") == "ALARM"
    with pytest.raises(ClientError, match="leads back"):
        cloudwatch.put_composite_alarm(AlarmName="b", AlarmRule="ALARM(a)")


def test_composite_alarms_are_shown_to_those_who_ask_for_them(cloudwatch: Any) -> None:
    cloudwatch.put_composite_alarm(AlarmName="stores", AlarmRule=f"ALARM({DATABASE})")
    metric_only = cloudwatch.describe_alarms(AlarmNames=["stores", DATABASE])
    both = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    assert [one["AlarmName"] for one in metric_only["MetricAlarms"]] == [DATABASE]
    assert metric_only["CompositeAlarms"] == []
    (composite,) = both["CompositeAlarms"]
    assert composite["AlarmRule"] == f"ALARM({DATABASE})"
    assert len(both["MetricAlarms"]) > len(names.ALARMS)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("ALARM(nobody)", r"alarms \[nobody\] in the alarm rule do not exist"),
        (f"ALARM({DATABASE}) AND", "ends too soon"),
        (f"PANIC({DATABASE})", "invalid near"),
        (f"AT_LEAST(1, ALARM, ({DATABASE}))", "not in the sandbox"),
    ],
)
def test_rule_that_is_none_is_refused(cloudwatch: Any, rule: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        cloudwatch.put_composite_alarm(AlarmName="wrong", AlarmRule=rule)


def test_filters_of_alarms_hold_together_and_pages_join(cloudwatch: Any) -> None:
    set_state(cloudwatch, DATABASE, "ALARM")
    pages = cloudwatch.get_paginator("describe_alarms")
    found = [
        alarm["AlarmName"]
        for page in pages.paginate(AlarmNamePrefix="ai-studio-", PaginationConfig={"PageSize": 4})
        for alarm in page["MetricAlarms"]
    ]
    raised = cloudwatch.describe_alarms(AlarmNamePrefix="ai-studio-r", StateValue="ALARM")
    assert found == sorted(names.ALARMS)
    assert [one["AlarmName"] for one in raised["MetricAlarms"]] == [DATABASE]


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ALARM(up)", True),
        ("OK(up) OR OK(down)", True),
        ("ALARM(up) AND NOT OK(down)", False),
        ("NOT (ALARM(up) AND ALARM(down)) AND TRUE", True),
        ("INSUFFICIENT_DATA(lost) AND FALSE OR ALARM(up)", True),
        ('ALARM("arn:aws:cloudwatch:eu-central-1:123456789012:alarm:up")', True),
    ],
)
def test_rule_means_what_it_says(rule: str, holds: bool) -> None:
    states = {"up": "ALARM", "down": "OK", "lost": "INSUFFICIENT_DATA"}
    assert Rule(rule).holds(states) is holds


def test_unfinished_rule_says_so() -> None:
    with pytest.raises(BadRule, match="too soon"):
        Rule("(ALARM(a)")
