"""run-maintenance: one thing a run, what is done is seen, and nothing is left on by accident."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests import terraform_stand_in
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run
from tests.sections.test_maintenance_mode import OUTSIDE, ask, rules

from studio_sandbox.control_plane import names

SLUG = "run-maintenance"


def test_mode_terraform_and_steps_come_in_their_order_and_are_seen_again(
    put_back: MovingStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, before = put_back, rules(put_back)
    program, state = terraform_stand_in.install(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TERRAFORM_STAND_IN", str(state))
    file = terraform_stand_in.saved_plan(tmp_path / "release.tfplan", aws_a__b=["update"])
    about = {"steps": "check-health", "terraform": str(file)}

    planned = run(studio, SLUG, **about)
    assert planned["verdict"] == "planned", planned["error"]
    assert {one["kind"] for one in planned["plan"]["changes"]} == {"alb-rule"}
    assert rules(studio) == before
    approve(studio, planned["plan"]["digest"])
    on = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert on["verdict"] == "succeeded", on["error"]
    assert (on["result"]["status"], on["result"]["next"]) == ("warning", "terraform")
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 503

    planned = run(studio, SLUG, **about)  # as after a lost session: the next thing
    assert [one["kind"] for one in planned["plan"]["changes"]] == ["terraform"]
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert json.loads(state.read_text()) == {"serial": 8, "applied": ["aws_a.b"]}
    assert applied["result"]["next"] == "check-health"

    run(studio, "check-health")
    done = run(studio, SLUG, **about)
    assert (done["verdict"], done["result"]["next"]) == ("no_change", ""), done["error"]
    assert set(done["result"]["steps"].values()) == {"done"}
    says = "MAINTENANCE MODE IS ON; 3 of 3 steps are done; smoke tests pass."
    assert done["result"]["says"] == says
