"""Locks on targets: one run at a time on one thing, for everybody who shares the record.

A lock is a lease: it names its holder and the step that the holder is at, is renewed while work
goes on, and runs out when nobody does. Its fence grows with each owner. Whoever comes next looks
at what the last owner left open before touching the target.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from runbook.errors import LockHeld, LockLost, RecordUnavailable, Unresolved
from runbook.record import ledger
from runbook.record.journal import Journal
from runbook.record.runs import Run, is_alive
from runbook.record.store import AlreadyThere, Moved, Store
from runbook.wait import SYSTEM_CLOCK, Clock


@dataclass(frozen=True)
class Lease:
    """What the record says of one target's lock."""

    target: str
    run: str
    holder: str
    host: str
    process: Mapping[str, Any]
    step: str
    acquired_at: str
    expires_at: str
    fence: int
    held: bool

    def expired(self, now: datetime) -> bool:
        return datetime.fromisoformat(self.expires_at) <= now

    @property
    def abandoned(self) -> bool:
        """Whether the holder's process is known to be gone."""
        return not is_alive(self.process, self.host)


def leases(store: Store) -> Iterator[Lease]:
    """Every lock that is held now."""
    for key in store.keys("locks"):
        found = _read(store, key)
        if found and found[0].held:
            yield found[0]


def give_up(store: Store, target: str, *, by: str, reason: str) -> Lease:
    """Take a lease away from its holder, on the record. Raises LockHeld while it is in use."""
    found = _read(store, _key(target))
    if found is None or not found[0].held:
        raise LockHeld(f"Nobody holds {target}.", next="See who holds what: ./runbook locks")
    lease, version = found
    if not lease.expired(SYSTEM_CLOCK.now()) and not lease.abandoned:
        raise LockHeld(
            f"{target} is held by {lease.holder}, who is at work ({lease.step}) "
            f"until {lease.expires_at}.",
            next="Talk to them. A lease that has expired, or whose process is gone, can be taken.",
        )
    _replace(store, replace(lease, held=False), version)
    with ledger.later(Run(store, lease.run)) as journal:
        journal.write("takeover", target=target, holder=lease.holder, by=by, reason=reason)
    return lease


class Locks:
    """The locks that one run holds."""

    def __init__(
        self, run: Run, *, holder: str, lease: timedelta, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._run = run
        self._holder = holder
        self._lease = lease
        self._clock = clock
        self._owned: dict[str, tuple[Lease, str]] = {}
        self._mutex = threading.Lock()  # a thread renews while the work goes on

    @contextmanager
    def hold(self, targets: Sequence[str], *, step: str) -> Iterator[None]:
        """Hold the locks of all targets, renewed, until the block ends.

        Raises LockHeld (with who holds it) or Unresolved, and then holds none of them.
        """
        stop = threading.Event()
        renewer = threading.Thread(target=self._renew_until, args=(stop,), daemon=True)
        try:
            for target in sorted(targets):
                self._acquire(target, step)
            renewer.start()
            yield
        finally:
            stop.set()
            if renewer.is_alive():
                renewer.join()
            self._release()

    def renew(self, *, step: str = "") -> None:
        """Prove that we still hold them all, for another lease if half of it is gone.

        Raises LockLost when one of them was taken over.
        """
        with self._mutex:
            for target in list(self._owned):
                self._renew(target, step)

    def _renew(self, target: str, step: str) -> None:
        lease, version = self._owned[target]
        now = self._clock.now()
        fresh = datetime.fromisoformat(lease.expires_at) - now > self._lease / 2
        renewed = replace(
            lease, expires_at=(now + self._lease).isoformat(), step=step or lease.step
        )
        try:
            if fresh and renewed.step == lease.step:
                found = _read(self._run.store, _key(target))
                if found is None or found[1] != version:
                    raise Moved(target)
            else:
                version = _replace(self._run.store, renewed, version)
                self._owned[target] = renewed, version
        except Moved:
            raise LockLost(
                f"The lock of {target} was taken over while this run held it.",
                next=f"See by whom: ./runbook run-show {self._run.id}",
            ) from None

    def _renew_until(self, stop: threading.Event) -> None:
        while not stop.wait(self._lease.total_seconds() / 3):
            try:
                self.renew()
            except LockLost:
                return  # the next step of the work finds the same and stops there
            except RecordUnavailable:
                continue  # the next round may find room again

    def _acquire(self, target: str, step: str) -> None:
        store, now = self._run.store, self._clock.now()
        for _ in range(20):  # each round means that somebody else was quicker
            found = _read(store, _key(target))
            fence = found[0].fence + 1 if found else 1
            if found:
                self._refuse_if_taken(found[0], now)
            lease = self._lease_on(target, step, now, fence)
            try:
                version = _replace(store, lease, found[1]) if found else _create(store, lease)
            except (Moved, AlreadyThere):
                continue
            self._owned[target] = lease, version
            self._run.journal.write("lock", target=target, fence=fence)
            if found and found[0].held:
                self._took_over(found[0], now)
            return
        raise LockHeld(f"{target} is being fought over.", next="Try again in a moment.")

    def _took_over(self, last: Lease, now: datetime) -> None:
        """On record for the run that lost it, where its LockLost sends whoever asks."""
        with ledger.later(Run(self._run.store, last.run)) as journal:
            journal.write(
                "takeover",
                target=last.target,
                holder=last.holder,
                by=self._holder,
                run=self._run.id,
                reason="its lease ran out" if last.expired(now) else "its process is gone",
            )

    def _lease_on(self, target: str, step: str, now: datetime, fence: int) -> Lease:
        about = self._run.read()
        return Lease(
            target=target,
            run=self._run.id,
            holder=self._holder,
            host=about["host"],
            process=about["process"],
            step=step,
            acquired_at=now.isoformat(),
            expires_at=(now + self._lease).isoformat(),
            fence=fence,
            held=True,
        )

    def _refuse_if_taken(self, last: Lease, now: datetime) -> None:
        if last.held and not last.expired(now) and not last.abandoned:
            raise LockHeld(
                f"{last.holder} is working on {last.target} ({last.step}, run {last.run}), "
                f"since {last.acquired_at[:19]} and at most until {last.expires_at[:19]} UTC.",
                next="Wait, or talk to them. See all locks: ./runbook locks",
            )
        open_intents = [
            intent
            for intent in Journal(self._run.store, last.run).unresolved()
            if intent.target == last.target
        ]
        if open_intents:
            raise Unresolved(
                f"Run {last.run} was cut off while it changed {last.target}: "
                f"{len(open_intents)} intent(s) without a result.",
                next="Read the world first: ./runbook reconcile",
            )

    def _release(self) -> None:
        with self._mutex:
            for lease, version in self._owned.values():
                try:
                    _replace(self._run.store, replace(lease, held=False), version)
                except Moved:  # taken over: it is theirs to release
                    self._run.journal.write("lock-lost", target=lease.target)
            self._owned.clear()


def _key(target: str) -> str:
    return f"locks/{quote(target, safe='')}.json"


def _read(store: Store, key: str) -> tuple[Lease, str] | None:
    stored = store.read(key)
    return (Lease(**json.loads(stored.data)), stored.version) if stored else None


def _create(store: Store, lease: Lease) -> str:
    return store.create(_key(lease.target), _bytes(lease))


def _replace(store: Store, lease: Lease, version: str) -> str:
    return store.replace(_key(lease.target), _bytes(lease), version=version)


def _bytes(lease: Lease) -> bytes:
    return json.dumps(asdict(lease), indent=1).encode()
