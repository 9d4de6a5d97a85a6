"""What scaling a service comes to, before anything is asked of AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook.errors import BadInput
from runbook.procedure.scale import Scaled
from runbook.settings import Ecs
from runbook.studio.alb import Target
from runbook.studio.autoscaling import Policy, Scaling
from runbook.studio.ecs import Deployment, Service, Size

DEPLOYMENT = Deployment("ecs-svc/1", "PRIMARY", "gateway:7", "COMPLETED", "", 2, 2, 0, None)
SERVICE = Service("cluster", "gateway", "gateway:7", 2, 2, 0, (DEPLOYMENT,))
SCALING = Scaling("service/cluster/gateway", 2, 6, (Policy("cpu", "CPU", 70.0, {}),))
FOUND = Scaled(
    service=SERVICE,
    size=Size(vcpu=0.5, gib=1.0),
    scaling=SCALING,
    targets=(Target("group", "10.0.0.1:80", "healthy"), Target("group", "10.0.0.2:80", "healthy")),
    settings=Ecs(cluster="cluster", usd_per_vcpu_hour=0.04, usd_per_gib_hour=0.005),
)


def test_within_the_range_only_the_number_of_tasks_changes() -> None:
    plan = FOUND.plan(desired_count=6, move_range=False)

    assert [(one.kind, one.before, one.after) for one in plan.changes] == [
        ("ecs-service", {"desired_count": 2}, {"desired_count": 6})
    ]


@pytest.mark.parametrize("count", [1, 7])
def test_outside_of_the_range_it_is_refused_with_the_way_on(count: int) -> None:
    with pytest.raises(BadInput, match="from 2 to 6 tasks by itself") as refused:
        FOUND.plan(desired_count=count, move_range=False)
    assert "move_range" in refused.value.next


@pytest.mark.parametrize(("count", "moved"), [(1, {"min_capacity": 1}), (9, {"max_capacity": 9})])
def test_the_range_moves_first_and_no_further_than_it_has_to(
    count: int, moved: dict[str, int]
) -> None:
    plan = FOUND.plan(desired_count=count, move_range=True)

    assert [one.kind for one in plan.changes] == ["scaling-target", "ecs-service"]
    assert plan.changes[0].after == moved


def test_what_is_so_already_is_no_change() -> None:
    assert FOUND.plan(desired_count=2, move_range=False).changes == ()


def test_a_service_that_nothing_scales_takes_any_number() -> None:
    alone = replace(FOUND, scaling=None)

    assert len(alone.plan(desired_count=40, move_range=False).changes) == 1


def test_cost_and_capacity_are_of_all_tasks() -> None:
    table = FOUND.table(desired_count=6).frame.set_index("")

    assert list(table["now"][["tasks", "vCPU", "GiB", "USD an hour"]]) == ["2", "1", "2", "0.050"]
    assert list(table["then"][["tasks", "vCPU", "GiB", "USD an hour"]]) == ["6", "3", "6", "0.150"]


@pytest.mark.parametrize(
    ("changed", "steady"),
    [
        ({}, True),
        ({"service": replace(SERVICE, running_count=1)}, False),
        ({"service": replace(SERVICE, pending_count=1)}, False),
        ({"targets": (Target("group", "10.0.0.1:80", "initial"),)}, False),
        ({"targets": (Target("group", "10.0.0.1:80", "draining"),)}, False),
        ({"targets": (Target("group", "", "none"),)}, False),
    ],
)
def test_it_is_steady_when_all_run_are_healthy_and_none_leaves(
    changed: dict[str, Any], steady: bool
) -> None:
    assert replace(FOUND, **changed).steady() is steady


def test_with_no_task_at_all_nobody_has_to_be_healthy() -> None:
    none = replace(SERVICE, desired_count=0, running_count=0)

    assert replace(FOUND, service=none, targets=(Target("group", "", "none"),)).steady()
