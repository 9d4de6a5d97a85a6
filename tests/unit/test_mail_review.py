"""Production access of the box: granted a while after it was asked for, where anything moves."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from studio_sandbox.control_plane.moto_adapter import ses_account


@pytest.fixture(autouse=True)
def nobody_else_is_reviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ses_account._Reviewers, "after_s", None)


def asked(ago_s: float) -> Any:
    backend = SimpleNamespace()
    found = ses_account.state(backend)
    found["details"] = {"ReviewDetails": {"Status": "PENDING"}}
    found["asked"] = time.monotonic() - ago_s
    return backend


def test_a_request_is_granted_once_its_time_is_over_and_not_before() -> None:
    ses_account.answer_reviews(60)
    early, late = ses_account.state(asked(30)), ses_account.state(asked(61))
    assert not early["production"]
    assert early["details"]["ReviewDetails"]["Status"] == "PENDING"
    assert late["production"]
    assert late["details"]["ReviewDetails"]["Status"] == "GRANTED"
    assert ses_account.quota(asked(61))[0] == ses_account.DAILY_QUOTA


def test_where_nothing_moves_it_waits_for_good_and_what_was_not_asked_is_not_granted() -> None:
    assert not ses_account.state(asked(1e6))["production"]
    ses_account.answer_reviews(0)
    assert not ses_account.state(SimpleNamespace())["production"]
