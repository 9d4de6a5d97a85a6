"""Application Auto Scaling: a service's range, its target tracking policy, the policy's alarms.

Source: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.overlay import Context, operation
from studio_sandbox.control_plane.request import AwsRequest

_DIMENSION = "ecs:service:DesiredCount"
_MOST_ACTIVITIES = 500
SCALE_IN_MARGIN = 0.9  # AWS scales in below 90 % of the target


def patch() -> None:
    """A policy's alarms follow its target, and a changed policy replaces its alarms.

    Plain moto gives every policy a threshold of 6 and leaves the old alarms behind.
    """
    from moto.applicationautoscaling import models

    backend = models.ApplicationAutoscalingBackend
    put_policy = backend.put_scaling_policy

    def put_scaling_policy(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(self.policies)
        made = put_policy(self, *args, **kwargs)
        key = next(key for key, policy in self.policies.items() if policy is made)
        if old := before.get(key):
            old.delete_alarms(self.account_id, self.region_name)
            made.policy_arn, made.creation_time = old.policy_arn, old.creation_time
        _follow_target(made)
        return made

    backend.put_scaling_policy = put_scaling_policy


def _follow_target(policy: Any) -> None:
    tracking = policy.target_tracking_scaling_policy_configuration
    if not tracking:
        return
    target = float(tracking["TargetValue"])
    for alarm in policy.alarms:
        scale_in = "-AlarmLow-" in alarm.name
        alarm.threshold = target * SCALE_IN_MARGIN if scale_in else target


@dataclass(frozen=True)
class Tracked:
    """A service that follows a target, and what keeps it from doing so."""

    service: str
    resource: str
    policy: str
    alarms: tuple[str, ...]
    minimum: int
    maximum: int
    target: float
    out_cooldown_s: float
    in_cooldown_s: float
    may_scale_out: bool
    may_scale_in: bool


def tracked(account: str, region: str) -> list[Tracked]:
    """Every target tracking policy on a service's CPU, with the range that it works in."""
    scaling = core.backend("application-autoscaling", account, region)
    targets = scaling.targets.get(_DIMENSION, {})
    return [
        _tracked(policy, targets[policy.resource_id])
        for policy in scaling.policies.values()
        if policy.resource_id in targets and _measures_cpu(policy)
    ]


def _measures_cpu(policy: Any) -> bool:
    tracking = policy.target_tracking_scaling_policy_configuration or {}
    metric = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    return bool(metric == "ECSServiceAverageCPUUtilization")


def _tracked(policy: Any, target: Any) -> Tracked:
    tracking = policy.target_tracking_scaling_policy_configuration
    suspended = target.suspended_state or {}
    return Tracked(
        service=policy.resource_id.rsplit("/", 1)[-1],
        resource=policy.resource_id,
        policy=policy.policy_name,
        alarms=tuple(alarm.name for alarm in policy.alarms),
        minimum=int(target.min_capacity),
        maximum=int(target.max_capacity),
        target=float(tracking["TargetValue"]),
        out_cooldown_s=float(tracking.get("ScaleOutCooldown", 300)),
        in_cooldown_s=float(tracking.get("ScaleInCooldown", 300)),
        may_scale_out=not suspended.get("DynamicScalingOutSuspended"),
        may_scale_in=not suspended.get("DynamicScalingInSuspended")
        and not tracking.get("DisableScaleIn"),
    )


def record(account: str, region: str, by: Tracked, wanted: int, *, out: bool) -> None:
    """Remember that a policy has set a service's desired count, as AWS describes it."""
    from moto.moto_api._internal import mock_random

    direction, now = "AlarmHigh" if out else "AlarmLow", core.now()
    alarm = next((name for name in by.alarms if f"-{direction}-" in name), direction)
    _activities(account, region).appendleft(
        {
            "ActivityId": str(mock_random.uuid4()),
            "ServiceNamespace": "ecs",
            "ResourceId": by.resource,
            "ScalableDimension": _DIMENSION,
            "Description": f"Setting desired count to {wanted}.",
            "Cause": f"monitor alarm {alarm} in state ALARM triggered policy {by.policy}",
            "StartTime": now.replace(tzinfo=UTC).timestamp(),
            "EndTime": now.replace(tzinfo=UTC).timestamp(),
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired count to {wanted}. "
            "Change successfully fulfilled by ecs.",
        }
    )


def activities(account: str, region: str, *, resource: str = "") -> list[dict[str, Any]]:
    """What scaled by itself since the start or the last reset, the newest first."""
    found = _activities(account, region)
    return [one for one in found if resource in ("", one["ResourceId"])]


def _activities(account: str, region: str) -> deque[dict[str, Any]]:
    scaling = core.backend("application-autoscaling", account, region)
    if not hasattr(scaling, "sandbox_activities"):  # a reset drops both
        scaling.sandbox_activities = deque(maxlen=_MOST_ACTIVITIES)
    found: deque[dict[str, Any]] = scaling.sandbox_activities
    return found


@operation("application-autoscaling", "DescribeScalingActivities")
def _describe_activities(asked: AwsRequest, context: Context) -> dict[str, Any]:
    resource = str(asked.parameters.get("ResourceId") or "")
    with core.LOCK:
        found = activities(context.account, asked.region, resource=resource)
    return {"ScalingActivities": found}


def scale_on_cpu(
    account: str,
    region: str,
    *,
    service: str,
    minimum: int,
    maximum: int,
    policy: str,
    target_percent: float,
    created: datetime,
) -> None:
    """Let `service` (`service/<cluster>/<name>`) follow its average CPU within a range."""
    scaling = core.backend("application-autoscaling", account, region)
    role = (
        f"arn:aws:iam::{account}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/"
        "AWSServiceRoleForApplicationAutoScaling_ECSService"
    )
    target = scaling.register_scalable_target(
        "ecs", service, _DIMENSION, minimum, maximum, role, _not_suspended()
    )
    target.creation_time = created.timestamp()
    made = scaling.put_scaling_policy(
        policy, "ecs", service, _DIMENSION, _tracking(target_percent), "TargetTrackingScaling"
    )
    made.creation_time = created.timestamp()
    for alarm in made.alarms:
        _date(alarm, created)


def _tracking(target_percent: float) -> dict[str, Any]:
    return {
        "TargetValue": target_percent,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ECSServiceAverageCPUUtilization"
        },
        "ScaleOutCooldown": 60,
        "ScaleInCooldown": 300,
        "DisableScaleIn": False,
    }


def _date(alarm: Any, created: datetime) -> None:
    """Idle services keep their scale-in alarm in ALARM: at the range's minimum that is normal."""
    alarm.configuration_updated_timestamp = alarm.state_updated_timestamp = core.naive(created)
    if alarm.comparison_operator == "LessThanThreshold":
        alarm.state_value = "ALARM"
        alarm.state_reason = (
            f"Threshold Crossed: {alarm.evaluation_periods} datapoints were less than "
            f"the threshold ({alarm.threshold})."
        )
    else:
        alarm.state_value = "OK"
        alarm.state_reason = (
            f"Threshold Crossed: {alarm.evaluation_periods} datapoints were not greater than "
            f"the threshold ({alarm.threshold})."
        )


def _not_suspended() -> dict[str, bool]:
    return {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": False,
    }
