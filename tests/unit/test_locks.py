"""Locks: one run at a time on one thing, whoever died, and all of it on record."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support import SetClock, begin, environment_in, in_other_process

from runbook.change import lock
from runbook.change.lock import Lease, Locks, leases
from runbook.errors import LockHeld, LockLost, Unresolved
from runbook.record.runs import Run, store_of
from runbook.settings import Environment

LEASE = timedelta(minutes=10)
TARGET = "redis:a/target"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_in(tmp_path / "record")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def locks_of(run: Run, clock: SetClock, holder: str = "user/oncall") -> Locks:
    return Locks(run, holder=holder, lease=LEASE, clock=clock)


def lease_on(environment: Environment) -> Lease:
    (found,) = leases(store_of(environment))
    return found


def entries(run: Run, kind: str) -> list[dict[str, object]]:
    return [entry for entry in run.journal.entries() if entry["entry"] == kind]


def die_holding(environment: Environment, *, intent: bool = False) -> Run:
    """A run whose process ended while it held the lock."""

    def work() -> None:
        run = begin(environment)
        Locks(run, holder="user/gone", lease=LEASE)._acquire(TARGET, "died here")
        if intent:
            run.journal.intent(0, "k", TARGET)

    assert in_other_process(work) == 0
    store = store_of(environment)
    (key,) = [key for key in store.keys("runs") if key.endswith("/journal.jsonl")]
    return Run(store, key.split("/")[1])


def test_a_second_run_is_refused_with_who_holds_it(
    environment: Environment, clock: SetClock
) -> None:
    first, second = begin(environment), begin(environment)
    with locks_of(first, clock).hold([TARGET], step="scale"):
        with (
            pytest.raises(LockHeld) as refused,
            locks_of(second, clock, "user/other").hold([TARGET], step="scale too"),
        ):
            pytest.fail("two runs hold one lock")
        assert lease_on(environment).run == first.id

    for told in ("user/oncall", TARGET, "scale", first.id, "08:55:00"):
        assert told in refused.value.message
    with locks_of(second, clock).hold([TARGET], step="later"):
        pass
    assert list(leases(store_of(environment))) == []


def test_who_is_refused_one_lock_keeps_none(environment: Environment, clock: SetClock) -> None:
    first, second = begin(environment), begin(environment)
    with locks_of(first, clock).hold(["b"], step="x"):
        with (
            pytest.raises(LockHeld),
            locks_of(second, clock).hold(["a", "b", "c"], step="y"),
        ):
            pass
        assert [each.target for each in leases(store_of(environment))] == ["b"]


def test_the_fence_grows_with_each_owner(environment: Environment, clock: SetClock) -> None:
    fences = []
    for _ in range(3):
        with locks_of(begin(environment), clock).hold([TARGET], step="x"):
            fences.append(lease_on(environment).fence)

    assert fences == [1, 2, 3]


def test_a_lease_is_renewed_once_half_of_it_is_gone(
    environment: Environment, clock: SetClock
) -> None:
    locks = locks_of(begin(environment), clock)
    with locks.hold([TARGET], step="x"):
        until = lease_on(environment).expires_at
        clock.advance(minutes=4)
        locks.renew()
        assert lease_on(environment).expires_at == until
        clock.advance(minutes=2)
        locks.renew()
        assert lease_on(environment).expires_at == (clock.now() + LEASE).isoformat()


def test_a_step_is_written_into_the_lease(environment: Environment, clock: SetClock) -> None:
    locks = locks_of(begin(environment), clock)
    with locks.hold([TARGET], step="first"):
        locks.renew(step="second")
        assert lease_on(environment).step == "second"


def test_a_lease_that_ran_out_is_taken_over_on_record_and_its_owner_finds_out(
    environment: Environment, clock: SetClock
) -> None:
    first, second = begin(environment), begin(environment)
    late = locks_of(first, clock, "user/late")
    with late.hold([TARGET], step="slow"):
        clock.advance(minutes=10)
        with locks_of(second, clock, "user/next").hold([TARGET], step="next"):
            assert lease_on(environment).fence == 2
            with pytest.raises(LockLost, match="taken over"):
                late.renew()

    (told,) = entries(first, "takeover")
    assert (told["target"], told["holder"], told["by"]) == (TARGET, "user/late", "user/next")
    assert second.id in str(told)
    assert entries(first, "lock-lost")
    assert list(leases(store_of(environment))) == []


def test_who_lost_a_lock_does_not_release_that_of_the_next(
    environment: Environment, clock: SetClock
) -> None:
    second = locks_of(begin(environment), clock)
    with locks_of(begin(environment), clock).hold([TARGET], step="x"):
        clock.advance(minutes=10)
        second._acquire(TARGET, "y")
    assert lease_on(environment).step == "y"


def test_a_lock_whose_process_is_gone_is_free_at_once(environment: Environment) -> None:
    gone, clock = die_holding(environment), SetClock(begin_time())
    with locks_of(begin(environment), clock).hold([TARGET], step="x"):
        assert lease_on(environment).fence == 2
    assert entries(gone, "takeover")


def begin_time() -> datetime:
    return datetime.now(UTC)


def test_an_intent_that_the_last_owner_left_open_blocks_its_target_only(
    environment: Environment,
) -> None:
    gone, run = die_holding(environment, intent=True), begin(environment)
    clock = SetClock(begin_time())
    with (
        pytest.raises(Unresolved, match=gone.id),
        locks_of(run, clock).hold([TARGET], step="x"),
    ):
        pytest.fail("an open intent was passed over")
    with locks_of(run, clock).hold(["another"], step="x"):
        pass

    gone.journal.result(gone.journal.unresolved()[0], "failed", by="a test")
    with locks_of(run, clock).hold([TARGET], step="x"):
        pass


def test_an_open_intent_still_blocks_after_the_lease_was_given_up(
    environment: Environment,
) -> None:
    gone = die_holding(environment, intent=True)
    lock.give_up(gone.store, TARGET, by="user/x", reason="it is gone")

    assert entries(gone, "takeover")
    with (
        pytest.raises(Unresolved),
        locks_of(begin(environment), SetClock(begin_time())).hold([TARGET], step="x"),
    ):
        pass


def test_a_lease_in_use_is_not_given_up(environment: Environment) -> None:
    clock = SetClock(begin_time())
    run = begin(environment)
    with locks_of(run, clock).hold([TARGET], step="x"):
        with pytest.raises(LockHeld, match="at work"):
            lock.give_up(run.store, TARGET, by="user/x", reason="hurry")
        assert lease_on(environment).held


def test_work_that_takes_longer_than_its_lease_keeps_the_lock(environment: Environment) -> None:
    run = begin(environment)
    locks = Locks(run, holder="user/slow", lease=timedelta(milliseconds=150))
    with locks.hold([TARGET], step="x"):
        first = lease_on(environment).expires_at
        deadline = threading.Event()
        while lease_on(environment).expires_at == first:
            assert not deadline.wait(0.01)
        locks.renew()


def test_a_renewal_that_the_disk_refused_is_tried_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook.errors import RecordUnavailable

    run, refused = begin(environment), threading.Event()
    locks = Locks(run, holder="user/slow", lease=timedelta(milliseconds=150))
    real = locks.renew

    def renew(*, step: str = "") -> None:
        if not refused.is_set():
            refused.set()
            raise RecordUnavailable("The disk is full.")
        real(step=step)

    monkeypatch.setattr(locks, "renew", renew)
    with locks.hold([TARGET], step="x"):
        first = lease_on(environment).expires_at
        for _ in range(500):
            if lease_on(environment).expires_at != first:
                break
            threading.Event().wait(0.01)
        assert refused.is_set()
        assert lease_on(environment).expires_at != first
