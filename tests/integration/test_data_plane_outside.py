"""Whom the Studio talks to: Slack, GitHub, status pages."""

from __future__ import annotations

import base64
from typing import Any

from tests.moving_studio import Answer, MovingStudio

from studio_sandbox.control_plane import names

TOKEN = {"Authorization": "Bearer a-token"}
REPOSITORY = "/github/repos/pulse/studio"
SHA = "5eed" * 10


def dispatch(studio: MovingStudio, **inputs: str) -> Answer:
    path = f"{REPOSITORY}/actions/workflows/app.yml/dispatches"
    return studio.ask(path, method="POST", body={"ref": "main", "inputs": inputs}, **TOKEN)


def newest(studio: MovingStudio) -> dict[str, Any]:
    found = studio.ask(f"{REPOSITORY}/actions/workflows/app.yml/runs?per_page=1").data()
    return dict(found["workflow_runs"][0])


def ended(studio: MovingStudio) -> dict[str, Any]:
    found = studio.until(
        lambda: run if (run := newest(studio))["status"] == "completed" else None, "it has ended"
    )
    return dict(found)


def activity(studio: MovingStudio) -> tuple[str, str]:
    """The file's text, and its sha."""
    found = studio.ask(f"{REPOSITORY}/contents/ACTIVITY.md").data()
    return base64.b64decode(found["content"]).decode(), found["sha"]


def test_slack_keeps_what_it_was_told(moving_studio: MovingStudio) -> None:
    told = {"text": "P1: الدردشة لا تعمل"}
    webhook = "/slack/services/T000/B000/secret"
    assert moving_studio.ask(webhook, method="POST", body=told).body == b"ok"
    assert moving_studio.ask(webhook, method="POST", body={}).body == b"no_text"
    messages = moving_studio.ask("/slack/messages").data()["messages"]
    assert (messages[-1]["text"], messages[-1]["webhook"]) == (told["text"], webhook[6:])


def test_dispatched_run_deploys_one_commit_and_says_so(moving: MovingStudio) -> None:
    before = newest(moving)
    assert before["status"] == "completed"
    assert dispatch(moving, sha=SHA, services="gateway,worker").status == 204
    run = newest(moving)
    assert (run["run_number"], run["head_sha"]) == (before["run_number"] + 1, SHA)
    assert run["status"] in ("queued", "in_progress")
    assert ended(moving)["conclusion"] == "success"
    for service in (names.GATEWAY, names.WORKER):
        found = moving.service(service)
        assert [one["rolloutState"] for one in found["deployments"]] == ["COMPLETED"]
        revision = moving.ecs.describe_task_definition(taskDefinition=found["taskDefinition"])
        (container,) = revision["taskDefinition"]["containerDefinitions"]
        assert container["image"].endswith(f"/{service}:{SHA}")
        assert {"name": "GIT_SHA", "value": SHA} in container["environment"]
    assert f"deployed `{SHA}` to gateway, worker" in activity(moving)[0]
    attributes = [{"AttributeKey": "EventName", "AttributeValue": "UpdateService"}]
    events = moving.client("cloudtrail").lookup_events(LookupAttributes=attributes)["Events"]
    assert {event["Username"] for event in events} == {"GitHubActions"}


def test_run_fails_when_the_deployment_is_rolled_back_or_the_build_fails(
    moving: MovingStudio,
) -> None:
    running = moving.service(names.WORKER)["taskDefinition"]
    moving.control("POST", "faults", {"behaviour": "crash", "image": SHA})
    dispatch(moving, sha=SHA, services=names.WORKER)
    assert ended(moving)["conclusion"] == "failure"
    assert moving.until_steady(names.WORKER)["taskDefinition"] == running
    assert SHA not in activity(moving)[0]
    moving.order("workflow-fails")
    dispatch(moving, sha=SHA, services=names.WORKER)
    assert ended(moving)["display_title"] == "the build failed"


def test_file_is_put_by_who_knows_it_and_nobody_else(moving: MovingStudio) -> None:
    text, sha = activity(moving)
    new = base64.b64encode(f"{text}- rolled back\n".encode()).decode()
    path = f"{REPOSITORY}/contents/ACTIVITY.md"
    put = {"message": "note", "content": new, "sha": sha}
    assert moving.ask(path, method="PUT", body=put).status == 401
    assert moving.ask(path, method="PUT", body=put, **TOKEN).status == 200
    assert activity(moving)[0].endswith("- rolled back\n")
    assert moving.ask(path, method="PUT", body=put, **TOKEN).status == 409
    moving.reset()
    assert "rolled back" not in activity(moving)[0]


def test_what_nobody_plays_is_not_found(moving_studio: MovingStudio) -> None:
    assert moving_studio.ask("/github/user", **TOKEN).status == 404
    assert dispatch(moving_studio, services="nobody").status == 422
