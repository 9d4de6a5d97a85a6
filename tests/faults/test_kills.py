"""Killed at random moments: nothing without an intent, nothing twice, and the truth on record."""

from __future__ import annotations

from pathlib import Path

from studio_sandbox.box import Box
from studio_sandbox.proofs.kills import prove_kills
from studio_sandbox.proofs.scenarios import SCENARIOS


def test_a_plan_whose_worker_is_killed_is_on_record_as_it_is_and_resumes(
    fresh_box: Box, tmp_path: Path
) -> None:
    proof = prove_kills(24, record=tmp_path / "record")

    print(proof.table())
    assert proof.holds, proof.table()
    assert proof.kills == 24
    assert {tally.kind for tally in proof.tallies} == {each.name for each in SCENARIOS}
