"""What restoring a secret comes to, before anything is asked of AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.errors import BadInput
from runbook.procedure.consumers import Consumers
from runbook.procedure.restore_secret import Restore
from runbook.studio.ecs import Deployment, Reference, Service, in_order
from runbook.studio.secretsmanager import Version, Versions

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NEWEST, BEFORE, OLDEST = ("aaaaaaaa-1", "bbbbbbbb-2", "cccccccc-3")


def version(name: str, days: int, *stages: str) -> Version:
    return Version(name, stages, NOW - timedelta(days=days))


def service(name: str) -> Service:
    deployment = Deployment("ecs-svc/1", "PRIMARY", f"{name}:7", "COMPLETED", "", 2, 2, 0, None)
    return Service("cluster", name, f"{name}:7", 2, 2, 0, (deployment,))


FOUND = Restore(
    Versions(
        "DSN",
        (
            version(NEWEST, 0, "AWSCURRENT"),
            version(BEFORE, 61, "AWSPREVIOUS"),
            version(OLDEST, 150),
        ),
    ),
    readers=Consumers(
        (service("web"), service("job")),
        (
            Reference("web", "web:7", "DATABASE", "arn"),
            Reference("job", "job:7", "DATABASE", "arn"),
        ),
    ),
    now=NOW,
)


def test_the_labels_move_first_and_then_each_consumer_is_restarted() -> None:
    plan = FOUND.plan()

    assert [(one.kind, one.target) for one in plan.changes] == [
        ("secret-stage", "secret:DSN"),
        ("ecs-restart", "ecs:cluster/web"),
        ("ecs-restart", "ecs:cluster/job"),
    ]
    assert plan.changes[0].after == {"AWSCURRENT": BEFORE, "AWSPREVIOUS": NEWEST}
    assert plan.risk == "high"


def test_a_version_is_named_by_its_first_signs_and_said_to_be_without_a_label() -> None:
    plan = replace(FOUND, version=OLDEST[:8]).plan()

    assert plan.changes[0].after["AWSCURRENT"] == OLDEST
    assert any("may remove it" in warning for warning in plan.warnings)


@pytest.mark.parametrize("asked", ["b", "dddddddd-4"])
def test_a_version_that_is_not_there_or_not_one_is_refused_with_those_that_are(asked: str) -> None:
    with pytest.raises(BadInput, match="is not one version of DSN") as refused:
        replace(FOUND, version=asked).plan()
    assert BEFORE in refused.value.next


def test_without_an_earlier_version_it_is_refused() -> None:
    alone = replace(FOUND, versions=Versions("DSN", (version(NEWEST, 0, "AWSCURRENT"),)))
    with pytest.raises(BadInput, match="no version that was current before"):
        alone.plan()


def test_what_is_current_already_is_no_change_and_no_restart() -> None:
    assert replace(FOUND, version=NEWEST).plan().changes == ()


def test_a_secret_that_nobody_reads_is_moved_and_that_is_said() -> None:
    plan = replace(FOUND, readers=Consumers((), ())).plan()

    assert [one.kind for one in plan.changes] == ["secret-stage"]
    assert "nothing is restarted" in plan.warnings[0]


def test_tables_show_which_version_comes_and_who_reads_it() -> None:
    assert list(FOUND.version_table().frame.then) == ["", "AWSCURRENT", ""]
    assert list(FOUND.consumer_table().frame.setting) == ["DATABASE", "DATABASE"]


def test_services_come_in_the_order_of_a_deployment_and_others_last() -> None:
    found = in_order([service("x"), service("web"), service("job")], ["job", "web"])
    assert [one.name for one in found] == ["job", "web", "x"]
