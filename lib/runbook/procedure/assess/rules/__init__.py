"""Rules: each turns what was seen into suspects of one generic cause, and looks at nothing else.

A rule is a pure function of `Seen`. What it cannot see (None) it says nothing of.
"""

from collections.abc import Callable, Iterable

from runbook.procedure.assess.rules import (
    capacity,
    data,
    deployments,
    providers,
    stores,
    world,
)
from runbook.procedure.assess.seen import Seen
from runbook.procedure.assess.suspect import Suspect

Rule = Callable[[Seen], Iterable[Suspect]]
RULES: tuple[Rule, ...] = (
    *world.RULES,
    *deployments.RULES,
    *stores.RULES,
    *capacity.RULES,
    *providers.RULES,
    *data.RULES,
)

__all__ = ["RULES", "Rule"]
