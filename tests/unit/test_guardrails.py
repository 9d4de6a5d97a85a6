"""Guardrails: just under and just over, and what is protected, frozen or outside its window."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support import VALUE, plan_of, value_change

from runbook import settings
from runbook.change import guardrails
from runbook.change.kinds import kind_of, register
from runbook.change.plan import Change, RowSet
from runbook.errors import GuardrailHit
from runbook.settings import Guardrails

SHARE = "test-share"
register(
    SHARE,
    read=lambda clients, target: None,
    apply=lambda clients, change, intent: None,
    measure=lambda change: {"percentage": change.after},
)
TUESDAY_0845 = datetime(2026, 11, 24, 8, 45, tzinfo=UTC)


def rails(**content: Any) -> Guardrails:
    return Guardrails.model_validate(content)


def keys(count: int) -> tuple[Change, ...]:
    return tuple(value_change(f"test:{index}", 1, 2) for index in range(count))


def test_counts_add_up_over_the_plan_and_the_limit_itself_is_allowed() -> None:
    limits = rails(limits={VALUE: {"keys": 3}})

    guardrails.check(plan_of(*keys(3)), limits)
    with pytest.raises(GuardrailHit, match=r"4 keys is over the limit of 3 for test-value"):
        guardrails.check(plan_of(*keys(4)), limits)


def test_percentages_do_not_add_up() -> None:
    limits = rails(limits={SHARE: {"percentage": 30}})
    at_limit = [Change(SHARE, f"t:{index}", 0, 30) for index in range(3)]

    guardrails.check(plan_of(*at_limit), limits)
    with pytest.raises(GuardrailHit, match=r"30\.1 percentage is over the limit of 30 "):
        guardrails.check(plan_of(*at_limit, Change(SHARE, "t:x", 0, 30.1)), limits)


@pytest.mark.parametrize("value", [30.04, 30.0001])
def test_the_two_numbers_of_a_message_are_never_written_the_same(value: float) -> None:
    with pytest.raises(GuardrailHit, match=rf"^{value} percentage is over the limit of 30 "):
        guardrails.check(
            plan_of(Change(SHARE, "t", 0, value)), rails(limits={SHARE: {"percentage": 30}})
        )


@pytest.mark.parametrize(("rows", "refused"), [(5000, False), (5001, True)])
def test_rows_are_counted_in_their_set(rows: int, refused: bool) -> None:
    made = RowSet.of({"table": "t"}, ({"key": n, "before": 1, "after": 2} for n in range(rows)))
    plan = plan_of(Change("sql-rows", "postgresql:t", {}, {}, rows=made))
    limits = rails(limits={"sql-rows": {"rows": 5000}})

    if not refused:
        guardrails.check(plan, limits)
        return
    with pytest.raises(GuardrailHit, match="5,001 rows is over the limit of 5,000"):
        guardrails.check(plan, limits)


def test_a_limit_of_another_kind_or_measure_does_not_count() -> None:
    guardrails.check(plan_of(*keys(4)), rails(limits={SHARE: {"keys": 1}, VALUE: {"rows": 1}}))


@pytest.mark.parametrize(
    ("pattern", "refused"), [("test:*", True), ("test:0", True), ("test:", False), ("x:*", False)]
)
def test_protected_targets_are_refused(pattern: str, refused: bool) -> None:
    if not refused:
        guardrails.check(plan_of(*keys(1)), rails(protected=[pattern]))
        return
    with pytest.raises(GuardrailHit, match="test:0 is protected"):
        guardrails.check(plan_of(*keys(1)), rails(protected=[pattern]))


@pytest.mark.parametrize(
    ("start", "end", "refused"),
    [
        ("2026-11-24T08:45:00Z", "2026-11-24T09:00:00Z", True),
        ("2026-11-24T08:00:00Z", "2026-11-24T08:45:00Z", False),
        ("2026-11-24T09:46:00+01:00", "2026-11-25T00:00:00Z", False),
        ("2026-11-24T09:45:00+01:00", "2026-11-25T00:00:00Z", True),
    ],
)
def test_a_freeze_holds_from_its_first_moment_up_to_its_end(
    start: str, end: str, refused: bool
) -> None:
    frozen = rails(freezes=[{"start": start, "end": end, "reason": "sale"}])

    if not refused:
        guardrails.check_time(plan_of(), frozen, TUESDAY_0845)
        return
    with pytest.raises(GuardrailHit, match=r"frozen until .*: sale"):
        guardrails.check_time(plan_of(), frozen, TUESDAY_0845)


@pytest.mark.parametrize(
    ("day", "start", "end", "refused"),
    [
        ("Tue", "08:45", "08:46", False),
        ("Tue", "08:00", "08:45", True),
        ("Tue", "08:46", "10:00", True),
        ("Mon", "08:00", "10:00", True),
    ],
)
def test_a_risk_with_windows_is_refused_outside_of_them(
    day: str, start: str, end: str, refused: bool
) -> None:
    window = {"risk": "high", "day": day, "start": start, "end": end}
    found, plan = rails(windows=[window]), plan_of(risk="high")

    guardrails.check_time(plan_of(risk="low"), found, TUESDAY_0845)
    if not refused:
        guardrails.check_time(plan, found, TUESDAY_0845)
        return
    with pytest.raises(GuardrailHit, match=rf"{day} {start}-{end} UTC; now it is Tue 08:45"):
        guardrails.check_time(plan, found, TUESDAY_0845)


@pytest.mark.parametrize("environment", settings.environments())
def test_every_limit_that_is_set_is_of_a_kind_that_there_is(environment: str) -> None:
    limits = settings.load(environment).guardrails.limits

    for kind in limits:  # a misspelt one would guard nothing, and nobody would know
        assert kind_of(Change(kind, "x", None, None)).name == kind
