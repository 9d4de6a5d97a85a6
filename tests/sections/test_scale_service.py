"""scale-service on a Studio that moves: tasks start, are healthy, and are taken away again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.moving_studio import MovingStudio
from tests.sections.running import run, undo

from studio_sandbox.control_plane import names

SERVICE = names.GATEWAY


def scaled(studio: MovingStudio) -> tuple[int, int, int]:
    """Desired, running and the top of the range, as another client reads them."""
    service = studio.service(SERVICE)
    (target,) = studio.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[f"service/{names.CLUSTER}/{SERVICE}"]
    )["ScalableTargets"]
    return service["desiredCount"], service["runningCount"], target["MaxCapacity"]


@pytest.fixture
def steered_by_hand(studio: MovingStudio) -> Iterator[MovingStudio]:
    """A Studio whose policies do not take idle tasks away again while we look."""
    autoscaling = studio.client("application-autoscaling")
    for policy in autoscaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]:
        keys = ("PolicyName", "ServiceNamespace", "ResourceId", "ScalableDimension")
        autoscaling.delete_scaling_policy(**{key: policy[key] for key in keys})
    yield studio
    studio.reset()


def test_a_service_is_scaled_beyond_its_range_followed_and_taken_back(
    steered_by_hand: MovingStudio,
) -> None:
    studio = steered_by_hand
    desired, running, most = scaled(studio)
    assert desired == running
    wanted = most + 1

    refused = run(studio, "scale-service", service=SERVICE, desired_count=wanted)
    assert refused["verdict"] == "refused"
    assert "move_range" in refused["error"]["next"]
    assert scaled(studio) == (desired, running, most)

    planned = run(studio, "scale-service", service=SERVICE, desired_count=wanted, move_range=True)
    assert planned["verdict"] == "planned"
    assert scaled(studio) == (desired, running, most)

    applied = run(studio, "scale-service", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert applied["changes_applied"] == 2
    assert scaled(studio) == (wanted, wanted, wanted)
    assert studio.healths(SERVICE).count("healthy") == wanted

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    studio.until(lambda: scaled(studio) == (desired, desired, most), "as it was")
