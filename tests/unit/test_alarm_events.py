"""An alarm is understood by name and as SNS and EventBridge deliver it."""

from __future__ import annotations

import json

import pytest

from runbook import settings
from runbook.errors import BadInput
from runbook.incident import alarm
from runbook.incident.alarm import AlarmEvent
from runbook.run import parameters
from runbook.run.sections import find
from runbook.settings import WantedAlarm

SNS = {
    "AlarmName": "openai-errors",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed",
    "Trigger": {"MetricName": "Errors", "Dimensions": [{"name": "Provider", "value": "openai"}]},
}
EVENTBRIDGE = {
    "source": "aws.cloudwatch",
    "detail-type": "CloudWatch Alarm State Change",
    "detail": {
        "alarmName": "openai-errors",
        "state": {"value": "ALARM", "reason": "Threshold Crossed"},
        "configuration": {
            "metrics": [{"metricStat": {"metric": {"dimensions": {"Provider": "openai"}}}}]
        },
    },
}
EVENT = AlarmEvent("openai-errors", "ALARM", "Threshold Crossed", {"Provider": "openai"})


@pytest.mark.parametrize(
    "message",
    [SNS, {"Type": "Notification", "Message": json.dumps(SNS)}, EVENTBRIDGE],
    ids=["sns", "sns in its envelope", "eventbridge"],
)
def test_an_event_is_read_whoever_delivers_it(message: object) -> None:
    assert alarm.parse(json.dumps(message)) == EVENT


def test_the_dimensions_of_an_alarm_on_an_expression_are_read_too() -> None:
    metric = {"Dimensions": [{"name": "Provider", "value": "openai"}]}
    trigger = {"Metrics": [{"Id": "e", "MetricStat": {"Metric": metric}}, {"Expression": "e*2"}]}

    assert alarm.parse(json.dumps({**SNS, "Trigger": trigger})).dimensions == {"Provider": "openai"}


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"a": 1}', '{"Message": "hello"}'])
def test_what_is_no_alarm_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(BadInput, match="expected an alarm's message of SNS or EventBridge"):
        alarm.parse(text)


def test_parameters_are_filled_from_the_event() -> None:
    about = WantedAlarm(title="t", when="w", section="switch-provider", settings={},
                        parameters={"provider": "{dimension:Provider}", "minutes": 30})  # fmt: skip

    assert alarm.parameters(about, EVENT) == {"provider": "openai", "minutes": 30}


def test_a_parameter_whose_dimension_the_event_lacks_keeps_its_default() -> None:
    given = {"service": "{dimension:ServiceName}", "minutes": 5}
    about = WantedAlarm(title="t", when="w", section="s", settings={}, parameters=given)

    assert alarm.parameters(about, EVENT) == {"minutes": 5}


def test_an_alarm_that_the_runbook_does_not_know_is_refused() -> None:
    with pytest.raises(BadInput, match="The runbook has no alarm 'nothing'"):
        alarm.wanted(settings.load("sandbox"), "nothing")


def test_the_way_on_is_a_command_that_can_be_pasted() -> None:
    action = {"section": "roll-back", "parameters": {"services": "a, b", "revisions": 8}}

    assert alarm.command(action) == "./runbook run roll-back -p services 'a, b' -p revisions 8"


@pytest.mark.parametrize("name", settings.load("production").alarms)
def test_every_alarm_of_the_table_names_a_section_and_parameters_that_it_has(name: str) -> None:
    about = settings.load("production").alarms[name]
    known = {parameter.name for parameter in parameters.declared(find(about.section))}
    assert set(about.parameters) <= known
