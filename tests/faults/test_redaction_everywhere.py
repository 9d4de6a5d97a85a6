"""No secret is left anywhere, in any encoding, through any channel of a real kernel."""

from __future__ import annotations

from pathlib import Path

from studio_sandbox.proofs.redaction import CHANNELS, ENCODINGS, SECRETS, redact


def test_nothing_of_a_secret_is_left_and_no_identifier_is_altered(tmp_path: Path) -> None:
    assert len(SECRETS) >= 20
    assert len(ENCODINGS) >= 16
    found = redact(tmp_path)
    assert {channel: left for channel, left in found.leaks.items() if left} == {}
    assert found.identifiers == 500
    assert found.altered == 0
    assert set(CHANNELS) - {"identifiers"} < set(found.leaks)
