"""Who is in trouble, who takes a family over, and what the plan sets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runbook.errors import BadInput
from runbook.procedure.switch_provider import Switch
from runbook.settings import Family, Provider, Providers
from runbook.studio.definitions import Definition
from runbook.studio.ecs import Deployment, Service
from runbook.studio.outside import Said
from runbook.studio.providers import Rate

WELL, TROUBLE = Said("one", "none", "All well"), Said("one", "major", "Elevated latency")
USUAL = Rate(100, 0, 1000.0)
SETTINGS = Providers(
    known={name: Provider(secret=name, try_url="/") for name in ("one", "two", "three")},
    families={
        "chat": Family(setting="CHAT", fallback="CHAT_NEXT", providers=("one", "two", "three")),
        "video": Family(setting="VIDEO", fallback="VIDEO_NEXT", providers=("one", "two")),
    },
)
VALUES = {"CHAT": "one", "CHAT_NEXT": "two", "VIDEO": "two", "VIDEO_NEXT": "one"}
CONTENT = {
    "containerDefinitions": [
        {
            "name": "app",
            "image": "registry/app:1",
            "environment": [{"name": name, "value": value} for name, value in VALUES.items()],
        }
    ]
}
DEPLOYMENT = Deployment("ecs-svc/1", "PRIMARY", "app:7", "COMPLETED", "", 2, 2, 0, None)
HEALTHY = Switch(
    Service("cluster", "app", "app:7", 2, 2, 0, (DEPLOYMENT,)),
    Definition("app:7", CONTENT),
    SETTINGS,
    dict.fromkeys(SETTINGS.known, USUAL),
    dict.fromkeys(SETTINGS.known, USUAL),
    dict.fromkeys(SETTINGS.known, WELL),
    dict.fromkeys(SETTINGS.known, True),
    15,
)


def lately(**rates: Rate) -> Switch:
    return replace(HEALTHY, lately={**HEALTHY.lately, **rates})


def test_nothing_moves_while_all_are_well() -> None:
    assert HEALTHY.sick == {}
    assert HEALTHY.plan().changes == ()
    assert HEALTHY.findings()["status"] == "ok"


@pytest.mark.parametrize(
    ("rate", "sick"),
    [
        (Rate(100, 5, 1000), False),
        (Rate(100, 6, 1000), True),
        (Rate(4, 4, 1000), False),  # too few to tell
        (Rate(100, 0, 3000), False),
        (Rate(100, 0, 3001), True),
    ],
    ids=str,
)
def test_trouble_is_failures_or_latency_over_the_limit(rate: Rate, sick: bool) -> None:
    assert ("one" in lately(one=rate).sick) is sick


def test_a_status_page_is_believed() -> None:
    found = replace(HEALTHY, pages={**HEALTHY.pages, "one": TROUBLE})
    assert found.sick == {"one": "its status page says 'Elevated latency'"}
    assert found.moves() == {"chat": "two"}
    assert found.findings()["status"] == "critical"


def test_who_is_left_becomes_the_fallback() -> None:
    found = replace(HEALTHY, away_from="two")
    assert found.now.edits_to(found.then()) == {
        "app setting VIDEO": "one", "app setting VIDEO_NEXT": "two",
    }  # fmt: skip


def test_a_fallback_in_trouble_is_passed_over() -> None:
    found = replace(lately(two=Rate(100, 50, 1000)), away_from="one")
    assert found.moves() == {"chat": "three"}
    with pytest.raises(BadInput, match="Nobody who is well can take video over from two"):
        replace(lately(one=Rate(100, 50, 1000)), away_from="two").moves()


@pytest.mark.parametrize("rate", [Rate(100, 0, 4000), Rate(100, 10, 1000)], ids=str)
def test_one_that_may_be_well_again_takes_over_where_nobody_is_and_the_plan_says_so(
    rate: Rate,
) -> None:
    found = replace(lately(one=rate), away_from="two")
    assert found.moves() == {"video": "one"}
    assert any(one.startswith("one is in trouble itself: ") for one in found.plan().warnings)


def test_one_that_refuses_our_key_is_in_trouble_and_takes_nothing_over() -> None:
    found = replace(HEALTHY, accepted={**HEALTHY.accepted, "one": False})
    assert found.sick == {"one": "it refuses our key"}
    with pytest.raises(BadInput, match="Nobody who is well can take video over"):
        replace(found, away_from="two").moves()


def test_a_sign_of_now_counts_more_than_figures_of_before() -> None:
    found = lately(one=Rate(100, 0, 4000))
    assert found.to_leave == ["one"]
    assert replace(found, pages={**found.pages, "two": TROUBLE}).to_leave == ["two"]


def test_a_family_alone_moves_when_it_is_named() -> None:
    assert replace(HEALTHY, families=("video",)).moves() == {"video": "one"}
    assert replace(HEALTHY, families=("video",), away_from="one").moves() == {}


def test_who_has_no_models_for_a_family_cannot_take_it_over() -> None:
    with pytest.raises(BadInput, match="'three' has no models for video"):
        replace(HEALTHY, away_from="two", to="three").moves()
