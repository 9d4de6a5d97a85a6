"""The schedule: refused whole, or written so that cron and GitHub can read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from runbook.cli import cli
from runbook.errors import BadInput
from runbook.run import schedule
from runbook.run.schedule import Entry
from runbook.settings import checkout

ENTRY = {"name": "a", "cron": "*/5 * * * *", "run": "check-health", "environment": "sandbox"}


def entry(**changed: object) -> Entry:
    return Entry.model_validate({**ENTRY, **changed})


def written(tmp_path: Path, *entries: Mapping[str, object]) -> Path:
    path = tmp_path / "schedule.yaml"
    path.write_text(yaml.safe_dump({"schedule": list(entries)}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "cron", ["* * * * *", "*/5 0-23/2 1,15 * 7", "0 2 * * 0", "59 23 31 12 6", "0 9-17 * * 1-5"]
)
def test_a_time_that_cron_knows_is_taken(cron: str) -> None:
    schedule.check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("* * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute: expected 0 to 59"),
        ("* 24 * * *", "hour: expected 0 to 23"),
        ("* * 0 * *", "day: expected 1 to 31"),
        ("* * * 13 *", "month: expected 1 to 12"),
        ("* * * * 8", "weekday: expected 0 to 7"),
        ("5-1 * * * *", "is no number, range or step"),
        ("*/0 * * * *", "is no number, range or step"),
        ("a * * * *", "is no number, range or step"),
        ("1;rm * * * *", "is no number, range or step"),
    ],
)
def test_a_time_that_cron_does_not_know_is_refused(cron: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        schedule.check_cron(cron)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run": "check-helth"}, "check-health"),
        ({"environment": "moon"}, "no environment 'moon'"),
        ({"parameters": "none.yaml"}, "no parameters/runs/none.yaml"),
        ({"parameters": "search-logs-hourly.yaml"}, "no parameter 'minutes'"),
        ({"run": "sweep", "parameters": "search-logs-hourly.yaml"}, "takes no parameters"),
        ({"cron": "* *"}, "five fields"),
        ({"fail_on": "always"}, "fail_on"),
        ({"name": "A b"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_run_would_refuse_is_not_scheduled(
    tmp_path: Path, changed: dict[str, object], told: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(told)):
        schedule.read(written(tmp_path, {**ENTRY, **changed}))


def test_every_error_is_told_at_once_and_names_are_given_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        schedule.read(written(tmp_path, ENTRY, {**ENTRY, "environment": "moon"}))
    assert "'a' is given twice" in refused.value.message
    assert "moon" in refused.value.message


def test_the_committed_schedule_is_valid() -> None:
    assert {one.run for one in schedule.read()} >= {"sweep", "check-health"}


def test_lines_of_the_crontab_are_five_fields_and_one_command_of_a_shell(tmp_path: Path) -> None:
    entries = (entry(), entry(name="b", run="sweep", fail_on="warning", cron="5 * * * 0"))
    lines = [line for line in schedule.crontab(entries).splitlines() if not line.startswith("#")]
    assert lines[0] == "CRON_TZ=UTC"
    for line, wanted in zip(lines[1:], entries, strict=True):
        assert line.startswith(f"{wanted.cron} cd ")
        words = shlex.split(line.removeprefix(wanted.cron))
        assert words[1] == str(checkout())
        start = words.index("./runbook")
        assert words[start + 1 : start + 1 + len(wanted.command)] == wanted.command
        assert not re.search(r"(?<!\\)%", line)


def test_the_workflow_is_yaml_with_a_job_for_each_entry_at_its_time() -> None:
    entries = (
        entry(),
        entry(name="b", run="sweep", environment="production", fail_on="warning"),
        entry(name="c", cron="0 3 * * 1", run="search-logs", parameters="search-logs-hourly.yaml"),
    )
    found = yaml.safe_load(schedule.github(entries))
    assert [one["cron"] for one in found["on"]["schedule"]] == ["*/5 * * * *", "0 3 * * 1"]
    for wanted in entries:
        job = found["jobs"][wanted.name]
        assert f"github.event.schedule == '{wanted.cron}'" in job["if"]
        assert shlex.split(job["steps"][-1]["run"]) == ["./runbook", *wanted.command]
    production = found["jobs"]["b"]["steps"]
    assert production[1]["with"]["role-to-assume"] == "${{ vars.RUNBOOK_ROLE_PRODUCTION }}"
    assert "--profile pulse-production" in production[2]["run"]
    assert found["permissions"]["id-token"] == "write"


@pytest.mark.parametrize(
    ("form", "read"), [("crontab", str.splitlines), ("github", yaml.safe_load)]
)
def test_the_command_prints_the_committed_schedule(form: str, read: Callable[[str], Any]) -> None:
    told = CliRunner().invoke(cli, ["schedule", form])
    assert told.exit_code == 0
    assert read(told.stdout)
    assert all(one.name in told.stdout for one in schedule.read())
