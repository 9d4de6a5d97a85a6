"""What the soak says of the requests that it saw."""

from __future__ import annotations

from collections import Counter

from studio_sandbox.proofs.soak import Soaked


def soaked(**more: int) -> Soaked:
    return Soaked(60, {"aws": 100}, {"aws": 110}, answers=Counter({"200": 50}), **more)


def test_requests_of_users_are_those_that_are_not_ours() -> None:
    found = soaked(served=540, ours=40)
    assert "500 requests of users, 50 of ours" in found.table()
    assert found.holds


def test_a_studio_that_only_we_asked_does_not_hold() -> None:
    assert not soaked(served=40, ours=40).holds
