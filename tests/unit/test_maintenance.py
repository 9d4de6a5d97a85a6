"""Which rules maintenance mode makes, in which order, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from runbook.errors import BadInput
from runbook.settings import Endpoint, Endpoints, Maintenance
from runbook.studio import maintenance
from runbook.studio.alb import Rule
from runbook.studio.maintenance import Mode

NOW = datetime(2026, 11, 28, 22, 50, tzinfo=UTC)


def forward(group: str) -> dict[str, Any]:
    return {"Type": "forward", "TargetGroupArn": f"arn:x:targetgroup/{group}/1"}


def host(name: str) -> dict[str, Any]:
    return {"Field": "host-header", "HostHeaderConfig": {"Values": [name]}}


def path(*patterns: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(patterns)}}


def rule(priority: int, condition: dict[str, Any], group: str) -> Rule:
    return Rule("lb/443", priority, (condition,), (forward(group),))


API = rule(10, host("api.example"), "api")
BY_PATH = rule(20, path("/api/v1", "/api/v1/*"), "api")
APP = rule(30, host("app.example"), "app")
SERVICES = Endpoints(
    services={
        "api": Endpoint(host="api.example", path="/v1", alb_path="/api/v1"),
        "app": Endpoint(host="app.example", health="/", tells_health=False),
    }
)
MODE = Mode(
    "lb/443",
    (API, BY_PATH, APP),
    (forward("app"),),
    "lb.aws.example",
    SERVICES,
    Maintenance(allow=("203.0.113.7/32",), page="maintenance.html"),
)


def made(mode: Mode) -> list[Rule]:
    return [
        Rule("lb/443", int(change.target.rpartition("/")[2]),
             tuple(change.after["conditions"]), tuple(change.after["actions"]))
        for change in mode.plan_on("<p>").changes
    ]  # fmt: skip


def on() -> Mode:
    return replace(MODE, rules=(*made(MODE), *MODE.rules))


def test_health_and_the_allow_list_come_before_the_page_and_the_page_is_made_last() -> None:
    rules = made(MODE)
    assert [one.priority for one in rules] == [1, 2, 3, 4, 5]
    health, by_host, by_path, default, page = rules
    assert "/v1/health" in str(health.conditions)
    assert "/api/v1/health" in str(health.conditions)
    for one, group in ((by_host, "api"), (by_path, "api"), (default, "app")):
        assert "203.0.113.7/32" in str(one.conditions)
        assert f"/{group}/" in str(one.actions)
    assert page.actions[0]["FixedResponseConfig"]["StatusCode"] == "503"
    assert page.conditions == ({"Field": "path-pattern", "PathPatternConfig": {"Values": ["*"]}},)


def test_it_is_on_once_the_page_is_there_and_off_without_any_rule_of_it() -> None:
    assert not MODE.is_on
    assert MODE.ours == ()
    assert on().is_on
    assert len(on().ours) == 5
    assert on().findings()["status"] == "warning"
    assert "MAINTENANCE MODE IS ON" in on().findings()["says"]


def test_on_is_on_and_off_is_off() -> None:
    assert on().plan_on("<p>").changes == ()
    assert MODE.plan_off().changes == ()


def test_off_removes_the_page_first_and_then_all_that_is_ours() -> None:
    changes = on().plan_off().changes
    assert [change.target for change in changes] == [
        f"alb:lb/443/rule/{n}" for n in range(5, 0, -1)
    ]
    assert all(change.after is None for change in changes)


def test_what_was_cut_off_is_seen_finished_or_taken_away() -> None:
    half = replace(MODE, rules=(*made(MODE)[:2], *MODE.rules))
    assert not half.is_on
    assert "2 rules of it are left" in half.findings()["says"]
    assert len(half.plan_on("<p>").changes) == 3
    assert len(half.plan_off().changes) == 2


def test_a_shorter_allow_list_leaves_no_rule_of_a_longer_one_behind() -> None:
    closed = replace(on(), wanted=Maintenance(page="maintenance.html"))
    plan = closed.plan_on("<p>")
    assert "Nobody is let in" in " ".join(plan.warnings)
    kept = [change for change in plan.changes if change.after]
    assert len(kept) == 1  # the page, at its new place
    assert len(plan.changes) - len(kept) == 3


def test_no_room_a_long_page_and_a_long_allow_list_are_refused() -> None:
    with pytest.raises(BadInput, match="5 rules are needed from priority 1 on"):
        replace(MODE, rules=(replace(API, priority=5), BY_PATH)).plan_on("<p>")
    with pytest.raises(BadInput, match=r"1,025 characters; the load balancer takes 1,024"):
        MODE.plan_on("x" * 1025)
    many = Maintenance(allow=tuple(f"203.0.113.{n}/32" for n in range(5)))
    with pytest.raises(BadInput, match="6 values in its conditions; AWS takes 5"):
        replace(MODE, wanted=many).plan_on("<p>")


def test_a_target_group_of_its_own_answers_instead_of_the_page() -> None:
    own = Maintenance(target_group="arn:x:targetgroup/busy/1")
    (*_, page) = made(replace(MODE, wanted=own))
    assert "/busy/" in str(page.actions)


def test_the_page_says_until_when_in_both_languages_and_fits() -> None:
    text = maintenance.page(MODE.wanted, minutes=30, now=NOW)
    assert text.count("23:20") == 2
    assert 'content="1800"' in text
    assert len(text) <= 1024
    with pytest.raises(BadInput, match="minutes: expected 1 to 1440, found 0"):
        maintenance.page(MODE.wanted, minutes=0, now=NOW)
    with pytest.raises(BadInput, match="turn: expected on or off, found 'maybe'"):
        MODE.plan(turn="maybe", minutes=1, now=NOW)
