"""Desired counts follow the CPU, within the range, and say so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names

RESOURCE = f"service/{names.CLUSTER}/{names.GATEWAY}"


def activities(studio: MovingStudio) -> list[dict[str, Any]]:
    found = studio.client("application-autoscaling").describe_scaling_activities(
        ServiceNamespace="ecs", ResourceId=RESOURCE
    )
    return list(found["ScalingActivities"])


def desired(studio: MovingStudio) -> int:
    return int(studio.service(names.GATEWAY)["desiredCount"])


@pytest.mark.timeout(120)
def test_load_scales_out_and_its_end_scales_in(moving: MovingStudio) -> None:
    assert (activities(moving), desired(moving)) == ([], 3)
    moving.order("cpu-load", service=names.GATEWAY, factor=2.2)
    moving.until(lambda: desired(moving) > 3, "the load is spread")
    moving.until(lambda: len(moving.tasks(names.GATEWAY)) > 3, "tasks are started")
    newest = activities(moving)[0]
    assert newest["Description"] == f"Setting desired count to {desired(moving)}."
    assert "-AlarmHigh-" in newest["Cause"]
    assert newest["StatusCode"] == "Successful"
    moving.control("DELETE", "data-plane")
    # slower than out: a quarter of an hour on AWS
    moving.until(lambda: desired(moving) == 3, "back at the least", within_s=90)
    assert "-AlarmLow-" in activities(moving)[0]["Cause"]


def test_no_more_than_the_most_and_not_while_suspended(moving: MovingStudio) -> None:
    scaling = moving.client("application-autoscaling")
    about = {"ServiceNamespace": "ecs", "ResourceId": RESOURCE,
             "ScalableDimension": "ecs:service:DesiredCount"}  # fmt: skip
    scaling.register_scalable_target(**about, MinCapacity=3, MaxCapacity=4)
    moving.order("cpu-load", service=names.GATEWAY, factor=9)
    moving.until(lambda: desired(moving) == 4, "up to the most")
    moving.until_steady(names.GATEWAY)
    scaling.register_scalable_target(
        **about, MaxCapacity=9, SuspendedState={"DynamicScalingOutSuspended": True}
    )
    before = moving.control("GET", "data-plane")["requests"]
    moving.until(
        lambda: moving.control("GET", "data-plane")["requests"] > before + 25, "time went by"
    )
    assert desired(moving) == 4
    scaling.register_scalable_target(**about, SuspendedState={"DynamicScalingOutSuspended": False})
    moving.until(lambda: desired(moving) > 4, "it scales again")


@pytest.mark.timeout(120)
def test_what_is_above_the_most_is_brought_down_to_it_at_once(moving: MovingStudio) -> None:
    scaling = moving.client("application-autoscaling")
    scaling.register_scalable_target(
        ServiceNamespace="ecs", ResourceId=RESOURCE, ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=0, MaxCapacity=0,
    )  # fmt: skip
    known = len(activities(moving))
    moving.until(lambda: desired(moving) < 3, "it scales in", within_s=90)
    assert desired(moving) == 0
    assert activities(moving)[0]["Description"] == "Setting desired count to 0."
    assert len(activities(moving)) == known + 1


def test_a_cpu_that_is_asked_for_more_than_it_has_is_felt_in_latencies(
    moving: MovingStudio,
) -> None:
    """Twelve milliseconds are usual there; ten times as much is out of chance's reach."""
    moving.order("cpu-load", service=names.BACKEND, factor=12)
    late = '{ $.path = "/v1/users/me" && $.latency_ms > 120 }'
    found = moving.until(lambda: moving.lines(names.BACKEND, late), "pages are late")
    assert all(one["timestamp"] >= f"{moving.box.anchor:%Y-%m-%dT%H:%M:%S}" for one in found)
