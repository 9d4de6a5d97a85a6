"""rotate-api-key and rotate-jwt-secret on a Studio that moves: tried, read, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.moving_studio import MovingStudio
from tests.sections import running
from tests.sections.running import approve, cut_off, plan_and_apply, resume, run, undo

from studio_sandbox.control_plane import names

KEY = "sk-" + "7b3f" * 10
OPENAI, JWT = names.OPENAI_KEY, names.JWT_SECRET


def labels(studio: MovingStudio, secret: str = OPENAI) -> dict[str, str]:
    """Which version each label points to, as another client reads it."""
    found = studio.client("secretsmanager").describe_secret(SecretId=secret)
    return {
        stage: version
        for version, stages in found["VersionIdsToStages"].items()
        for stage in stages
    }


def value(studio: MovingStudio, secret: str = OPENAI) -> str:
    return str(studio.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])


def deployments(studio: MovingStudio) -> dict[str, str]:
    """The deployment that each service works towards."""
    return {
        name: next(each["id"] for each in one["deployments"] if each["status"] == "PRIMARY")
        for name, one in running.services(studio).items()
    }


def restarted(studio: MovingStudio, since: dict[str, str]) -> set[str]:
    return {name for name, one in deployments(studio).items() if one != since[name]}


def all_tasks_read_it(studio: MovingStudio, service: str, secret: str) -> bool:
    """Whether a service's tasks have started since a secret changed, once the old ones are gone."""
    studio.until(lambda: len(studio.service(service)["deployments"]) == 1, "the old tasks are gone")
    (deployment,) = studio.service(service)["deployments"]
    changed = studio.client("secretsmanager").describe_secret(SecretId=secret)["LastChangedDate"]
    return bool(deployment["createdAt"] >= changed)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "new-key"
    file.touch(mode=0o600)
    file.write_text(f"{KEY}\n")
    return file


def rotate(studio: MovingStudio, file: Path) -> dict[str, Any]:
    return plan_and_apply(studio, "rotate-api-key", value_from=str(file))


def test_a_key_is_tried_read_by_new_tasks_seen_nowhere_and_undo_takes_it_back(
    put_back: MovingStudio, key_file: Path
) -> None:
    studio, before, ran, old = put_back, labels(put_back), deployments(put_back), value(put_back)

    key_file.chmod(0o640)
    refused = run(studio, "rotate-api-key", value_from=str(key_file))
    assert refused["verdict"] == "refused"
    assert "mode 0600, found -rw-r-----" in refused["error"]["message"]
    key_file.chmod(0o600)
    planned = run(studio, "rotate-api-key", value_from=str(key_file))
    assert planned["verdict"] == "planned", planned["error"]
    assert (labels(studio), key_file.exists()) == (before, True)
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "rotate-api-key", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    after = labels(studio)
    assert after["AWSPREVIOUS"] == before["AWSCURRENT"]
    assert after["AWSCURRENT"] == planned["plan"]["changes"][0]["after"]["AWSPENDING"]
    assert value(studio) == KEY
    assert not key_file.exists()
    assert restarted(studio, ran) == {names.GATEWAY}
    record = studio.box.folder.parent / "record"
    kept = [file for file in record.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if KEY.encode() in file.read_bytes()]

    ran = deployments(studio)
    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert (labels(studio), value(studio)) == (before, old)
    assert restarted(studio, ran) == {names.GATEWAY}


def test_a_key_that_the_provider_refuses_is_given_to_nobody(
    put_back: MovingStudio, key_file: Path
) -> None:
    studio, before, ran = put_back, labels(put_back), deployments(put_back)
    key_file.write_text("sk-ant-" + "9" * 40)  # another provider's

    failed = rotate(studio, key_file)

    assert failed["verdict"] == "failed"
    assert (
        "openai answers 401 to the new key; no service has been given it"
        in (failed["error"]["message"])
    )
    assert "taken back" in failed["error"]["message"]
    assert labels(studio) == before
    assert restarted(studio, ran) == set()

    nobody = plan_and_apply(studio, "rotate-api-key")
    assert nobody["verdict"] == "refused"
    assert "Nobody can be asked" in nobody["error"]["message"]
    assert labels(studio) == before


def test_a_key_whose_requests_fail_is_put_back_by_the_plan_itself(
    put_back: MovingStudio, key_file: Path
) -> None:
    studio, before, ran, old = put_back, labels(put_back), deployments(put_back), value(put_back)
    studio.order("provider-failing", provider="openai", share=0.6)  # its list of models answers

    failed = rotate(studio, key_file)

    assert failed["verdict"] == "failed"
    assert "over 5 %" in failed["error"]["message"]
    assert "taken back" in failed["error"]["message"]
    assert (labels(studio), value(studio)) == (before, old)
    assert restarted(studio, ran) == {names.GATEWAY}
    (deployment,) = studio.service(names.GATEWAY)["deployments"]
    assert deployment["rolloutState"] == "COMPLETED"


def test_cut_off_after_it_is_current_and_resumed_it_is_stored_once_and_read(
    put_back: MovingStudio, key_file: Path
) -> None:
    studio, before = put_back, labels(put_back)
    planned = run(studio, "rotate-api-key", value_from=str(key_file))
    digest = planned["plan"]["digest"]
    approve(studio, digest)

    cut_off(
        studio,
        "rotate-api-key",
        apply=digest,
        when=lambda: labels(studio)["AWSCURRENT"] != before["AWSCURRENT"],
        what="the new version is current",
    )

    resumed = resume(studio, "rotate-api-key", digest)

    # nothing is left to do when the kill came late, while it was only watched
    assert resumed["verdict"] in ("succeeded", "no_change"), resumed["error"]
    versions = studio.client("secretsmanager").list_secret_version_ids(SecretId=OPENAI)["Versions"]
    assert len(versions) == 2
    assert value(studio) == KEY
    assert all_tasks_read_it(studio, names.GATEWAY, OPENAI)


def test_the_sessions_secret_is_drawn_and_a_stale_plan_changes_nothing(
    put_back: MovingStudio,
) -> None:
    studio, before, ran = put_back, labels(put_back, JWT), deployments(put_back)

    planned = run(studio, "rotate-jwt-secret")
    digest = planned["plan"]["digest"]
    approve(studio, digest)
    studio.client("secretsmanager").update_secret_version_stage(
        SecretId=JWT,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=before["AWSCURRENT"],
        MoveToVersionId=before["AWSPREVIOUS"],
    )
    moved = labels(studio, JWT)
    stale = run(studio, "rotate-jwt-secret", apply=digest)
    assert (stale["verdict"], stale["error"]["class"]) == ("refused", "PlanStale")
    assert labels(studio, JWT) == moved

    applied = plan_and_apply(studio, "rotate-jwt-secret")
    assert applied["verdict"] == "succeeded", applied["error"]
    drawn = value(studio, JWT)
    assert len(bytes.fromhex(drawn)) == 32
    assert labels(studio, JWT)["AWSPREVIOUS"] == moved["AWSCURRENT"]
    assert restarted(studio, ran) == {names.BACKEND}
    assert applied["result"]["active_users"] > 0
