"""Bounded waiting with an injectable clock: nothing here waits without a deadline."""

from __future__ import annotations

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
