"""The command line as others rely on it: JSON alone on stdout, exit codes, one sentence."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.run import warm
from runbook.run.sections import sections
from studio_sandbox.box import Box
from studio_sandbox.drills import drill as drills


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.command(*arguments, within_s=300)


def told(*arguments: str) -> Any:
    done = ask(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def planned(module_box: Box) -> dict[str, Any]:
    drills.start(module_box, "stuck-jobs", seed=4)
    plan: dict[str, Any] = told("run", "clear-stuck-jobs", "--incident", "inc-7")
    return plan


@pytest.fixture(scope="module")
def module_box() -> Iterator[Box]:
    """The session's sandbox, put back before and after these tests."""
    from studio_sandbox import box as sandbox

    yield sandbox.reset()
    sandbox.reset()


def test_list_has_every_section_and_when_it_last_ran(planned: dict[str, Any]) -> None:
    rows = told("list")
    assert [row["slug"] for row in rows] == [section.slug for section in sections()]
    keys = {"slug", "number", "title", "group", "risk", "last_run", "last_drill"}
    assert all(set(row) == keys for row in rows)
    row = next(row for row in rows if row["slug"] == "clear-stuck-jobs")
    assert row["last_run"][:19] == planned["started_at"][:19]


def test_show_tells_purpose_parameters_and_permissions(box: Box) -> None:
    about = told("show", "clear-stuck-jobs")
    assert about["purpose"]
    assert about["permissions"]
    found = {each["name"]: (each["type"], each["default"]) for each in about["parameters"]}
    assert found["older_than_minutes"] == ("int", 60)
    assert all(each["help"] for each in about["parameters"])


def test_run_prints_the_whole_object_of_the_contract(planned: dict[str, Any]) -> None:
    wanted = (
        "run_id section verdict exit_code environment account operator started_at finished_at "
        "notebook parameters plan changes_applied result incident error"
    )
    assert set(planned) == set(wanted.split())
    assert (planned["account"], planned["environment"]) == ("123456789012", "sandbox")
    assert planned["incident"] == "inc-7"
    assert planned["parameters"]["older_than_minutes"] == 60
    change = planned["plan"]["changes"][0]
    assert {"kind", "target", "before", "after"} <= set(change)
    assert planned["plan"]["risk"] == "low"


def test_a_plan_waits_is_approved_by_another_and_never_by_its_own_author(
    planned: dict[str, Any],
) -> None:
    digest = planned["plan"]["digest"]
    waiting = next(row for row in told("plans") if row["digest"] == digest)
    assert waiting["approved_by"] == []
    own = ask("approve", digest)
    assert own.returncode == 2
    assert "nobody approves their own plan" in own.stderr
    other = ask("approve", digest[:11], "--profile", "approver")
    assert other.returncode == 0, other.stderr
    waiting = next(row for row in told("plans") if row["digest"] == digest)
    assert waiting["approved_by"] == ["user/approver"]


def test_runs_can_be_filtered_and_shown(planned: dict[str, Any]) -> None:
    assert [row["run_id"] for row in told("runs", "--incident", "inc-7")] == [planned["run_id"]]
    assert told("runs", "--since", "2999-01-01") == []
    assert told("run-show", planned["run_id"]) == planned


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "clear-stuck-job"),
        ("run-show", "no-such-run"),
        ("takeover", "postgresql:jobs", "--reason", "why not"),
        ("approve", "plan-000000"),
        ("approve", "no digest"),
        ("list", "--environment", "nowhere"),
        ("drill", "start", "no-such-drill"),
        ("no-such-command",),
        ("run", "clear-stuck-jobs", "-f", "no-such-file.yaml"),
        ("undo", "no-such-run"),
        ("reconcile", "--give-up", "no-such-run"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(
    box: Box, arguments: tuple[str, ...]
) -> None:
    done = ask(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_empty_tables_are_empty_json_arrays(box: Box) -> None:
    assert told("locks") == []
    assert told("reconcile") == []


def test_parameters_come_from_a_file_and_the_command_line_wins(
    module_box: Box, tmp_path: Any
) -> None:
    path = tmp_path / "saved.yaml"
    path.write_text("older_than_minutes: 30\nat_most: 5\n")
    ended = told("run", "clear-stuck-jobs", "-f", str(path), "-p", "at_most", "3")
    assert ended["parameters"]["older_than_minutes"] == 30
    assert ended["parameters"]["at_most"] == 3
    path.write_text("older_than_minutes: '30'\n")
    assert ask("run", "clear-stuck-jobs", "-f", str(path)).returncode == 2


def test_a_rehearsal_is_on_record_and_dates_its_section(module_box: Box) -> None:
    for one in drills.running(module_box):
        drills.end(module_box, one)
    (row,) = told("drill", "rehearse", "stuck-jobs")
    assert row["mended"] is True
    assert len(row["runs"]) == 2
    listed = next(each for each in told("list") if each["slug"] == "clear-stuck-jobs")
    assert listed["last_drill"]


def test_a_run_that_never_knew_who_it_was_is_listed_like_any_other(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))  # no sandbox runs there
    refused = ask("run", "clear-stuck-jobs", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["next"] == "Start it: ./runbook sandbox up"
    listed = ask("runs")
    assert listed.returncode == 0, listed.stderr
    assert "refused" in listed.stdout
    (row,) = told("runs")
    assert (row["operator"], row["changes_applied"], row["result"]) == (None, 0, None)


def test_breaking_the_glass_is_loud_and_on_record(module_box: Box) -> None:
    done = ask("run", "clear-stuck-jobs", "--break-glass", "the approver is asleep", "--json")
    assert done.returncode == 0, done.stderr
    assert "GLASS BROKEN" in done.stderr
    run = json.loads(done.stdout)
    notebook = json.loads(Path(run["notebook"]).read_text(encoding="utf-8"))
    assert "the approver is asleep" in "".join(notebook["cells"][0]["source"])
    about = json.loads(Path(run["notebook"]).with_name("run.json").read_text(encoding="utf-8"))
    assert about["break_glass"] == "the approver is asleep"
