"""Application Auto Scaling: the range that a service scales in, and the value that it follows.

Kinds of change: `scaling-target` (min_capacity, max_capacity) and `scaling-policy` (the target
value of each target tracking policy, by the policy's name); the target of both is
`autoscaling:service/CLUSTER/SERVICE`.

Source: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent

TARGET, POLICY = "scaling-target", "scaling-policy"
_OF_SERVICES = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
_SENT_BACK = ("PolicyName", "PolicyType", "ServiceNamespace", "ResourceId", "ScalableDimension")

_PREDEFINED = {  # policies that follow a service's own metric
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
}


@dataclass(frozen=True)
class Policy:
    """A target tracking policy: scale so that the metric stays near `target_value`.

    `configuration` is the whole of it, in AWS's words: AWS takes a policy only whole.
    """

    name: str
    metric: str
    target_value: float
    configuration: Mapping[str, Json]


@dataclass(frozen=True)
class Scaling:
    """How one service scales: its range in tasks, and its target tracking policies."""

    resource: str  # service/CLUSTER/SERVICE
    min_capacity: int
    max_capacity: int
    policies: tuple[Policy, ...]
    suspended: bool = False  # scaling in or out is switched off

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"autoscaling:{self.resource}"


def read_scaling(autoscaling: Any, *, cluster: str, service: str) -> Scaling:
    """How a service scales. Raises BadInput when auto scaling does not look after it.

    Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html
    """
    found = find_scaling(autoscaling, cluster=cluster, service=service)
    if found is None:
        raise BadInput(
            f"{service} of {cluster} does not scale by itself.",
            next="Set its number of tasks instead: scale-service",
        )
    return found


def find_scaling(autoscaling: Any, *, cluster: str, service: str) -> Scaling | None:
    """How a service scales; None where auto scaling does not look after it."""
    return _find(autoscaling, f"service/{cluster}/{service}")


def plan_range(
    scaling: Scaling, *, min_capacity: int, max_capacity: int, desired_count: int | None = None
) -> Plan:
    """The plan that sets the range, in tasks; without changes when it is so already.

    Pure. `desired_count`, where known, tells when auto scaling would move the service at once.
    Raises BadInput unless 0 <= min_capacity <= max_capacity.
    """
    if not 0 <= min_capacity <= max_capacity:
        raise BadInput(
            f"expected 0 <= min_capacity <= max_capacity, found {min_capacity} and {max_capacity}."
        )
    wanted = {"min_capacity": min_capacity, "max_capacity": max_capacity}
    after = {key: value for key, value in wanted.items() if getattr(scaling, key) != value}
    before = {key: getattr(scaling, key) for key in after}
    return Plan(
        title=f"Let {_name(scaling)} scale from {min_capacity} to {max_capacity} tasks",
        risk="low",
        changes=(Change(TARGET, scaling.target, before, after),) if after else (),
        way_back=f"undo sets {scaling.min_capacity} to {scaling.max_capacity} again; tasks follow.",
        warnings=tuple(_range_warnings(scaling, min_capacity, max_capacity, desired_count)),
    )


def plan_target_value(scaling: Scaling, *, policy: str, target_value: float) -> Plan:
    """The plan that sets what a policy's metric is kept near; without changes when it is so.

    Pure; the unit is the metric's (per cent for CPU). Raises BadInput for a policy that the
    service has not, naming those that it has, and for a value that is not above zero.
    """
    found = next((one for one in scaling.policies if one.name == policy), None)
    if found is None:
        known = ", ".join(one.name for one in scaling.policies) or "none"
        raise BadInput(
            f"{_name(scaling)} has no target tracking policy {policy!r}; it has {known}."
        )
    if target_value <= 0:
        raise BadInput(f"target_value: expected more than 0, found {target_value}.")
    before, after = {policy: found.target_value}, {policy: target_value}
    changes = (Change(POLICY, scaling.target, before, after),) if before != after else ()
    return Plan(
        title=f"Keep {found.metric} of {_name(scaling)} near {target_value:g}",
        risk="low",
        changes=changes,
        way_back=f"undo sets {found.target_value:g} again; the policy's alarms are made anew.",
    )


def metric_of(policy: Policy, *, cluster: str, service: str) -> dict[str, Any] | None:
    """What a policy follows, in the words of `GetMetricData` (MetricStat); None where unknown.

    Pure. Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html
    """
    custom = policy.configuration.get("CustomizedMetricSpecification")
    if custom and "MetricName" in custom:
        metric = {"Namespace": custom["Namespace"], "MetricName": custom["MetricName"],
                  "Dimensions": custom.get("Dimensions", [])}  # fmt: skip
        return {"Metric": metric, "Period": 60, "Stat": custom["Statistic"]}
    if policy.metric not in _PREDEFINED:
        return None
    dimensions = [
        {"Name": "ClusterName", "Value": cluster},
        {"Name": "ServiceName", "Value": service},
    ]
    metric = {
        "Namespace": "AWS/ECS",
        "MetricName": _PREDEFINED[policy.metric],
        "Dimensions": dimensions,
    }
    return {"Metric": metric, "Period": 60, "Stat": "Average"}


def _range_warnings(
    scaling: Scaling, minimum: int, maximum: int, desired_count: int | None
) -> list[str]:
    warnings = []
    if scaling.suspended:
        warnings.append("Scaling is suspended: the range is kept, and nothing moves by itself.")
    if minimum == maximum:
        warnings.append(f"With one number of tasks, {minimum}, nothing scales any longer.")
    if minimum == 0:
        warnings.append("From zero tasks a service that follows its CPU does not come back.")
    if desired_count is not None and not minimum <= desired_count <= maximum:
        moved = min(max(desired_count, minimum), maximum)
        warnings.append(f"It runs {desired_count} tasks: auto scaling will set {moved}.")
    return warnings


def _name(scaling: Scaling) -> str:
    return scaling.resource.rsplit("/", 1)[-1]


def _find(autoscaling: Any, resource: str) -> Scaling | None:
    targets = autoscaling.describe_scalable_targets(ResourceIds=[resource], **_OF_SERVICES)
    if not targets["ScalableTargets"]:
        return None
    (found,) = targets["ScalableTargets"]
    state = found.get("SuspendedState", {})
    return Scaling(
        resource=resource,
        min_capacity=found["MinCapacity"],
        max_capacity=found["MaxCapacity"],
        policies=tuple(_policy(one) for one in _policies(autoscaling, resource)),
        suspended=any(value for key, value in state.items() if key.startswith("Dynamic")),
    )


def _policies(autoscaling: Any, resource: str) -> list[dict[str, Any]]:
    """The target tracking policies of a service, in AWS's words."""
    answer = autoscaling.describe_scaling_policies(ResourceId=resource, **_OF_SERVICES)
    return [
        one for one in answer["ScalingPolicies"] if one["PolicyType"] == "TargetTrackingScaling"
    ]


def _policy(found: Mapping[str, Any]) -> Policy:
    configuration = found["TargetTrackingScalingPolicyConfiguration"]
    predefined = configuration.get("PredefinedMetricSpecification", {})
    customized = configuration.get("CustomizedMetricSpecification", {})
    return Policy(
        name=found["PolicyName"],
        metric=predefined.get("PredefinedMetricType") or customized.get("MetricName", "a metric"),
        target_value=float(configuration["TargetValue"]),
        configuration=configuration,
    )


# the kinds of change


def _read_target(clients: Clients, target: str) -> Json:
    found = _find(clients.aws("application-autoscaling"), target.removeprefix("autoscaling:"))
    if found is None:
        return None
    return {"min_capacity": found.min_capacity, "max_capacity": found.max_capacity}


def _apply_target(clients: Clients, change: Change, intent: Intent) -> None:
    """Set the ends of the range that the change names; the other stays. Twice does the same."""
    names = {"min_capacity": "MinCapacity", "max_capacity": "MaxCapacity"}
    clients.aws("application-autoscaling").register_scalable_target(
        ResourceId=change.target.removeprefix("autoscaling:"),
        **_OF_SERVICES,
        **{names[key]: value for key, value in change.after.items()},
    )


def _measure_target(change: Change) -> Mapping[str, float]:
    """By how many tasks an end of the range moves, at most."""
    return {"tasks": max(abs(change.after[key] - change.before[key]) for key in change.after)}


def _read_policy(clients: Clients, target: str) -> Json:
    autoscaling, resource = clients.aws("application-autoscaling"), target.partition(":")[2]
    found = [_policy(one) for one in _policies(autoscaling, resource)]
    return {policy.name: policy.target_value for policy in found}


def _apply_policy(clients: Clients, change: Change, intent: Intent) -> None:
    """Send each policy back whole, with another target value. Twice does the same."""
    autoscaling, resource = clients.aws("application-autoscaling"), change.target.partition(":")[2]
    for found in _policies(autoscaling, resource):
        if found["PolicyName"] in change.after:
            configuration = {
                **found["TargetTrackingScalingPolicyConfiguration"],
                "TargetValue": change.after[found["PolicyName"]],
            }
            autoscaling.put_scaling_policy(
                **{key: found[key] for key in _SENT_BACK},
                TargetTrackingScalingPolicyConfiguration=configuration,
            )


def _measure_policy(change: Change) -> Mapping[str, float]:
    """By how much a target value moves, at most, in per cent of what it was."""
    moved = [
        abs(value - change.before[name]) / change.before[name]
        for name, value in change.after.items()
    ]
    return {"percentage": 100 * max(moved)}


register(TARGET, read=_read_target, apply=_apply_target, measure=_measure_target, regional=True)
register(POLICY, read=_read_policy, apply=_apply_policy, measure=_measure_policy, parted=True)
