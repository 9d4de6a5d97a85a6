"""Composite alarms: kept among moto's own alarms, and in the state that their rule means.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from studio_sandbox.control_plane.alarm_rule import BadRule, Rule
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.moto_adapter import core

METRIC, COMPOSITE = "MetricAlarm", "CompositeAlarm"
_KNOWN = {
    "AlarmName", "AlarmRule", "AlarmDescription", "ActionsEnabled", "AlarmActions", "OKActions",
    "InsufficientDataActions", "Tags",
}  # fmt: skip
_MOST = 100  # of one page


def patch(response: Any) -> None:
    """Plain moto cannot make any, and knows neither types nor pages of alarms."""
    response.put_composite_alarm = _put_composite_alarm
    response.describe_alarms = _describe_alarms


def kind(alarm: Any) -> str:
    """MetricAlarm or CompositeAlarm."""
    return COMPOSITE if alarm.rule else METRIC


def wanted(response: Any, alarm: Any) -> bool:
    """Whether a request is about alarms of this type; without AlarmTypes only of metrics."""
    return kind(alarm) in (response._get_param("AlarmTypes") or [METRIC])


def evaluate(backend: Any) -> None:
    """Bring all composite alarms to what their rules mean, those of others' after them."""
    composites = [alarm for alarm in backend.alarms.values() if alarm.rule]
    for _ in composites:  # as many times as they can stand upon one another
        states = {alarm.name: alarm.state_value for alarm in backend.alarms.values()}
        for alarm in composites:
            state = "ALARM" if Rule(alarm.rule).holds(states) else "OK"
            if state != alarm.state_value:
                under = {name: states.get(name) for name in sorted(Rule(alarm.rule).names)}
                data = {"triggeringAlarms": under}
                reason = f"The alarm rule evaluates to {state}."
                alarm.update_state(reason, json.dumps(data), state)


def _put_composite_alarm(self: Any) -> Any:
    """Make or change one, over alarms that exist."""
    from moto.core.responses import EmptyResult

    asked: dict[str, Any] = self._get_params()
    if unknown := sorted(set(asked) - _KNOWN):
        raise NotInSandbox(f"PutCompositeAlarm: {', '.join(unknown)}")
    backend, name = self.cloudwatch_backend, asked["AlarmName"]
    try:
        rule = Rule(asked["AlarmRule"])
    except BadRule as wrong:
        raise _invalid(f"AlarmRule must be a valid expression: {wrong}") from wrong
    if missing := sorted(rule.names - set(backend.alarms)):
        raise _invalid(
            f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm "
            "rule do not exist"
        )
    if name in _all_under(backend, rule.names):
        raise _invalid("The alarm rule leads back to the alarm itself.")
    alarm = core.call(
        backend.put_metric_alarm,
        name=name,
        rule=asked["AlarmRule"],
        description=asked.get("AlarmDescription"),
        actions_enabled=self._get_bool_param("ActionsEnabled", True),
        alarm_actions=asked.get("AlarmActions") or [],
        ok_actions=asked.get("OKActions") or [],
        insufficient_data_actions=asked.get("InsufficientDataActions") or [],
        dimensions=[],
        tags=asked.get("Tags") or [],
    )
    alarm.alarm_rule = asked["AlarmRule"]
    return EmptyResult()


def _all_under(backend: Any, names: Iterable[str]) -> set[str]:
    """The alarms of a rule, and of the rules of these."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            alarm = backend.alarms.get(name)
            waiting += Rule(alarm.rule).names if alarm and alarm.rule else ()
    return found


def _describe_alarms(self: Any) -> Any:
    """All filters together, by name, in pages."""
    from moto.core.responses import ActionResult

    names, prefix = self._get_param("AlarmNames") or [], self._get_param("AlarmNamePrefix") or ""
    state, action = self._get_param("StateValue"), self._get_param("ActionPrefix") or ""
    if names and prefix:
        raise _invalid("AlarmNames and AlarmNamePrefix are not asked for together")
    found = [
        alarm
        for _, alarm in sorted(self.cloudwatch_backend.alarms.items())
        if (not names or alarm.name in names)
        and alarm.name.startswith(prefix)
        and state in (None, "", alarm.state_value)
        and (not action or any(one.startswith(action) for one in alarm.alarm_actions))
        and wanted(self, alarm)
    ]
    shown, token = page(self, found)
    answer: dict[str, Any] = {
        "MetricAlarms": [alarm for alarm in shown if kind(alarm) == METRIC],
        "CompositeAlarms": [alarm for alarm in shown if kind(alarm) == COMPOSITE],
    }
    return ActionResult(answer | ({"NextToken": token} if token else {}))


def page(response: Any, found: list[Any]) -> tuple[list[Any], str]:
    """The page that is asked for, and the token of the next one; empty at the end."""
    token = response._get_param("NextToken") or "0"
    if not token.isdecimal():
        raise SandboxError("The next token is invalid.", code="InvalidNextToken", status=400)
    first, size = int(token), int(response._get_param("MaxRecords") or _MOST)
    return found[first : first + size], str(first + size) if first + size < len(found) else ""


def _invalid(message: str) -> SandboxError:
    return SandboxError(message, code="ValidationError", status=400)
