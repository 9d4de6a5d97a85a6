"""When the proof of clearing Redis holds: fast over a network, unfelt on loopback, nothing left."""

from __future__ import annotations

from dataclasses import replace

from studio_sandbox.proofs.redis_clearing import Cleared, Way


def ways(ours_s: float, command_s: float, p99_ms: float = 1.0) -> tuple[Way, ...]:
    return (
        Way("nobody clears", 3.0, 1.0, 2.0),
        Way("ours", ours_s, p99_ms, 2.0),
        Way("redis-cli --scan", command_s, p99_ms, 2.0),
    )


HOLDS = Cleared(1_000, ways(10, 15), ways(20, 100), left=0)


def test_it_holds_where_the_command_takes_five_times_as_long_over_a_link() -> None:
    assert HOLDS.holds
    assert not replace(HOLDS, far=ways(20, 99)).holds


def test_it_does_not_hold_where_loopback_is_slower_or_something_is_left_or_it_is_felt() -> None:
    assert not replace(HOLDS, near=ways(10, 9)).holds
    assert not replace(HOLDS, near=ways(10, 15, p99_ms=2.0)).holds
    assert not replace(HOLDS, far=ways(20, 100, p99_ms=2.0)).holds
    assert not replace(HOLDS, left=1).holds


def test_it_does_not_hold_without_a_command_to_compare_with() -> None:
    assert not replace(HOLDS, far=HOLDS.far[:2]).holds
