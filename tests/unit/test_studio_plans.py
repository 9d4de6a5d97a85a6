"""Plans of the Studio's things, what they refuse, and how deployments are followed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.services_in_memory import ServicesInMemory
from tests.support import SetClock

from runbook.change.kinds import kind_of
from runbook.change.plan import KNOWN_AFTER_APPLY, Plan
from runbook.errors import BadInput, Failed, Refused
from runbook.studio import alb, autoscaling, cloudwatch, ecs, redis_cache, secretsmanager
from runbook.wait import DeadlinePassed, Wait

SECRET = secretsmanager.Versions(
    "KEY",
    (
        secretsmanager.Version("v3", ("AWSCURRENT",), datetime(2026, 11, 3, tzinfo=UTC)),
        secretsmanager.Version("v2", ("AWSPREVIOUS",), datetime(2026, 11, 2, tzinfo=UTC)),
        secretsmanager.Version("v1", (), datetime(2026, 11, 1, tzinfo=UTC)),
    ),
)
SCALING = autoscaling.Scaling(
    "service/c/web", 2, 6, (autoscaling.Policy("cpu", "CPU", 70.0, {"TargetValue": 70.0}),)
)


def service() -> ecs.Service:
    return ecs.read_service(ServicesInMemory(), cluster="c", service="web")


def sides(plan: Plan) -> list[tuple[Any, Any]]:
    return [(change.before, change.after) for change in plan.changes]


def measured(plan: Plan) -> dict[str, float]:
    return dict(kind_of(plan.changes[0]).measure(plan.changes[0]))


@pytest.mark.parametrize(
    ("desired_count", "risk", "measures"),
    [
        (4, "low", {"tasks": 1, "percentage": 100 / 3}),
        (1, "low", {"tasks": 2, "percentage": 200 / 3}),
        (0, "high", {"tasks": 3, "percentage": 100}),
    ],
)
def test_scaling_names_the_count_alone(
    desired_count: int, risk: str, measures: dict[str, float]
) -> None:
    plan = ecs.plan_scale(service(), desired_count=desired_count)
    assert sides(plan) == [({"desired_count": 3}, {"desired_count": desired_count})]
    assert plan.risk == risk
    assert measured(plan) == pytest.approx(measures)


def test_starting_a_service_that_has_no_task_is_measured_in_tasks_alone() -> None:
    plan = ecs.plan_scale(replace(service(), desired_count=0), desired_count=4)
    assert measured(plan) == {"tasks": 4}


@pytest.mark.parametrize(
    "plan",
    [
        ecs.plan_scale(service(), desired_count=3),
        ecs.plan_revision(service(), task_definition="web:46"),
        secretsmanager.plan_restore(SECRET, to="v3"),
        autoscaling.plan_range(SCALING, min_capacity=2, max_capacity=6),
        autoscaling.plan_target_value(SCALING, policy="cpu", target_value=70),
        redis_cache.plan_clear(redis_cache.Keys("usage:*", (), frozenset())),
        cloudwatch.plan_alarms([], []),
    ],
)
def test_what_is_so_already_plans_no_change(plan: Plan) -> None:
    assert plan.changes == ()


def test_a_revision_may_be_named_by_its_arn() -> None:
    arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/web:45"
    plan = ecs.plan_revision(service(), task_definition=arn)
    assert sides(plan) == [({"task_definition": "web:46"}, {"task_definition": "web:45"})]


def test_a_restart_is_known_by_its_new_deployment_only() -> None:
    plan = ecs.plan_restart(service())
    ((before, after),) = sides(plan)
    assert before["deployment"].startswith("ecs-svc/")
    assert after == {"deployment": KNOWN_AFTER_APPLY, "task_definition": "web:46"}


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (lambda: ecs.plan_scale(service(), desired_count=-1), "0 or more"),
        (lambda: ecs.plan_revision(service(), task_definition="web"), "family:revision"),
        (lambda: secretsmanager.plan_restore(SECRET, to="v9"), "v2 .AWSPREVIOUS., v1 .no label"),
        (lambda: autoscaling.plan_range(SCALING, min_capacity=7, max_capacity=6), "7 and 6"),
        (lambda: autoscaling.plan_range(SCALING, min_capacity=-1, max_capacity=6), "-1 and 6"),
        (
            lambda: autoscaling.plan_target_value(SCALING, policy="ram", target_value=1),
            "it has cpu",
        ),
        (lambda: autoscaling.plan_target_value(SCALING, policy="cpu", target_value=0), "more than"),
        (lambda: alb.plan_put(None, rule(0)), "1 to 50,000"),
        (lambda: alb.plan_put(None, rule(50_001)), "1 to 50,000"),
        (lambda: alb.plan_put(rule(2), rule(1)), "not the place"),
        (lambda: alb.plan_put(None, replace(rule(1), conditions=())), "at least one condition"),
        (lambda: cloudwatch.wanted_alarm("a", {"Treshold": 1}), "Treshold"),
        (lambda: cloudwatch.wanted_alarm("a", {"EvaluationPeriods": 1}), "ComparisonOperator"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(plan: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan()


@pytest.mark.parametrize("priority", [1, 50_000])
def test_the_first_and_the_last_priority_are_fine(priority: int) -> None:
    assert alb.plan_put(None, rule(priority)).changes


def test_restoring_a_secret_takes_the_previous_label_along() -> None:
    plan = secretsmanager.plan_restore(SECRET, to="v1")
    before = {"AWSCURRENT": "v3", "AWSPREVIOUS": "v2"}
    assert sides(plan) == [(before, {"AWSCURRENT": "v1", "AWSPREVIOUS": "v3"})]
    assert "AWS may remove it" in plan.warnings[1]


def test_a_range_that_the_service_is_outside_of_says_so() -> None:
    inside = autoscaling.plan_range(SCALING, min_capacity=3, max_capacity=8, desired_count=3)
    outside = autoscaling.plan_range(SCALING, min_capacity=4, max_capacity=8, desired_count=3)
    assert inside.warnings == ()
    assert outside.warnings == ("It runs 3 tasks: auto scaling will set 4.",)
    assert measured(outside) == {"tasks": 2}


def test_a_target_value_is_measured_in_per_cent_of_what_it_was() -> None:
    plan = autoscaling.plan_target_value(SCALING, policy="cpu", target_value=56)
    assert sides(plan) == [({"cpu": 70}, {"cpu": 56})]
    assert measured(plan) == {"percentage": 20}


def rule(priority: int) -> alb.Rule:
    condition = {"Field": "host-header", "Values": ["b.example", "a.example"]}
    action = {"Type": "forward", "TargetGroupArn": "arn:group", "Order": 1}
    return alb.Rule("lb/443", priority, (condition,), (action,))


def test_a_rule_said_twice_is_the_same_rule() -> None:
    hosts = ["a.example", "b.example"]
    condition = {"Field": "host-header", "Values": hosts, "HostHeaderConfig": {"Values": hosts}}
    group = {"TargetGroupArn": "arn:group", "Weight": 1}
    forward = {"TargetGroups": [group], "TargetGroupStickinessConfig": {"Enabled": False}}
    action = {"Type": "forward", "TargetGroupArn": "arn:group", "ForwardConfig": forward}
    said_twice = alb.Rule("lb/443", 1, (condition,), (action,))
    assert alb.plan_put(said_twice, rule(1)).changes == ()


def alarm(name: str, **settings: Any) -> cloudwatch.Alarm:
    given = {
        "MetricName": "m",
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    return cloudwatch.wanted_alarm(name, {**given, "Threshold": 80, **settings})


def test_alarms_are_made_or_mended_and_others_left_alone() -> None:
    plan = cloudwatch.plan_alarms(
        [alarm("drifted", Threshold=90), alarm("same"), alarm("not ours")],
        [alarm("missing"), alarm("drifted"), alarm("same", TreatMissingData="missing")],
    )
    made, mended = plan.changes[1], plan.changes[0]
    assert plan.title == "Make 1 missing and mend 1 drifted alarms"
    assert (mended.before, mended.after) == ({"Threshold": 90}, {"Threshold": 80})
    assert made.before is None
    assert made.after["Threshold"] == 80


def keys(*names: str, dump: bytes | None = b"d") -> redis_cache.Keys:
    found = tuple(redis_cache.Key(name, "ab", -1, dump) for name in names)
    return redis_cache.Keys("*", found, frozenset({"celery", "videos"}))


@pytest.mark.parametrize(
    "name", ["celery", "videos", "videos\x06\x163", "unacked", "_kombu.binding.videos"]
)
def test_keys_of_the_broker_are_never_cleared(name: str) -> None:
    with pytest.raises(Refused, match="Celery broker"):
        redis_cache.plan_clear(keys("usage:1", name))


def test_keys_without_their_dumps_are_cleared_for_good() -> None:
    with_dumps = redis_cache.plan_clear(keys("usage:1", "celery:not-a-queue"))
    without = redis_cache.plan_clear(keys("usage:1", dump=None))
    assert (with_dumps.risk, with_dumps.reversible, measured(with_dumps)) == (
        "high", True, {"keys": 2},
    )  # fmt: skip
    assert (without.risk, without.reversible) == ("destructive", False)
    assert "no way back" in without.way_back


class World(SetClock):
    """A clock in whose waits something happens to the service."""

    def __init__(self, happens: Any) -> None:
        super().__init__()
        self.happens = happens

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.happens()


def follow(services: ServicesInMemory, happens: Any, *, wanted: str = "web:45") -> ecs.Service:
    services.update_service(taskDefinition="web:45")
    return ecs.wait_deployed(
        services,
        cluster="c",
        service="web",
        deployment=services.primary["id"],
        task_definition=wanted,
        wait=Wait(timeout_s=600, interval_s=10, clock=World(happens)),
    )


def test_a_completed_deployment_of_the_wanted_revision_is_success() -> None:
    services = ServicesInMemory()
    done = follow(services, lambda: services.roll("COMPLETED"))
    assert (done.task_definition, done.running_count) == ("web:45", 3)


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        ("roll_back", "has failed, tasks failed to start, now it is .* of web:46: rolling back"),
        ("deploy", "was replaced, now it is"),
    ],
)
def test_a_rollback_or_another_deployment_is_not(happens: str, says: str) -> None:
    services = ServicesInMemory()
    with pytest.raises(Failed, match=says) as failed:
        follow(services, getattr(services, happens))
    assert "steady state" in str(failed.value)


def test_a_rollback_that_has_completed_is_not_success_either() -> None:
    services = ServicesInMemory()

    def rolled_back() -> None:
        services.roll_back()
        services.roll("COMPLETED")

    with pytest.raises(Failed, match="is gone"):
        follow(services, rolled_back)


def test_a_deployment_of_another_revision_is_not() -> None:
    with pytest.raises(Failed, match="is of web:45, not of web:44"):
        follow(ServicesInMemory(), lambda: None, wanted="web:44")


def test_a_deployment_that_takes_too_long_tells_the_latest_events() -> None:
    with pytest.raises(DeadlinePassed, match=r"Waited 600 s .* steady state"):
        follow(ServicesInMemory(), lambda: None)
