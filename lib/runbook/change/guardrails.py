"""What no plan may go beyond: limits, protected targets, freezes and windows.

All of it comes from the environment's YAML. Messages carry both numbers.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from fnmatch import fnmatch

from runbook.change.kinds import kind_of
from runbook.change.plan import Plan
from runbook.errors import GuardrailHit
from runbook.settings import Guardrails, within


def check(plan: Plan, rails: Guardrails) -> None:
    """Raise GuardrailHit when the plan is over a limit or touches what is protected."""
    for change in plan.changes:
        for pattern in rails.protected:
            if fnmatch(change.target, pattern):
                raise GuardrailHit(
                    f"{change.target} is protected here (guardrails.protected: {pattern}).",
                    next="What is protected is changed by hand, by its owners.",
                )
    for kind, measures in _measured(plan).items():
        for measure, value in measures.items():
            most = rails.limits.get(kind, {}).get(measure)
            if most is not None and value > most:
                raise GuardrailHit(
                    f"{_number(value)} {measure} is over the limit of {_number(most)} "
                    f"for {kind} in this environment.",
                    next=f"Plan for less, or change guardrails.limits.{kind}.{measure} by review.",
                )


def check_time(plan: Plan, rails: Guardrails, now: datetime) -> None:
    """Raise GuardrailHit in a freeze, or outside the windows of the plan's risk."""
    for freeze in rails.freezes:
        if freeze.start <= now < freeze.end:
            raise GuardrailHit(
                f"Changes are frozen until {freeze.end:%d %b %H:%M} UTC: {freeze.reason}.",
                next="Wait, or break the glass: --break-glass REASON",
            )
    windows = [window for window in rails.windows if window.risk == plan.risk]
    if windows and not any(within(now, window) for window in windows):
        allowed = ", ".join(f"{each.day} {each.start}-{each.end}" for each in windows)
        raise GuardrailHit(
            f"A {plan.risk} change is for {allowed} UTC; now it is {now:%a %H:%M}.",
            next="Wait for the window, or break the glass: --break-glass REASON",
        )


def _measured(plan: Plan) -> dict[str, dict[str, float]]:
    """The largest measure by kind; counts (rows, keys, tasks, users) add up over the plan."""
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for change in plan.changes:
        for measure, value in kind_of(change).measure(change).items():
            if measure == "percentage":
                totals[change.kind][measure] = max(totals[change.kind][measure], value)
            else:
                totals[change.kind][measure] += value
    return totals


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"
