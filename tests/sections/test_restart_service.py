"""restart-service on a Studio that moves: one task goes, the others stay, another one comes."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections.running import run, runbook

from studio_sandbox.control_plane import names

SLUG, SERVICE = "restart-service", names.GATEWAY


def running(studio: MovingStudio) -> set[str]:
    """Ids of the service's tasks, as another client reads them."""
    found = studio.client("ecs").list_tasks(cluster=names.CLUSTER, serviceName=SERVICE)
    return {arn.rpartition("/")[2] for arn in found["taskArns"]}


def test_one_task_is_stopped_and_another_runs_in_its_place(put_back: MovingStudio) -> None:
    studio, before = put_back, running(put_back)
    deployment = studio.service(SERVICE)["deployments"][0]["id"]
    sick = sorted(before)[0]

    planned = run(studio, SLUG, task=sick[:12])
    assert planned["plan"]["changes"][0]["target"] == f"ecs:{names.CLUSTER}/{SERVICE}/{sick}"
    assert running(studio) == before
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    after = running(studio)
    assert sick not in after
    assert before - {sick} <= after
    assert len(after) == len(before)
    assert studio.service(SERVICE)["deployments"][0]["id"] == deployment
    assert studio.healths(SERVICE).count("healthy") == len(before)
    assert runbook(studio, "undo", applied["run_id"])["changes_applied"] == 0


def test_a_task_that_is_not_there_or_went_by_itself_is_refused(put_back: MovingStudio) -> None:
    studio, before = put_back, running(put_back)
    refused = run(studio, SLUG, task="0123456789ab")
    assert refused["verdict"] == "refused"
    assert sorted(before)[0] in refused["error"]["next"]

    gone = sorted(before)[0]
    digest = run(studio, SLUG, task=gone)["plan"]["digest"]
    studio.client("ecs").stop_task(cluster=names.CLUSTER, task=gone)
    refused = run(studio, SLUG, apply=digest)
    assert refused["verdict"] == "refused"
    assert before - {gone} <= running(studio)
