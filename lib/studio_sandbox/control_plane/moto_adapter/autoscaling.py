"""Application Auto Scaling: a service's range, its target tracking policy, the policy's alarms.

Source: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_DIMENSION = "ecs:service:DesiredCount"
_SCALE_IN_MARGIN = 0.9  # AWS scales in below 90 % of the target


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
        alarm.threshold = target * _SCALE_IN_MARGIN if scale_in else target


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
