"""The sweep on the sandbox: a healthy Studio is ok, and the worst comes first."""

from __future__ import annotations

from tests.integration.test_clear_stuck_jobs import runbook

from runbook.clients import Clients
from runbook.run import sections, sweep
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names


def test_a_healthy_studio_is_ok_and_each_run_is_on_record(fresh_box: Box) -> None:
    told = runbook("sweep", "--jobs", "2", "--fail-on", "warning")
    rows = told.json
    assert {row["section"] for row in rows} == {section.slug for section in sweep.marked()}
    assert [row for row in rows if row["status"] != "ok"] == [], told.err
    assert told.code == 0
    recorded = {about["run_id"] for about in runbook("runs").json}
    assert {row["run_id"] for row in rows} <= recorded


def test_what_is_bad_comes_first_and_is_the_exit_code(fresh_box: Box, clients: Clients) -> None:
    clients.aws("cloudwatch").set_alarm_state(
        AlarmName=names.ALARM_RDS_CPU, StateValue="ALARM", StateReason="a test"
    )
    chosen = [sections.find("check-health"), sections.find("check-alarms")]
    seen: list[str] = []
    rows = sweep.sweep(
        "sandbox", fail_on="critical", chosen=chosen, watch=lambda row: seen.append(row["section"])
    )
    assert [(row["section"], row["status"]) for row in rows] == [
        ("check-alarms", "critical"),
        ("check-health", "ok"),
    ]
    assert rows[0]["says"] == "Raised: RDS CPU."
    assert sorted(seen) == ["check-alarms", "check-health"]
    assert sweep.exit_code(rows) == 4
