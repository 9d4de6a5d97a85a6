"""The sweep's order and exit code, without running anything."""

from __future__ import annotations

from typing import Any

import pytest

from runbook.run import sections, sweep
from runbook.run.verdict import exit_code_for


def ended(verdict: str = "succeeded", code: int = 0, status: str | None = "ok") -> dict[str, Any]:
    result = {"status": status, "says": f"it is {status}"} if status else None
    error = None if code == 0 else {"class": "X", "message": "it broke", "next": ""}
    return {"section": "s", "verdict": verdict, "exit_code": code, "result": result,
            "error": error, "run_id": "r", "notebook": "n"}  # fmt: skip


def row(*told: Any, fail_on: str = "") -> dict[str, Any]:
    return sweep._row(ended(*told), fail_on)


def test_what_did_not_end_well_comes_first_then_what_was_found() -> None:
    rows = [
        row("succeeded", 0, "ok"), row("succeeded", 0, "warning"), row("succeeded", 0, "critical"),
        row("refused", 2, None), row("failed", 1, None), row("unknown", 3, None),
    ]  # fmt: skip
    assert [sweep.rank(one) for one in rows] == [5, 4, 3, 2, 1, 0]
    assert sweep.rank(row("succeeded", 0, None)) == 6


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 0], 0), ([0, 4], 4), ([4, 2], 2), ([2, 1, 4], 1), ([1, 3, 0], 3)],
)
def test_it_exits_with_the_worst_of_its_runs(codes: list[int], worst: int) -> None:
    assert sweep.exit_code([{"exit_code": code} for code in codes]) == worst


@pytest.mark.parametrize(
    ("status", "fail_on", "code"),
    [
        ("warning", "", 0), ("warning", "warning", 4), ("warning", "critical", 0),
        ("critical", "warning", 4), ("critical", "critical", 4), ("ok", "warning", 0),
    ],
)  # fmt: skip
def test_findings_count_from_where_fail_on_says(status: str, fail_on: str, code: int) -> None:
    assert exit_code_for(ended("succeeded", 0, status), fail_on) == code
    assert row("succeeded", 0, status, fail_on=fail_on)["exit_code"] == code
    assert exit_code_for(ended("failed", 1, status), fail_on) == 1


def test_only_sections_that_read_are_marked() -> None:
    slugs = {section.slug for section in sweep.marked()}
    assert {"check-health", "check-alarms", "search-logs"} <= slugs
    assert all(sections.find(slug).risk == "read" for slug in slugs)
