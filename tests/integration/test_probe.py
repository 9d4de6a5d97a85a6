"""The calls that sections stand on, asked of a sandbox of their own: as AWS documents, or refused.

What plain moto would have answered is in the table of `./runbook prove probe`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.integration.conftest import RunningControlPlane

from runbook.settings import checkout
from studio_sandbox.control_plane.credentials import access_key
from studio_sandbox.proofs.probe import PROBES
from studio_sandbox.proofs.probing import Answered, Aws, Probe, ProbeProof

DOCUMENTED = (checkout() / "docs" / "sandbox.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sandbox(start_control_plane: Callable[[], RunningControlPlane]) -> Aws:
    key = access_key("oncall")
    return Aws(
        {
            "endpoint_url": start_control_plane().url,
            "aws_access_key_id": key.id,
            "aws_secret_access_key": key.secret,
            "region_name": "eu-central-1",
        },
        patience_s=60,
    )


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe.service}: {probe.call}")
def test_sandbox_answers_as_documented_or_says_that_it_does_not(sandbox: Aws, probe: Probe) -> None:
    assert probe.outcome(sandbox) == probe.promised


def test_page_of_the_sandbox_has_every_probe_and_nothing_wrong() -> None:
    answers = tuple(Answered(probe, "", probe.promised) for probe in PROBES)
    for line in ProbeProof(answers).table().splitlines():
        if line.startswith("| ") and "plain moto" not in line:
            call, _, sandbox, documented = line.strip("| ").split(" | ")
            (row,) = [row for row in DOCUMENTED.splitlines() if row.startswith(f"| {call} | ")]
            assert row.endswith(f" | {sandbox} | {documented} |")
    assert "**wrong**" not in DOCUMENTED


def test_a_probe_that_is_not_answered_as_promised_fails_the_proof() -> None:
    probe = Probe("ECS", "a call", 1, lambda aws: 2)
    proof = ProbeProof((Answered(probe, "1", "2"),))
    assert not proof.holds
    assert "| a call | the same | 2 **wrong** | 1 |" in proof.table()
