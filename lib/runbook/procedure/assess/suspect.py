"""A suspect: a cause with its evidence, the section that confirms it and the one that mends it.

How sure one is comes from the evidence alone. Each piece has a strength, how often what it says is
so *because of* this cause; together they leave the doubt that each of them leaves, multiplied.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

PROOF, STRONG, FAIR, HINT = 0.9, 0.6, 0.4, 0.2
_WORDS = ((0.9, "almost certain"), (0.7, "likely"), (0.4, "possible"), (0.0, "a mere hint"))


@dataclass(frozen=True)
class Evidence:
    """One thing that speaks for a cause, in a sentence, and how strongly (0 to 1)."""

    says: str
    strength: float


@dataclass(frozen=True)
class Step:
    """A section to run, with its parameters."""

    section: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """As it is typed."""
        words = ["./runbook", "run", self.section]
        for name, value in self.parameters.items():
            words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
        return shlex.join(words)

    def data(self) -> dict[str, Any]:
        """As `result` has it."""
        return {"section": self.section, "parameters": dict(self.parameters)}


@dataclass(frozen=True)
class Suspect:
    """One cause. `target` is what it is about: two suspects of one target and one remedy are one.

    `remedy` is the kind of measure: rollback, scale, failover, maintenance, or repair.
    """

    cause: str
    target: str
    evidence: tuple[Evidence, ...]
    confirm: Step
    mend: Step
    remedy: str = "repair"

    @property
    def weight(self) -> float:
        """How sure one is, from 0 to 1."""
        return 1 - prod(1 - one.strength for one in self.evidence)

    @property
    def confidence(self) -> str:
        """How sure one is, in words."""
        return next(word for least, word in _WORDS if self.weight >= least)

    def data(self) -> dict[str, Any]:
        """As `result` has it."""
        return {
            "cause": self.cause,
            "confidence": self.confidence,
            "weight": round(self.weight, 3),
            "evidence": [one.says for one in self.evidence],
            "confirm": self.confirm.data(),
            "mend": self.mend.data(),
            "remedy": self.remedy,
        }


def rank(found: Iterable[Suspect]) -> list[Suspect]:
    """The surest first, each with its strongest evidence first. Pure.

    What is about one thing and mended in one way is one suspect.
    """
    one_of: dict[tuple[str, str], Suspect] = {}
    for suspect in sorted(found, key=lambda one: -one.weight):
        key = (suspect.mend.section, suspect.target)
        if key not in one_of:
            one_of[key] = suspect
            continue
        known = one_of[key]
        more = [one for one in suspect.evidence if one.says not in {e.says for e in known.evidence}]
        one_of[key] = replace(known, evidence=(*known.evidence, *more))
    told = (
        replace(one, evidence=tuple(sorted(one.evidence, key=lambda e: -e.strength)))
        for one in one_of.values()
    )
    return sorted(told, key=lambda one: (-one.weight, one.cause))
