"""Bounded waiting, with a deadline, and a bounded rate; the clock of both can be injected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from runbook.errors import Failed

T = TypeVar("T")


class Clock(Protocol):
    """What waiting needs to know of time."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real time, aware and in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


class DeadlinePassed(Failed):
    """What was waited for did not come in time."""


@dataclass(frozen=True)
class Wait:
    """How long to wait and how often to look.

    `factor` shortens or stretches both (an environment's `waits.factor`); `progress` is called
    with the seconds waited so far, each time the condition did not hold yet.
    """

    timeout_s: float
    interval_s: float = 5.0
    factor: float = 1.0
    clock: Clock = SYSTEM_CLOCK
    progress: Callable[[float], None] = lambda waited_s: None

    def until(self, read: Callable[[], T | None], *, what: str) -> T:
        """Call `read` until it returns something; `what` names it, for the message.

        Raises DeadlinePassed, with how long was waited.
        """
        start = self.clock.monotonic()
        deadline = start + self.timeout_s * self.factor
        while True:
            found = read()
            if found:
                return found
            now = self.clock.monotonic()
            if now >= deadline:
                raise DeadlinePassed(f"Waited {now - start:.0f} s for {what}; it did not come.")
            self.progress(now - start)
            self.clock.sleep(min(self.interval_s * self.factor, deadline - now))


class Pace:
    """`each_second` turns a second, evenly apart, for all threads that share it."""

    def __init__(self, each_second: float, *, clock: Clock = SYSTEM_CLOCK) -> None:
        # a little slower: what leaves here evenly does not arrive so
        self._apart_s = 1.1 / each_second
        self._clock = clock
        self._next = clock.monotonic()
        self._lock = threading.Lock()

    def turn(self) -> None:
        """Wait until it is this caller's turn."""
        with self._lock:
            now = self._clock.monotonic()
            mine = max(now, self._next)
            self._next = mine + self._apart_s
        if mine > now:
            self._clock.sleep(mine - now)

    def pause(self, seconds: float) -> None:
        """Give nobody a turn for so long: somebody else is using them up."""
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)
