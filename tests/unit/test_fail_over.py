"""Failing over: what keeps it from being planned, and what the plan says of the loss."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from runbook import settings
from runbook.change import kinds
from runbook.change.kinds import kind_of
from runbook.change.plan import Change
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.procedure import fail_over
from runbook.procedure.fail_over import Failover, Name, Source, Spare
from runbook.studio import aurora_backups, ecs
from runbook.studio.aurora_backups import Snapshot
from runbook.studio.autoscaling import Scaling
from runbook.studio.ecs import Service
from runbook.studio.route53 import Record

ENVIRONMENT = settings.load("sandbox")
HERE, THERE = "alb.here.example", "alb.there.example"


def spare(name: str, **about: Any) -> Spare:
    service = Service("cluster", name, f"{name}:1", 0, 0, 0, ())
    scaling = Scaling(f"service/cluster/{name}", 0, ENVIRONMENT.failover.services[name].most, ())
    found = Spare(name, service, None, scaling, (), started=False)
    return replace(found, **about)


def found(**about: Any) -> Failover:
    """A lost region, and another one that could take over."""
    ready = Failover(
        environment=ENVIRONMENT,
        lost="here",
        region="there",
        why="no route",
        although=False,
        accepted=60,
        reviewed=False,
        source=Source("the newest copy is of 02:03", 30, "db-2"),
        spares=tuple(spare(name) for name in ENVIRONMENT.failover.services),
        balancer=THERE,
        balancer_zone="Z2",
        uncovered=(),
        cache="",
        mail=(),
        names=(Name("app.example", Record("app.example", "A", (HERE,), alias=True), "Z1"),),
        dsn=None,
    )
    return replace(ready, **about)


def test_services_start_in_their_range_and_names_move_last() -> None:
    plan = found().plan()
    order = [one.kind for one in plan.changes]
    services = len(ENVIRONMENT.failover.services)
    assert order == ["scaling-target", "ecs-service"] * services + ["services-started", "dns-alias"]
    assert all(one.target.endswith("@there") for one in plan.changes[:-1])
    assert plan.changes[-1].after == {"to": THERE, "zone": "Z2"}
    assert "last 30 min is lost, at least" in plan.warnings[0]
    assert plan.risk == "destructive"


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"accepted": 29}, "30 min would be lost"),
        ({"source": Source("somewhere", None, "db-2"), "accepted": 0}, "nobody knows how far"),
        ({"source": Source("neither a secondary nor a copy", None)}, "neither a secondary"),
        ({"spares": ()}, "names none"),
        ({"balancer": ""}, "there is no ai-studio-alb"),
        ({"uncovered": ("app.example",)}, "no certificate for app.example"),
        ({"cache": "it does not answer"}, "cache: it does not answer"),
        ({"names": (Name("app.example", None, ""),)}, "no alias leads it anywhere"),
    ],
)
def test_what_is_not_ready_keeps_the_plan_from_being_made(about: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        found(**about).plan()


def test_a_service_that_is_missing_or_cannot_start_is_named() -> None:
    first, second, *rest = found().spares
    gone = replace(first, service=None, scaling=None)
    faulty = replace(second, faults=("its image has left ECR",))
    with pytest.raises(BadInput) as refused:
        found(spares=(gone, faulty, *rest)).plan()
    assert f"{first.name}: is not defined in there" in refused.value.message
    assert f"{second.name}: its image has left ECR" in refused.value.message


def test_a_plan_that_was_reviewed_is_not_refused_for_the_time_that_took() -> None:
    assert found(accepted=0, reviewed=True).plan().changes


def test_a_region_that_answers_is_not_failed_over_from_unless_somebody_says_so() -> None:
    assert found(why="").plan().changes == ()
    plan = found(why="", although=True).plan()
    assert any("goes on writing into its own database" in one for one in plan.warnings)


def test_mail_that_does_not_go_out_is_said_and_keeps_nobody_waiting() -> None:
    plan = found(mail=("the domain is not verified",)).plan()
    assert any("Mail does not go out from there" in one for one in plan.warnings)


def test_a_change_that_names_a_region_is_read_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Elsewhere:
        def aws(self, service: str, **about: Any) -> Any:
            raise ConnectionError(service)

    def within(self: Clients, region: str) -> Any:
        asked.append(region)
        return Elsewhere()

    monkeypatch.setattr(Clients, "within", within)
    change = Change(ecs.SERVICE, "ecs:cluster/web", {"desired_count": 0}, {"desired_count": 2})
    (moved,) = kinds.at("there", [change])
    assert moved.target == "ecs:cluster/web@there"
    assert moved.inverse().target == moved.target
    with pytest.raises(ConnectionError):
        kind_of(moved).read(Clients(ENVIRONMENT), moved.target)
    assert asked == ["there"]


@pytest.mark.parametrize(("minutes_ago", "lost"), [(30, 30), (0, 0), (-10, None)])
def test_a_copy_that_another_clock_dated_after_now_leaves_the_loss_unknown(
    monkeypatch: pytest.MonkeyPatch, minutes_ago: int, lost: int | None
) -> None:
    now = datetime(2026, 5, 1, 1, 50, tzinfo=UTC)
    copy = Snapshot(
        "copy", "db", "manual", "available", now - timedelta(minutes=minutes_ago), 1, True
    )
    monkeypatch.setattr(aurora_backups, "read_snapshots", lambda *_, **__: (copy,))
    nothing_said = ENVIRONMENT.failover.model_copy(update={"database": None})
    there: Any = SimpleNamespace(
        environment=ENVIRONMENT.model_copy(update={"failover": nothing_said}),
        aws=lambda _: None,
        region="eu-west-1",
    )
    assert fail_over._copied(there, now, "").loss_minutes == lost
