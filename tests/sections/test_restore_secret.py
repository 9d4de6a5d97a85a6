"""restore-secret and restart-service on a Studio that moves: tasks are new, and so is the value."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections import running
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

SECRET = names.JWT_SECRET


def labels(studio: MovingStudio) -> dict[str, str]:
    """Which version each label points to, as another client reads it."""
    found = studio.client("secretsmanager").describe_secret(SecretId=SECRET)
    return {
        stage: version
        for version, stages in found["VersionIdsToStages"].items()
        for stage in stages
    }


def deployments(studio: MovingStudio) -> dict[str, str]:
    """The deployment of each service, once there is one only."""
    found = running.services(studio)
    assert all(len(one["deployments"]) == 1 for one in found.values())
    return {name: one["deployments"][0]["id"] for name, one in found.items()}


def tasks(studio: MovingStudio, service: str) -> set[str]:
    found = studio.client("ecs").list_tasks(cluster=names.CLUSTER, serviceName=service)
    return set(found["taskArns"])


def test_an_earlier_version_is_current_its_readers_are_new_and_undo_moves_it_back(
    put_back: MovingStudio,
) -> None:
    studio, before, ran = put_back, labels(put_back), deployments(put_back)

    planned = run(studio, "restore-secret", secret=SECRET)
    assert planned["verdict"] == "planned", planned["error"]
    assert labels(studio) == before
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "restore-secret", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    after = labels(studio)
    assert (after["AWSCURRENT"], after["AWSPREVIOUS"]) == (
        before["AWSPREVIOUS"],
        before["AWSCURRENT"],
    )
    now = deployments(studio)
    assert {name for name in ran if now[name] != ran[name]} == {names.BACKEND}

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert labels(studio) == before


def test_a_restarted_service_has_new_tasks_of_the_same_revision(put_back: MovingStudio) -> None:
    studio, service = put_back, names.WORKER
    before, ran = studio.service(service), deployments(put_back)
    old = set(
        studio.client("ecs").list_tasks(cluster=names.CLUSTER, serviceName=service)["taskArns"]
    )

    planned = run(studio, "restart-service", service=service)
    applied = run(studio, "restart-service", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    now = deployments(studio)
    assert {name for name in ran if now[name] != ran[name]} == {service}
    assert not old & tasks(studio, service)
    assert studio.service(service)["taskDefinition"] == before["taskDefinition"]
