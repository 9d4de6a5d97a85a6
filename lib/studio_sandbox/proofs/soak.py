"""`./runbook prove soak`: a moving Studio for ten minutes; it answers, and does not grow."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.proofs.proof import Asked

_SECONDS = 600.0
_SETTLED_AFTER_S = 45.0  # by when everything that is loaded when first used was used
_LOOK_EVERY_S = 1.0
_MOST_GROWTH = 0.2
_PATHS = ("/v1/health", "/api/v1/health", "/gateway/v1/health", "/docs")
_OUTSIDE = ("/openai/status",)  # what the load balancer does not pass on, nor count
_MIB = 2**20
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy


@dataclass
class Soaked:
    """Resident memory of each process once settled and in the end, and what was answered."""

    seconds: float
    settled: dict[str, int]
    ended: dict[str, int]
    served: int = 0  # requests that the load balancer passed on: the users', and ours
    ours: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """All processes live and have not grown; every request of ours was answered well."""
        grown = [name for name in self.settled if self._growth(name) >= _MOST_GROWTH]
        return not grown and self.users > 0 and set(self.answers) == {"200"}

    @property
    def users(self) -> int:
        """Requests of the Studio's own users."""
        return self.served - self.ours

    def table(self) -> str:
        """One line a process, then requests."""
        lines = [f"{'process':<12}{'settled':>10}{'end':>10}{'growth':>9}   (MiB resident)"]
        for name, before in self.settled.items():
            after = self.ended.get(name, 0)
            figures = f"{before / _MIB:>10.1f}{after / _MIB:>10.1f}{self._growth(name):>9.1%}"
            lines.append(f"{name:<12}{figures}")
        asked, errors = self.answers.total(), self.answers.total() - self.answers["200"]
        lines.append(f"{self.seconds:.0f} s, {self.users:,} requests of users, {asked:,} of ours")
        told = ", ".join(f"{count} {what}" for what, count in self.answers.items() if what != "200")
        lines.append(f"errors: {errors}{f' ({told})' if told else ''}")
        lines.append("holds" if self.holds else f"does not hold: {_MOST_GROWTH:.0%} is the most")
        return "\n".join(lines)

    def _growth(self, name: str) -> float:
        after = self.ended.get(name)
        return after / self.settled[name] - 1 if after else 1.0  # one that is gone is no success


def prove(asked: Asked) -> Soaked:
    """Let a Studio run, ask it every second, and weigh it."""
    box = sandbox.up(tied=True, folder=asked.home / "sandbox", say=asked.say).box
    began = time.monotonic()
    length_s = min(_SECONDS, asked.within_s)
    settled_after_s = min(_SETTLED_AFTER_S, length_s / 3)
    found = Soaked(length_s, {}, {})
    said = 0
    while (passed := time.monotonic() - began) < length_s:
        for path in _PATHS + _OUTSIDE:
            found.answers[_ask(f"{box.endpoints_url}{path}")] += 1
        found.ours += len(_PATHS)
        if not found.settled and passed >= settled_after_s:
            found.settled = _weigh(box)
        if passed // 60 > said:
            said = int(passed // 60)
            asked.say(f"{said} min: {_weigh(box)['aws'] / _MIB:.1f} MiB")
        time.sleep(_LOOK_EVERY_S)
    found.ended = _weigh(box)
    found.served = int(_read(f"{box.aws_endpoint_url}/sandbox/data-plane")["requests"])
    return found


def _weigh(box: Box) -> dict[str, int]:
    """Resident bytes of each process that lives."""
    weights = {}
    for name, process in box.processes.items():
        if process.alive():
            weights[name] = int(psutil.Process(process.pid).memory_info().rss)
    return weights


def _ask(url: str) -> str:
    """The status of an answer, or the name of the error."""
    try:
        with _OPENER.open(url, timeout=10) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as refused:
        return str(refused.code)
    except OSError as error:
        return type(error).__name__


def _read(url: str) -> dict[str, Any]:
    with _OPENER.open(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
