"""Which commit is deployed, and what a revision is known by, before anything is asked of AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.change.plan import KNOWN_AFTER_APPLY
from runbook.errors import BadInput
from runbook.procedure.deploy import Deploy
from runbook.settings import Ecs
from runbook.studio.definitions import Definition
from runbook.studio.ecs import Deployment, Service
from runbook.studio.images import Image
from runbook.studio.migrations import Head

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OLD, NEW = "a1b2c3d4" * 5, "e5f60718" * 5
REGISTRY = "123456789012.dkr.ecr.region.amazonaws.com"


def definition(name: str, **container: Any) -> Definition:
    first = {
        "name": "app",
        "image": f"{REGISTRY}/{name}:{OLD}",
        "environment": [{"name": "COMMIT", "value": OLD}, {"name": "MODE", "value": "fast"}],
        "secrets": [{"name": "KEY", "valueFrom": "arn:key"}],
        **container,
    }
    side = {"name": "side", "image": "public.ecr.aws/xray/daemon:3"}
    content = {"family": name, "cpu": "512", "containerDefinitions": [first, side]}
    return Definition(f"{name}:7", content)


def running(name: str) -> Service:
    deployment = Deployment("ecs-svc/1", "PRIMARY", f"{name}:7", "COMPLETED", "", 2, 2, 0, None)
    return Service("cluster", name, f"{name}:7", 2, 2, 0, (deployment,))


def found(sha: str = "", **tags: list[str]) -> Deploy:
    pushed = {
        name: tuple(Image(tag, NOW - timedelta(days=n)) for n, tag in enumerate(mine))
        for name, mine in (tags or {"web": [NEW, OLD], "job": [NEW, OLD]}).items()
    }
    return Deploy(
        tuple(map(running, pushed)),
        {name: definition(name) for name in pushed},
        pushed,
        Head(("1f3a",)),
        Ecs(commit_setting="COMMIT"),
        NOW,
        "directly",
        sha,
    )


def test_the_newest_commit_that_all_have_an_image_of_is_chosen() -> None:
    assert found().choose() == NEW
    assert found(web=[NEW, OLD], job=[OLD]).choose() == OLD
    assert found(NEW[:7]).choose() == NEW


def test_a_commit_without_an_image_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="is 0 of the commits") as refused:
        found("e5f6071f").choose()
    assert refused.value.next.startswith(f"The nearest: {NEW[:12]}")
    with pytest.raises(BadInput, match="from 7 signs on"):
        found(NEW[:6]).choose()
    with pytest.raises(BadInput, match=f"{NEW[:12]} has no image for job"):
        found(NEW, web=[NEW, OLD], job=[OLD]).choose()
    with pytest.raises(BadInput, match="No commit has an image"):
        found(web=[NEW], job=[OLD]).choose()


def test_the_workflow_builds_a_whole_commit_that_has_no_image() -> None:
    other = "0123" * 10
    assert replace(found(other), by="workflow").choose() == other
    with pytest.raises(BadInput):
        replace(found(other[:10]), by="workflow").choose()


def test_only_the_image_and_what_tells_of_the_commit_are_edited() -> None:
    now, then = definition("web"), found().then("web")

    assert now.edits_to(then) == {"app image's tag": NEW, "app setting COMMIT": NEW}
    assert then.settings == {"COMMIT": NEW, "MODE": "fast"}
    assert then.content["containerDefinitions"][1] == now.content["containerDefinitions"][1]
    assert now.content["containerDefinitions"][0]["image"].endswith(OLD)  # itself untouched


def test_a_revision_is_known_by_its_content() -> None:
    assert definition("web").hash == definition("web").hash
    assert definition("web").hash != definition("web", cpu=256).hash
    edited = definition("web").with_settings({"MODE": "slow"})
    assert edited.with_settings({"MODE": "fast"}).hash == definition("web").hash


def test_a_setting_that_no_container_has_is_refused() -> None:
    with pytest.raises(BadInput, match="web:7 has no setting SPEED"):
        definition("web").with_settings({"SPEED": "1"})


def test_an_image_by_digest_stays_one() -> None:
    digest = f"sha256:{'0' * 64}"
    pinned = definition("web", image=f"{REGISTRY}/web@{digest}")
    assert (pinned.repository, pinned.tag) == (f"{REGISTRY}/web", digest)
    assert pinned.with_image(tag=digest).image == pinned.image


def test_all_revisions_are_registered_before_the_first_service_moves() -> None:
    plan = found().plan()

    assert [one.kind for one in plan.changes] == [
        "ecs-revision", "ecs-revision", "ecs-deploy", "ecs-deploy",
    ]  # fmt: skip
    assert [one.target.rpartition("/")[2] for one in plan.changes[2:]] == ["web", "job"]
    assert plan.changes[2].after["task_definition"] == KNOWN_AFTER_APPLY


def test_a_revision_with_that_content_is_used_and_not_registered_again() -> None:
    (change,) = replace(found(web=[NEW, OLD]), known={"web": "web:9"}).plan().changes

    assert (change.kind, change.after["task_definition"]) == ("ecs-deploy", "web:9")


def test_what_runs_already_is_left_as_it_is() -> None:
    plan = found(OLD).plan()

    assert plan.changes == ()
    assert plan.title == f"{OLD[:12]} runs already"


def test_an_older_commit_and_tasks_that_failed_are_said() -> None:
    older = replace(found(OLD), now={"web": definition("web").with_image(tag=NEW),
                                     "job": definition("job").with_image(tag=NEW)})  # fmt: skip
    assert f"web: {OLD[:12]} is older than what runs." in older.plan().warnings
    failed = replace(found(), failed={"job": 3}).plan().warnings
    assert "job: 3 tasks of this image failed within the last hour." in failed
