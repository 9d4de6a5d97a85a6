"""`./runbook prove sweep`: a healthy Studio is found healthy, and every drill is noticed.

Each drill breaks a moving Studio, and the sweep is repeated until a section says warning or
critical; what it says then is in the table. Each drill begins on a Studio that was put back and
found healthy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook.errors import BadInput
from runbook.run import sweep
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.drills import drill as drills
from studio_sandbox.proofs.proof import Asked

_NOTICED_WITHIN_S = 180.0
_HEALTHY_WITHIN_S = 240.0
_BAD = ("warning", "critical")
_ENVIRONMENT = "sandbox"
Rows = list[dict[str, Any]]


@dataclass
class Swept:
    """For each drill: the sections that noticed it, and how long that took. Empty: nobody did."""

    healthy: bool
    sections: int
    noticed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.healthy and all(self.noticed.values())

    def table(self) -> str:
        """A row for each drill, after one for the Studio as it should be."""
        lines = [
            f"| drill | noticed by, of {self.sections} sections | after |",
            "|---|---|---|",
            f"| none | {'nobody: all say ok' if self.healthy else '**somebody**'} | - |",
        ]
        for name, found in self.noticed.items():
            told = ", ".join(f"{section} ({status})" for section, status in found.items())
            lines.append(f"| `{name}` | {told or '**nobody**'} | {self.seconds[name]:.0f} s |")
        return "\n".join(lines)


def prove(asked: Asked) -> Swept:
    """Every drill in turn, on one Studio; `--runs N`: the first N of them, `--drills`: those."""
    os.environ["RUNBOOK_HOME"] = str(asked.home)
    box = sandbox.up(tied=True, folder=asked.home / "sandbox", say=asked.say).box
    found = Swept(healthy=True, sections=len(sweep.marked()))
    every = sorted(drills.drills())
    wanted = [name for name in asked.drills.split(",") if name]
    if unknown := set(wanted) - set(every):
        raise BadInput(f"There is no drill {', '.join(sorted(unknown))}; see: drill list")
    for name in wanted or every[: asked.runs or None]:
        found.healthy &= _becomes_healthy(asked)
        found.noticed[name], found.seconds[name] = _noticed(box, name, asked)
        box = sandbox.reset(box.folder)
    return found


def _noticed(box: Box, name: str, asked: Asked) -> tuple[dict[str, str], float]:
    """Break, and sweep until somebody notices; put right again in the end."""
    one = drills.start(box, name, asked.seed)
    began = time.monotonic()
    bad: dict[str, str] = {}
    while not bad and time.monotonic() - began < _NOTICED_WITHIN_S:
        bad = _bad(sweep.sweep(_ENVIRONMENT))
    passed = time.monotonic() - began
    asked.say(f"{name}: {', '.join(bad) or 'nobody noticed'}, {passed:.0f} s")
    drills.end(box, one)
    return bad, passed


def _becomes_healthy(asked: Asked) -> bool:
    deadline = time.monotonic() + _HEALTHY_WITHIN_S
    while bad := _bad(sweep.sweep(_ENVIRONMENT)):
        if time.monotonic() > deadline:
            asked.say(f"not healthy: {bad}")
            return False
    return True


def _bad(rows: Rows) -> dict[str, str]:
    """Sections that did not say ok, with what they said: a status, or how they ended."""
    return {
        row["section"]: row["status"] if row["status"] in _BAD else row["verdict"]
        for row in rows
        if row["status"] != "ok"
    }
