"""A review says what is overdue, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.run import freshness
from runbook.run.freshness import Drift, Fresh, Reviewed
from runbook.run.sections import find
from runbook.settings import Review

NOW = datetime(2026, 12, 24, 12, tzinfo=UTC)
LIMITS = Review(reviewed_days=90, run_days=30, drilled_days=60, failed_percent=20, least_runs=5)


def run(slug: str, days_ago: float, verdict: str = "succeeded") -> dict[str, Any]:
    began = NOW - timedelta(days=days_ago)
    return {"section": slug, "started_at": began.isoformat(), "verdict": verdict}


def fresh(
    slug: str, recorded: Sequence[Mapping[str, Any]] = (), drilled_days_ago: float | None = None
) -> Fresh:
    ago = {} if drilled_days_ago is None else {slug: NOW - timedelta(days=drilled_days_ago)}
    (one,) = freshness.judged([find(slug)], recorded, ago, limits=LIMITS, now=NOW)
    return one


def test_what_was_run_and_rehearsed_lately_is_fresh() -> None:
    one = fresh("roll-back", [run("roll-back", 3)], drilled_days_ago=5)

    assert (one.stale(), one.status, one.runs, one.failed) == ([], "ok", 1, 0)


def test_never_run_and_never_rehearsed_is_overdue_and_reading_needs_no_drill() -> None:
    assert fresh("roll-back").stale() == ["never run", "never rehearsed"]
    assert fresh("check-health").stale() == ["never run"]


@pytest.mark.parametrize(("days", "says"), [(29, []), (31, ["not run for 31 d"])])
def test_a_run_is_of_late_up_to_the_limit(days: float, says: list[str]) -> None:
    assert fresh("check-health", [run("check-health", days)]).stale() == says


@pytest.mark.parametrize(("failed", "says"), [(1, []), (2, ["2 of 5 runs failed"])])
def test_a_section_that_fails_too_often_is_overdue(failed: int, says: list[str]) -> None:
    recorded = [run("check-health", 1, "failed")] * failed
    recorded += [run("check-health", 2)] * (5 - failed)

    assert fresh("check-health", recorded).stale() == says


def test_a_refusal_is_neither_a_failure_nor_a_run() -> None:
    one = fresh("check-health", [run("check-health", 1, "refused")] * 6)

    assert (one.failed, one.ran) == (0, None)


def test_the_last_review_is_a_day_or_it_is_none() -> None:
    assert freshness.reviewed_on(" 2026-11-28 ") == datetime(2026, 11, 28, tzinfo=UTC).date()
    assert freshness.reviewed_on("last spring") is None


def test_a_review_names_what_has_to_be_talked_about() -> None:
    contacts = {"on-call": {"what": "On-call engineer", "reach": ""},
                "aws": {"what": "AWS support", "reach": "Business, by case"}}  # fmt: skip
    found = Reviewed((fresh("roll-back"),), (Drift("alarms", "gone", "create-alarms"),), contacts)

    told = found.findings()

    assert told["status"] == "warning"
    assert told["contacts_missing"] == ["On-call engineer"]
    assert told["overdue"] == {"roll-back": ["never run", "never rehearsed"]}
    assert told["says"] == (
        "1 contacts are not known; 1 things are not as the runbook says; 1 of 1 sections are "
        "overdue."
    )


def test_a_runbook_with_nothing_to_talk_about_is_fit_for_use() -> None:
    one = fresh("check-health", [run("check-health", 1)])

    assert Reviewed((one,), (), {}).findings()["status"] == "ok"
