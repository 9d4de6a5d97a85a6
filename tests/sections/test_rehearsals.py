"""Every drill that sections can mend is mended by them, headless, and by nothing else."""

from __future__ import annotations

import pytest
from tests.moving_studio import MovingStudio
from tests.sections.running import runbook

from studio_sandbox.drills.drill import drills

# One for each room that is broken; the others are mended by the same sections, whose own tests
# break the Studio too. `--long` rehearses them all.
ALWAYS = ("alarms-drifted", "bad-deploy", "database-unreachable", "key-revoked", "objects-deleted",
          "redis-down", "slow-query", "stuck-jobs")  # fmt: skip
MENDABLE = sorted(name for name, drill in drills().items() if drill.mend)


@pytest.mark.parametrize(
    "name",
    [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in MENDABLE],
)
def test_a_drill_is_mended_through_sections_alone(studio: MovingStudio, name: str) -> None:
    (told,) = runbook(studio, "drill", "rehearse", name, "--seed", "3")

    assert told["mended"], told["findings"]
    assert told["unneeded"] == []
    assert told["exit_code"] == 0
    assert told["runs"]


def test_a_drill_is_mended_as_a_whole_incident_by_what_assess_says(studio: MovingStudio) -> None:
    (told,) = runbook(studio, "drill", "rehearse", "stuck-jobs", "--incident", "--seed", "4")

    assert told["mended"], told["findings"]
    assert told["unneeded"] == []
    about = runbook(studio, "incident", "show", told["incident"])
    assert about["status"] == "closed"
    assert [one for one in about["clocks"] if one["status"] != "ok"] == []
    sections = [run.split("-", 1)[1].rpartition("-")[0] for run in about["runs"]]
    assert sections[:2] == ["acknowledge", "assess"]
    assert sections[-2:] == ["resolve", "post-mortem"]
    assert "clear-stuck-jobs" in sections
