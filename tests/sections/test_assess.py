"""assess and mitigate, headless, on a Studio that moves: whatever is down, a page comes in time."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import run

from studio_sandbox.control_plane import names
from studio_sandbox.drills import drill as drills

MOST_S = 60
_LOOKS = 4


def suspects(result: dict[str, Any]) -> list[str]:
    return [one["mend"]["section"] for one in result["suspects"]]


def seconds(told: dict[str, Any]) -> float:
    from datetime import datetime

    began, ended = (datetime.fromisoformat(told[key]) for key in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def assessed(studio: MovingStudio, wanted: set[str]) -> dict[str, Any]:
    """The first page that names these first: what has just broken takes some looks to show."""
    for _ in range(_LOOKS):
        told = run(studio, "assess")
        if told["result"] and set(suspects(told["result"])[: len(wanted)]) == wanted:
            break
    return told


def test_two_troubles_at_once_are_both_named_with_what_mends_them(put_back: MovingStudio) -> None:
    box = put_back.box
    stuck = drills.start(box, "stuck-jobs", 1)
    drills.start(box, "redis-down", 1)

    told = assessed(put_back, {"clear-stuck-jobs", "resize-data-stores"})

    assert told["verdict"] == "succeeded", told["error"]
    result = told["result"]
    assert result["status"] == "critical"
    assert set(suspects(result)[:2]) == {"clear-stuck-jobs", "resize-data-stores"}, result
    jobs = next(o for o in result["suspects"] if o["mend"]["section"] == "clear-stuck-jobs")
    assert jobs["mend"]["parameters"]["at_most"] == len(stuck.details["victims"])
    assert jobs["confidence"] == "almost certain"
    assert jobs["evidence"]
    assert "usage counted and written" in {one["what"] for one in result["not_seen"]}
    assert seconds(told) < MOST_S


def test_a_lost_region_stops_nobody_who_looks_and_mitigate_says_to_fail_over(
    put_back: MovingStudio,
) -> None:
    drills.start(put_back.box, "region-lost", 1)

    told = run(put_back, "mitigate")

    assert told["verdict"] == "succeeded", told["error"]
    first = told["result"]["measures"][0]
    assert (first["measure"], first["section"]) == ("fail over", "fail-over-region")
    assert told["result"]["not_seen"]
    assert seconds(told) < MOST_S


def test_s3_github_and_the_logs_may_be_down_and_the_rest_is_still_seen(
    put_back: MovingStudio,
) -> None:
    put_back.control("POST", "faults", {"service": "s3", "action": "*", "kind": "cut", "times": 99})
    slow = {"service": "logs", "action": "*", "kind": "slow", "delay_s": 20, "times": 99}
    put_back.control("POST", "faults", slow)
    (put_back.box.folder / "github-token").unlink()
    mail = drills.start(put_back.box, "mail-sandboxed", 1)

    told = run(put_back, "assess")

    assert told["verdict"] == "succeeded", told["error"]
    assert suspects(told["result"])[0] == "restore-mail", mail.details
    lost = {one["what"] for one in told["result"]["not_seen"]}
    assert {"files and their copy", "the pipeline's file of deployments (GitHub)"} <= lost
    assert "errors in the logs" in lost
    assert "endpoints" not in lost
    assert seconds(told) < MOST_S


def test_an_unreachable_database_is_named_by_its_secret(put_back: MovingStudio) -> None:
    drills.start(put_back.box, "database-unreachable", 1)

    told = run(put_back, "assess")["result"]

    first = told["suspects"][0]
    assert first["mend"] == {
        "section": "restore-secret",
        "parameters": {"secret": names.DATABASE_URL},
    }
    assert "jobs that nobody finishes" in {one["what"] for one in told["not_seen"]}
    assert "postgresql://" not in str(told)
