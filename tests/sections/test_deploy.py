"""deploy on a Studio that moves: one commit comes to services, half-way fails, is taken back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.moving_studio import MovingStudio
from tests.sections import running
from tests.sections.running import approve, cut_off, plan_and_apply, run, runbook, undo

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.studio import Studio

FIRST, SECOND = names.WORKER, names.FRONTEND  # in the order in which they are deployed
BOTH = f"{SECOND},{FIRST}"
SHA = "5eed" * 10


@pytest.fixture
def built(put_back: MovingStudio) -> MovingStudio:
    """A Studio whose pipeline has pushed an image of a new commit for each service."""
    for service in names.SERVICES:
        services.new_image(Studio(put_back.box), service, SHA)
    return put_back


def revisions(studio: MovingStudio) -> dict[str, str]:
    """What each service runs, as another client reads it."""
    return {
        name: one["taskDefinition"].rpartition("/")[2]
        for name, one in running.services(studio).items()
    }


def definition(studio: MovingStudio, revision: str) -> dict[str, Any]:
    """A revision without what ECS adds to it."""
    found = studio.client("ecs").describe_task_definition(taskDefinition=revision)["taskDefinition"]
    for key in ("taskDefinitionArn", "revision", "registeredAt", "registeredBy"):
        del found[key]
    return dict(found)


def next_of(revision: str) -> str:
    family, _, number = revision.rpartition(":")
    return f"{family}:{int(number) + 1}"


def registered(studio: MovingStudio, service: str) -> list[str]:
    """Every revision of a service, oldest first."""
    found = studio.client("ecs").list_task_definitions(familyPrefix=service)["taskDefinitionArns"]
    return [arn.rpartition("/")[2] for arn in found]


def activity(studio: MovingStudio) -> str:
    """The product's file of deployments, as GitHub has it."""
    answer = studio.ask("/github/repos/pulse-studio/ai-studio/contents/ACTIVITY.md").data()
    return base64.b64decode(answer["content"]).decode()


def test_a_commit_comes_to_services_in_order_and_undo_takes_it_back(built: MovingStudio) -> None:
    studio, before = built, revisions(built)

    refused = run(studio, "deploy", sha="5eed5eee")
    assert refused["verdict"] == "refused"
    assert SHA[:12] in refused["error"]["next"]

    planned = run(studio, "deploy", services=BOTH)
    assert planned["verdict"] == "planned", planned["error"]
    kinds = [one["kind"] for one in planned["plan"]["changes"]]
    assert kinds == ["ecs-revision", "ecs-revision", "ecs-deploy", "ecs-deploy"]
    assert revisions(studio) == before
    assert registered(studio, FIRST)[-1] == before[FIRST]
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "deploy", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    new = {name: next_of(before[name]) for name in (FIRST, SECOND)}
    assert revisions(studio) == before | new
    for name in new:
        was = json.dumps(definition(studio, before[name]))
        old_sha = services.image_tag(Studio(studio.box), before[name])
        assert definition(studio, new[name]) == json.loads(was.replace(old_sha, SHA))
    began = [studio.service(name)["deployments"][0]["createdAt"] for name in (FIRST, SECOND)]
    assert began == sorted(began)
    assert activity(studio).count(applied["run_id"]) == 1
    assert f"deployed `{SHA}` to {FIRST}, {SECOND}" in activity(studio)

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert revisions(studio) == before


def test_what_fails_half_way_says_who_runs_what_and_one_undo_takes_it_back(
    built: MovingStudio,
) -> None:
    studio, before = built, revisions(built)
    Studio(studio.box).behave("crash", service=SECOND, tag=SHA, log=["ImportError: no scopes"])

    failed = plan_and_apply(studio, "deploy", services=BOTH)

    assert failed["verdict"] == "failed"
    said = failed["error"]["message"]
    assert f"tasks of {next_of(before[SECOND])} failed" in said
    assert "ImportError: no scopes" in said
    assert f"ecs:{names.CLUSTER}/{FIRST}. Not begun: none." in said
    assert revisions(studio) == before | {FIRST: next_of(before[FIRST])}

    taken_back = undo(studio, failed["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert revisions(studio) == before


def test_cut_off_while_it_rolls_and_resumed_it_registers_nothing_twice(built: MovingStudio) -> None:
    studio, before = built, revisions(built)
    new = next_of(before[FIRST])
    planned = run(studio, "deploy", services=FIRST)
    digest = planned["plan"]["digest"]
    approve(studio, digest)

    cut_off(
        studio,
        "deploy",
        apply=digest,
        when=lambda: revisions(studio)[FIRST] == new,
        what="the service is told to deploy",
    )
    blocked = run(studio, "deploy", apply=digest)
    assert blocked["verdict"] == "refused"
    assert "reconcile" in blocked["error"]["next"]
    assert [one["outcome"] for one in runbook(studio, "reconcile")] == ["done"]
    resumed = run(studio, "deploy", apply=digest)

    assert resumed["verdict"] in ("succeeded", "no_change"), resumed["error"]
    assert registered(studio, FIRST)[-2:] == [before[FIRST], new]
    assert revisions(studio) == before | {FIRST: new}
    studio.until(lambda: not services.wrong(Studio(studio.box), [FIRST]), "it runs as it should")


def test_the_workflow_is_followed_whatever_it_comes_to_and_a_stale_plan_dispatches_nothing(
    built: MovingStudio,
) -> None:
    studio, before = built, revisions(built)

    def runs() -> int:
        path = "/github/repos/pulse-studio/ai-studio/actions/runs?event=workflow_dispatch"
        return int(studio.ask(path).data()["total_count"])

    planned = run(studio, "deploy", services=FIRST, by="workflow")
    assert planned["verdict"] == "planned", planned["error"]
    digest = planned["plan"]["digest"]
    approve(studio, digest)
    older = f"{FIRST}:{int(before[FIRST].rpartition(':')[2]) - 1}"
    studio.update(FIRST, taskDefinition=older)
    stale = run(studio, "deploy", apply=digest)
    assert (stale["verdict"], stale["error"]["class"]) == ("refused", "PlanStale")
    assert runs() == 0

    studio.order("workflow-fails")
    failed = plan_and_apply(studio, "deploy", services=FIRST, by="workflow")
    studio.control("DELETE", "data-plane?order=workflow-fails")
    assert failed["verdict"] == "failed"
    assert "ended in failure (the build failed)" in failed["error"]["message"]
    assert "https://github.com/" in failed["error"]["next"]
    assert revisions(studio) == before | {FIRST: older}

    applied = plan_and_apply(studio, "deploy", services=FIRST, by="workflow")
    assert applied["verdict"] == "succeeded", applied["error"]
    assert runs() == 2
    assert services.image_tag(Studio(studio.box), revisions(studio)[FIRST]) == SHA
    assert SHA in activity(studio)

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert revisions(studio) == before | {FIRST: older}
    assert runs() == 2
