"""An incident from its alarm to its post-mortem, as a shell runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.moving_studio import MovingStudio
from tests.sections.running import run, runbook

from runbook.run import warm
from studio_sandbox.control_plane import names

EVENT = {
    "AlarmName": "ai-studio-alb-5xx-errors",
    "NewStateValue": "ALARM",
    "NewStateReason": "42 answers 5xx in five minutes",
}


def alarm(studio: MovingStudio, event: dict[str, Any]) -> dict[str, Any]:
    """`./runbook alarm --json` with the event on stdin, as SNS delivers it."""
    home = {"RUNBOOK_HOME": str(studio.box.folder.parent)}
    done = warm.command("alarm", "--json", variables=home, given=json.dumps(event), within_s=600)
    assert done.stdout, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


@pytest.fixture(scope="module")
def incident(moving_studio: MovingStudio) -> str:
    """An alarm was raised and acknowledged, somebody went past the runbook, and it was resolved."""
    studio = moving_studio
    name = alarm(studio, EVENT)["incident"]
    run(studio, "acknowledge", incident=name)
    studio.client("ecs").update_service(cluster=names.CLUSTER, service=names.WORKER, desiredCount=3)
    runbook(studio, "run", "resolve", "-p", "incident", name)
    return str(name)


def shown(studio: MovingStudio, incident: str) -> dict[str, Any]:
    about: dict[str, Any] = runbook(studio, "incident", "show", incident)
    return about


def test_an_alarm_opens_an_incident_and_the_next_one_joins_it(
    studio: MovingStudio,
) -> None:
    first, second = alarm(studio, EVENT), alarm(studio, EVENT)
    over = alarm(studio, {**EVENT, "NewStateValue": "OK"})

    assert (first["opened"], second["opened"]) == (True, False)
    assert first["incident"] == second["incident"] == over["incident"]
    assert {one["section"] for one in first["runs"]} == {"assess", "search-logs"}
    assert over["runs"] == []
    about = shown(studio, first["incident"])
    assert [each["text"] for each in about["events"] if each["kind"] == "alarm"] == [
        "ai-studio-alb-5xx-errors is ALARM: 42 answers 5xx in five minutes",
        "ai-studio-alb-5xx-errors is ALARM: 42 answers 5xx in five minutes",
        "ai-studio-alb-5xx-errors is OK: 42 answers 5xx in five minutes",
    ]
    assert len(about["runs"]) == 4
    runbook(studio, "run", "resolve", "-p", "incident", first["incident"])


def test_its_steps_are_done_by_what_was_run(studio: MovingStudio, incident: str) -> None:
    about = shown(studio, incident)

    assert about["status"] == "resolved"
    assert about["roles"] == {"lead": "user/oncall"}
    done = {each["step"]: bool(each["done"]) for each in about["clocks"]}
    assert (done["acknowledge"], done["resolve"], done["post-mortem"]) == (True, True, False)


def test_a_change_past_the_runbook_is_flagged_and_what_the_runbook_did_is_told_once(
    studio: MovingStudio, incident: str
) -> None:
    found = runbook(studio, "incident", "timeline", incident)

    outside = [one for one in found["moments"] if one["outside"]]
    assert any("ecs UpdateService" in one["text"] for one in outside)
    assert not [one for one in outside if one["run"]]
    assert found["not_seen"] == {}
    times = [one["at"] for one in found["moments"]]
    assert times == sorted(times)
    assert {"book", "run", "cloudtrail"} <= {one["source"] for one in found["moments"]}


def test_the_post_mortem_is_a_draft_of_what_is_known_and_closes_it(
    studio: MovingStudio, incident: str
) -> None:
    done = runbook(studio, "incident", "post-mortem", incident)

    assert (done["verdict"], done["incident"]) == ("succeeded", incident)
    draft = (
        studio.box.folder.parent / f"record/sandbox/runs/{done['run_id']}/post-mortem.md"
    ).read_text(encoding="utf-8")
    assert draft.startswith("# Post-mortem: ALB 5xx Errors > 10 in 5 min")
    assert "user/oncall made 1 change past the runbook: ecs UpdateService" in draft
    assert "requests failed" in draft
    assert "Give the runbook a way to do what went past it: ecs UpdateService" in draft
    assert shown(studio, incident)["status"] == "closed"


def test_who_comes_next_sees_what_is_done_and_what_remains(
    studio: MovingStudio, incident: str
) -> None:
    home = {"RUNBOOK_HOME": str(studio.box.folder.parent)}
    action = ("action", incident, "Alarm on it", "--section", "check-alarms")
    assert warm.command("incident", *action, variables=home).returncode == 0

    found = runbook(studio, "incident", "handover", incident)

    assert "Alarm on it" in found["remaining"]
    assert found["locks"] == []
    assert (found["incident"], found["roles"]) == (incident, {"lead": "user/oncall"})
