"""adjust-autoscaling on a Studio that moves: range and target are set, and taken back."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import run, undo

from studio_sandbox.control_plane import names

SLUG, SERVICE = "adjust-autoscaling", names.FRONTEND
RESOURCE = f"service/{names.CLUSTER}/{SERVICE}"


def scaling(studio: MovingStudio) -> tuple[int, int, float]:
    """Range and target value, as another client reads them."""
    client = studio.client("application-autoscaling")
    asked: Any = {"ServiceNamespace": "ecs"}
    (target,) = client.describe_scalable_targets(ResourceIds=[RESOURCE], **asked)["ScalableTargets"]
    (policy,) = client.describe_scaling_policies(ResourceId=RESOURCE, **asked)["ScalingPolicies"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    return target["MinCapacity"], target["MaxCapacity"], tracking["TargetValue"]


def set_most(studio: MovingStudio, most: int) -> None:
    studio.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=RESOURCE,
        MaxCapacity=most,
    )


def test_range_and_target_are_set_as_planned_and_put_back(put_back: MovingStudio) -> None:
    studio = put_back
    least, most, target = scaling(studio)
    wanted: dict[str, Any] = {
        "service": SERVICE,
        "max_capacity": most + 1,
        "target_value": target - 5,
    }

    digest = run(studio, SLUG, **wanted)["plan"]["digest"]
    set_most(studio, most + 2)  # somebody else, meanwhile
    stale = run(studio, SLUG, apply=digest)
    assert stale["verdict"] == "refused"
    assert "max_capacity" in stale["error"]["message"]
    assert scaling(studio) == (least, most + 2, target)

    set_most(studio, most)
    planned = run(studio, SLUG, **wanted)
    assert scaling(studio) == (least, most, target)
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert applied["changes_applied"] == 2
    assert scaling(studio) == (least, most + 1, target - 5)

    assert undo(studio, applied["run_id"])["verdict"] == "succeeded"
    assert scaling(studio) == (least, most, target)


def test_nothing_is_planned_while_no_range_holds_anybody_back(put_back: MovingStudio) -> None:
    assert run(put_back, SLUG)["verdict"] == "no_change"
    refused = run(put_back, SLUG, service="nobody")
    assert refused["verdict"] == "refused"
    assert names.GATEWAY in refused["error"]["message"]
