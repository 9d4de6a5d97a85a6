"""What all drills have in common: seeds, symptoms, what is written down, what cannot be done."""

from __future__ import annotations

import json

import pytest
from tests.drills.conftest import together
from tests.moving_studio import MovingStudio

from runbook.errors import BadInput
from runbook.settings import checkout
from studio_sandbox.drills import drill as drills
from studio_sandbox.drills import world
from studio_sandbox.drills.studio import Studio

EVERY = sorted(drills.drills())


def test_the_same_seed_draws_the_same_details_and_another_one_others(studio: MovingStudio) -> None:
    box = Studio(studio.box)
    varies = set()
    for name in EVERY:
        draw = drills.drills()[name].draw
        details = [draw(box, drills.dice(name, seed)) for seed in (1, 1, 2, 3, 4)]
        assert details[0] == details[1]
        assert json.loads(json.dumps(details[0])) == details[0]
        if any(one != details[0] for one in details):
            varies.add(name)
    assert set(EVERY) - varies == {"redis-down", "mail-sandboxed", "bucket-deleted", "region-lost"}


def test_every_drill_is_documented_with_its_symptom() -> None:
    text = (checkout() / "docs" / "sandbox.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, drill in drills.drills().items():
        assert any(row.startswith(f"| `{name}` | {drill.symptom} | ") for row in rows), name
    assert len(EVERY) == 20


def test_a_drill_that_runs_is_not_started_again_and_one_of_two_has_to_be_named(
    studio: MovingStudio,
) -> None:
    with together(studio, {"stuck-jobs": 1, "usage-drift": 1}) as broken:
        box, other = studio.box, broken["usage-drift"]
        with pytest.raises(BadInput, match="is running already"):
            drills.start(box, "stuck-jobs", 1)
        with pytest.raises(BadInput, match="2 drills are running"):
            drills.pick(box)
        assert drills.pick(box, "usage-drift").details == other.details


def test_what_is_as_before_or_as_broken_or_needed_is_not_unneeded() -> None:
    before = {"part": {"a": 1, "b": 1, "c": 1, "d": 1}, "gone": {"x": 1}}
    broken = {"part": {"a": 2, "b": 1, "c": 1, "d": 1}, "gone": {"x": 1}}
    now = {"part": {"a": 1, "b": 5, "c": 6}}
    told = world.unneeded(before, broken, now, ["c*"])
    assert told == ["b: 1 became 5", "d: 1 became nothing"]
    assert world.unneeded(before, broken, broken, []) == []
    assert world.changed(before, broken) == ["a"]
