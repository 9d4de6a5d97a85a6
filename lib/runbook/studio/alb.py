"""Application Load Balancer: its targets, and rules of a listener by their priority.

A rule is made, changed or removed as a whole: its conditions and its actions, in one canonical
form (AWS answers with fields that say the same twice). The default rule has no priority and is
not touched here.

Kind of change: `alb-rule`; target `alb:LISTENER/rule/PRIORITY`, where LISTENER is
`LOAD-BALANCER/PORT` or the listener's ARN. `before` or `after` is null where there is no rule.

Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan, Risk
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent

KIND = "alb-rule"
PRIORITIES = range(1, 50_001)
# AWS repeats the values of these two beside their own configuration.
_CONFIG_OF = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}


@dataclass(frozen=True)
class Rule:
    """One rule: requests that fit all conditions meet the actions, in their order."""

    listener: str
    priority: int
    conditions: tuple[Json, ...]
    actions: tuple[Json, ...]
    arn: str = ""

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"alb:{self.listener}/rule/{self.priority}"

    def content(self) -> Json:
        """Conditions and actions in canonical form: what is compared and what is sent."""
        return {
            "conditions": canonical_conditions(self.conditions),
            "actions": canonical_actions(self.actions),
        }


@dataclass(frozen=True)
class Target:
    """A task as the load balancer sees it: `healthy`, `unhealthy`, `initial`, `draining`…"""

    group: str
    id: str  # address:port
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Certificate:
    """A certificate of a listener: the names it is good for, a star for one label; aware time."""

    arn: str
    names: tuple[str, ...]
    until: datetime


def read_rules(elbv2: Any, listener: str) -> tuple[Rule, ...]:
    """All rules of a listener but the default one, the first to be tried first.

    `listener` is `LOAD-BALANCER/PORT` or an ARN. Raises BadInput when there is no such listener.
    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html
    """
    pages = elbv2.get_paginator("describe_rules").paginate(ListenerArn=_arn(elbv2, listener))
    found = [_rule(listener, one) for page in pages for one in page["Rules"]
             if one["Priority"] != "default"]  # fmt: skip
    return tuple(sorted(found, key=lambda rule: rule.priority))


def read_default(elbv2: Any, listener: str) -> tuple[Json, ...]:
    """What a listener does with a request that no rule catches: its actions."""
    pages = elbv2.get_paginator("describe_rules").paginate(ListenerArn=_arn(elbv2, listener))
    found = (one for page in pages for one in page["Rules"] if one["Priority"] == "default")
    return tuple(canonical_actions(next(found)["Actions"]))


def read_targets(elbv2: Any, load_balancer: str) -> tuple[Target, ...]:
    """Every target behind a load balancer, by group. Raises BadInput when there is none such.

    A group without a target is one with an empty id. Source:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
    """
    arn = read_balancer(elbv2, load_balancer)["LoadBalancerArn"]
    pages = elbv2.get_paginator("describe_target_groups").paginate(LoadBalancerArn=arn)
    groups = [one["TargetGroupArn"] for page in pages for one in page["TargetGroups"]]
    return read_targets_of(elbv2, groups)


def read_targets_of(elbv2: Any, groups: Iterable[str]) -> tuple[Target, ...]:
    """Every target of these groups (ARNs), by group; one that has none has an empty id."""
    found: list[Target] = []
    for group in groups:
        answer = elbv2.describe_target_health(TargetGroupArn=group)
        name, targets = group.split("/")[-2], answer["TargetHealthDescriptions"]
        found += [_target(name, one) for one in targets] or [Target(name, "", "none")]
    return tuple(sorted(found, key=lambda one: (one.group, one.id)))


def read_balancer(elbv2: Any, name: str) -> Mapping[str, Any]:
    """A load balancer in AWS's words. Raises BadInput when there is none of that name."""
    try:
        found: Mapping[str, Any] = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]
    except elbv2.exceptions.LoadBalancerNotFoundException as error:
        raise BadInput(f"There is no load balancer {name!r}.") from error
    return found


def read_certificates(elbv2: Any, acm: Any, load_balancer: str) -> tuple[Certificate, ...]:
    """The certificates of a load balancer's listeners that ACM keeps.

    Source: https://docs.aws.amazon.com/acm/latest/APIReference/API_DescribeCertificate.html
    """
    balancer = read_balancer(elbv2, load_balancer)["LoadBalancerArn"]
    found = {}
    for listener in _listeners(elbv2, balancer):
        if listener["Protocol"] not in ("HTTPS", "TLS"):
            continue
        answer = elbv2.describe_listener_certificates(ListenerArn=listener["ListenerArn"])
        for arn in (one["CertificateArn"] for one in answer["Certificates"]):
            if ":acm:" in arn:  # IAM may hold one too; the handshake shows that
                found[arn] = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    return tuple(
        Certificate(arn, tuple(one["SubjectAlternativeNames"]), one["NotAfter"])
        for arn, one in found.items()
        if one["Status"] == "ISSUED"
    )


def find_rule(rules: Iterable[Rule], priority: int) -> Rule | None:
    """The rule of that priority, if there is one."""
    return next((rule for rule in rules if rule.priority == priority), None)


def plan_put(current: Rule | None, wanted: Rule) -> Plan:
    """The plan that makes `wanted`, or changes `current` into it. Pure.

    Without changes when the rule is so already. Raises BadInput for a priority outside 1 to
    50,000, for rules of different places, and without a condition or an action.
    """
    if wanted.priority not in PRIORITIES:
        raise BadInput(f"priority: expected 1 to 50,000, found {wanted.priority}.")
    if not wanted.conditions or not wanted.actions:
        raise BadInput(f"{wanted.target}: a rule needs at least one condition and one action.")
    if current and current.target != wanted.target:
        raise BadInput(f"{wanted.target} is not the place of {current.target}.")
    verb = "Change" if current else "Make"
    return _plan(f"{verb} rule {wanted.priority} of {wanted.listener}", current, wanted)


def plan_delete(current: Rule) -> Plan:
    """The plan that removes a rule: what it caught falls through to the next. Pure."""
    return _plan(f"Remove rule {current.priority} of {current.listener}", current, None)


def canonical_conditions(conditions: Sequence[Json]) -> list[Json]:
    """Conditions without what AWS says twice, sorted: their order has no meaning."""
    return sorted((_condition(one) for one in conditions), key=lambda one: json.dumps(one))


def canonical_actions(actions: Sequence[Json]) -> list[Json]:
    """Actions in their order, without the number that says so, and without defaults."""
    ordered = sorted(actions, key=lambda one: one.get("Order", 0))
    return [_action(one) for one in ordered]


def _plan(title: str, current: Rule | None, wanted: Rule | None) -> Plan:
    before, after = (rule.content() if rule else None for rule in (current, wanted))
    place = wanted or current
    changes = (Change(KIND, place.target, before, after),) if place and before != after else ()
    risk: Risk = "high"  # it decides where the requests of all users go
    return Plan(
        title=title,
        risk=risk,
        changes=changes,
        way_back="undo puts the rule back as it was, in seconds; its ARN and tags may be others.",
    )


def _condition(condition: Mapping[str, Json]) -> Json:
    field = condition["Field"]
    kept = {key: value for key, value in condition.items() if key.endswith("Config") and value}
    if not kept and field in _CONFIG_OF:
        kept = {_CONFIG_OF[field]: {"Values": condition["Values"]}}
    return {"Field": field, **{key: _sorted_values(value) for key, value in sorted(kept.items())}}


def _sorted_values(config: Mapping[str, Json]) -> Json:
    """Any of the values may fit, so their order has no meaning; empty parts are left out."""
    present = {key: value for key, value in sorted(config.items()) if value not in (None, [], {})}
    if "Values" in present:
        present["Values"] = sorted(present["Values"], key=json.dumps)
    return present


def _action(action: Mapping[str, Json]) -> Json:
    kept = {key: value for key, value in action.items() if key not in ("Order", "TargetGroupArn")}
    if action["Type"] == "forward":
        groups = action.get("ForwardConfig", {}).get("TargetGroups") or [
            {"TargetGroupArn": action["TargetGroupArn"]}
        ]
        forward = {"TargetGroups": [{"Weight": 1, **group} for group in groups]}
        sticky = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {})
        if sticky.get("Enabled"):
            forward["TargetGroupStickinessConfig"] = sticky
        kept["ForwardConfig"] = forward
    return {key: value for key, value in sorted(kept.items()) if value not in (None, {}, [])}


def _rule(listener: str, found: Mapping[str, Any]) -> Rule:
    return Rule(
        listener=listener,
        priority=int(found["Priority"]),
        conditions=tuple(canonical_conditions(found["Conditions"])),
        actions=tuple(canonical_actions(found["Actions"])),
        arn=found["RuleArn"],
    )


def _target(group: str, found: Mapping[str, Any]) -> Target:
    target, health = found["Target"], found["TargetHealth"]
    reason = health.get("Description") or health.get("Reason", "")
    return Target(group, f"{target['Id']}:{target['Port']}", health["State"], reason)


def _listeners(elbv2: Any, balancer: str) -> list[Mapping[str, Any]]:
    pages = elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=balancer)
    return [one for page in pages for one in page["Listeners"]]


def _arn(elbv2: Any, listener: str) -> str:
    """The ARN of a listener that may be named by its load balancer and port."""
    if listener.startswith("arn:"):
        return listener
    balancer, _, port = listener.rpartition("/")
    found = read_balancer(elbv2, balancer)["LoadBalancerArn"]
    ports = {str(one["Port"]): one["ListenerArn"] for one in _listeners(elbv2, found)}
    if port not in ports:
        raise BadInput(f"{balancer} listens on {', '.join(sorted(ports))}, not on {port or '-'}.")
    return str(ports[port])


# the kind of change


def _found(clients: Clients, target: str) -> Rule | None:
    listener, _, priority = target.removeprefix("alb:").rpartition("/rule/")
    return find_rule(read_rules(clients.aws("elbv2"), listener), int(priority))


def _read(clients: Clients, target: str) -> Json:
    found = _found(clients, target)
    return found.content() if found else None


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    once = clients.aws("elbv2", once=True)
    found = _found(clients, change.target)
    if change.after is None:
        if found:
            once.delete_rule(RuleArn=found.arn)
        return
    content = {"Conditions": change.after["conditions"], "Actions": change.after["actions"]}
    if found:
        once.modify_rule(RuleArn=found.arn, **content)
    else:
        listener, _, priority = change.target.removeprefix("alb:").rpartition("/rule/")
        arn = _arn(clients.aws("elbv2"), listener)
        once.create_rule(ListenerArn=arn, Priority=int(priority), **content)


register(KIND, read=_read, apply=_apply, measure=lambda change: {"rules": 1})
