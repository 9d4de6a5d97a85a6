"""What a maintenance's steps have come to, when it may be run, and what Terraform's plan says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests import terraform_stand_in

from runbook import settings
from runbook.change.kinds import kind_of
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable
from runbook.procedure import run_maintenance
from runbook.record.journal import Intent
from runbook.settings import Maintenance
from runbook.studio import terraform
from runbook.studio.terraform import SavedPlan

SUNDAY = datetime(2026, 12, 6, 2, 30, tzinfo=UTC)
WANTED = Maintenance()


def about(section: str, minutes: int, verdict: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A run that began so many minutes after the maintenance did."""
    began = SUNDAY + timedelta(minutes=minutes)
    return {
        "section": section,
        "verdict": verdict,
        "started_at": began.isoformat(),
        "run_id": f"run-{minutes}",
        "result": None,
        **more,
    }


def announced(start: datetime) -> dict[str, Any]:
    end = start + timedelta(hours=1)
    result = {"start": start.isoformat(), "end": end.isoformat()}
    return about("plan-maintenance", -4000, result=result)


@pytest.mark.parametrize(
    ("now", "known", "refused"),
    [
        (SUNDAY, [announced(SUNDAY.replace(minute=0))], ""),
        (SUNDAY, [], "no notice of a maintenance now"),
        (SUNDAY, [announced(SUNDAY + timedelta(days=7))], "no notice of a maintenance now"),
        (SUNDAY + timedelta(days=1), [], "Sun 02:00-04:00 UTC; now it is Mon 02:30"),
        (SUNDAY.replace(hour=4, minute=0), [], "now it is Sun 04:00"),
        (SUNDAY.replace(hour=1, minute=59), [], "now it is Sun 01:59"),
    ],
)
def test_it_is_run_in_the_window_that_users_have_notice_of(
    now: datetime, known: list[dict[str, Any]], refused: str
) -> None:
    if refused:
        with pytest.raises(BadInput, match=refused):
            run_maintenance.refuse_outside(WANTED, now, known)
        return
    run_maintenance.refuse_outside(WANTED, now, known)


def test_where_people_practise_it_is_run_at_any_time() -> None:
    run_maintenance.refuse_outside(Maintenance(any_time=True), SUNDAY + timedelta(days=1), [])


def test_a_step_is_what_its_newest_run_since_then_has_come_to() -> None:
    known = [about("deploy", 9, "failed"), about("deploy", 5), about("check-health", 2)]
    since = SUNDAY.isoformat()
    assert run_maintenance.state_of("deploy", known, since) == "failed, run-9"
    assert run_maintenance.state_of("check-health", known, since) == "done"
    assert run_maintenance.state_of("run-migrations", known, since) == "not yet"
    later = (SUNDAY + timedelta(minutes=3)).isoformat()
    assert run_maintenance.state_of("check-health", known, later) == "not yet"


def test_it_was_turned_on_by_the_first_run_that_left_it_on() -> None:
    on: dict[str, Any] = {"result": {"on": True}}
    off: dict[str, Any] = {"result": {"on": False}}
    known = [
        about("run-maintenance", 9, changes_applied=1, **on),
        about("run-maintenance", 7, changes_applied=0, **on),
        about("maintenance-mode", 5, changes_applied=3, **on),
        about("maintenance-mode", 3, changes_applied=3, **off),
        about("maintenance-mode", 1, changes_applied=3, **on),
    ]
    assert run_maintenance._turned_on(known) == known[2]["started_at"]
    assert run_maintenance._turned_on(known[3:]) == ""


def test_what_was_turned_on_before_somebody_saw_it_off_is_another_maintenance() -> None:
    on: dict[str, Any] = {"result": {"on": True}, "changes_applied": 1}
    known = [
        about("run-maintenance", 20, **on),
        about("run-maintenance", 10, "planned", result={"on": False}, changes_applied=0),
        about("run-maintenance", -600, **on),  # and by the console off: no run of ours did that
    ]
    assert run_maintenance._turned_on(known) == known[0]["started_at"]


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    program, state = terraform_stand_in.install(tmp_path)
    monkeypatch.setenv("TERRAFORM_STAND_IN", str(state))

    class Named:
        environment = settings.load("sandbox").model_copy(
            update={"terraform": settings.Terraform(command=str(program))}
        )

    return Named()


def apply(clients: Any, found: SavedPlan) -> None:
    (change,) = found.plan().changes
    kind = kind_of(change)
    assert kind.apply
    kind.apply(clients, change, Intent("id", 0, change.kind, change.target, {}))


def test_a_saved_plan_is_shown_without_values_what_is_lost_first(
    clients: Clients, tmp_path: Path
) -> None:
    file = terraform_stand_in.saved_plan(
        tmp_path / "release.tfplan",
        aws_a__same=["no-op"],
        aws_b__read=["read"],
        aws_c__new=["create"],
        aws_d__gone=["delete"],
        aws_e__again=["delete", "create"],
    )
    found = terraform.read(clients, str(file))
    plan = found.plan()
    assert [(one.address, one.action) for one in found.resources] == [
        ("aws_c.new", "create"), ("aws_d.gone", "delete"), ("aws_e.again", "replace"),
    ]  # fmt: skip
    assert plan.warnings == ("DELETE aws_d.gone", "REPLACE aws_e.again", "create aws_c.new")
    assert (plan.risk, plan.reversible) == ("destructive", False)
    assert "s3cr3t" not in str(plan.as_json())
    kept = terraform_stand_in.saved_plan(tmp_path / "kept", a__b=["update"])
    assert terraform.read(clients, str(kept)).plan().risk == "high"
    idle = terraform_stand_in.saved_plan(tmp_path / "idle", a__b=["no-op"])
    assert terraform.read(clients, str(idle)).plan().changes == ()


def test_that_file_is_applied_once_and_another_file_or_state_is_stale(
    clients: Clients, tmp_path: Path
) -> None:
    file = terraform_stand_in.saved_plan(tmp_path / "release.tfplan", aws_c__new=["create"])
    found = terraform.read(clients, str(file))
    (change,) = found.plan().changes
    kind = kind_of(change)
    assert kind.judge(clients, change, None).state == "to do"
    intent = Intent("id", 0, change.kind, change.target, {})
    assert kind.settled(clients, change, intent) is False

    other = file.read_text()
    terraform_stand_in.saved_plan(file, aws_d__gone=["delete"])
    assert kind.judge(clients, change, None).moved[0].endswith("than the one that was reviewed")
    file.write_text(other)

    apply(clients, found)
    assert '"applied": ["aws_c.new"]' in (tmp_path / "state.json").read_text()
    assert kind.settled(clients, change, intent) is True
    assert kind.judge(clients, change, None).moved == ("the state is at 8, the plan is for 7",)
    with pytest.raises(Failed, match="Saved plan is stale"):
        apply(clients, found)


def test_no_file_no_plan_and_no_terraform_are_told_apart(clients: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no file nowhere\.tfplan"):
        terraform.read(clients, "nowhere.tfplan")
    with pytest.raises(BadInput, match="no saved plan in a format that is known"):
        terraform.resources({"format_version": "2.0"}, "x")
    with pytest.raises(BadInput, match="ended with an error"):
        terraform.resources({"format_version": "1.2", "resource_changes": [], "errored": True}, "x")
    file = terraform_stand_in.saved_plan(tmp_path / "release.tfplan", a__b=["create"])
    clients.environment = clients.environment.model_copy(
        update={"terraform": settings.Terraform(command="no-such-terraform")}
    )
    with pytest.raises(NotReachable, match="no-such-terraform cannot be run"):
        terraform.read(cast(Clients, clients), str(file))
