"""Which subscription is activated, by which payment, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.change.plan import KNOWN_AFTER_APPLY, Plan
from runbook.errors import BadInput
from runbook.settings import Subscriptions
from runbook.studio import subscriptions
from runbook.studio.subscriptions import Payment, Subscription

NOW = datetime(2026, 11, 28, 12, 0, 30, 5, tzinfo=UTC)
NAIVE = NOW.replace(tzinfo=None)
WANTED = Subscriptions(period_days=30)
REASON = "the bank confirmed the transfer"


def paid(days_ago: float, **changed: Any) -> Payment:
    made = Payment("pay-1", "HY-1", "completed", 5.0, "pro", NAIVE - timedelta(days=days_ago))
    return replace(made, **changed)


def subscribed(*payments: Payment, **changed: Any) -> Subscription:
    made = Subscription(
        id="sub-1",
        user_id="user-1",
        user_active=True,
        plan_id="pro",
        plan="Pro",
        price=5.0,
        status="pending",
        renews_at=None,
        updated_at=NAIVE - timedelta(days=2),
        payments=payments,
    )
    return replace(made, **changed)


def plan(chosen: Subscription | None, override: str = "") -> Plan:
    return subscriptions.plan_activate(chosen, override=override, wanted=WANTED, now=NOW)


def test_a_paid_subscription_is_active_for_a_period_from_now() -> None:
    payment, row = plan(subscribed(paid(1))).changes
    assert payment.target == "postgresql:payments/pay-1"
    assert payment.before == payment.after
    assert payment.before["status"] == "completed"
    assert row.after == {
        "status": "active",
        "renews_at": "2026-12-28T12:00:30",
        "updated_at": KNOWN_AFTER_APPLY,
        "rows": 1,
    }
    assert row.before["status"] == "pending"
    assert row.before["renews_at"] is None


def test_a_renewal_that_was_paid_and_never_told_of_is_one_too() -> None:
    ran_out = NAIVE - timedelta(days=1)
    assert plan(subscribed(paid(1), status="expired", renews_at=ran_out)).changes


@pytest.mark.parametrize("chosen", [None, subscribed(paid(1), status="active")])
def test_nobody_and_what_is_active_need_nothing(chosen: Subscription | None) -> None:
    assert plan(chosen).changes == ()


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        (subscribed(), "never paid for"),
        (subscribed(paid(1, status="pending")), "HY-1 is pending"),
        (subscribed(paid(1, status="failed")), "HY-1 is failed"),
        (subscribed(paid(1, plan_id="starter")), "another plan"),
        (subscribed(paid(1, amount=0.0)), "0.00 JOD, and the plan costs 5.00"),
        (subscribed(paid(30.01)), "a period that was over on 2026-11-28"),
        (subscribed(paid(1), renews_at=NAIVE + timedelta(days=29)), "is used"),
        (subscribed(paid(1), status="cancelled"), "is cancelled"),
    ],
)
def test_what_no_payment_stands_for_is_refused_and_an_override_is_told_loudly(
    chosen: Subscription, why: str
) -> None:
    with pytest.raises(BadInput, match=why) as refused:
        plan(chosen)
    assert "override" in refused.value.next
    overridden = plan(chosen, REASON)
    assert "WITHOUT A PAYMENT" in overridden.title
    assert overridden.warnings[0].startswith("OVERRIDE")
    assert REASON in overridden.warnings[0]
    assert [change.kind for change in overridden.changes] == ["sql-rows"]


def test_the_last_moment_of_what_was_paid_for_still_counts() -> None:
    assert plan(subscribed(paid(29.99))).changes
    used = subscribed(paid(1), renews_at=NAIVE + timedelta(days=28.99))
    assert plan(used).changes


def test_an_override_is_a_reason_and_is_not_taken_where_somebody_has_paid() -> None:
    with pytest.raises(BadInput, match="no override is needed"):
        plan(subscribed(paid(1)), REASON)
    with pytest.raises(BadInput, match="expected the reason"):
        plan(subscribed(), "because")


def test_a_second_active_one_and_a_deactivated_user_are_warned_of() -> None:
    chosen = subscribed(paid(1), user_active=False, others={"a": "active", "b": "expired"})
    told = plan(chosen).warnings
    assert any("active subscription already: a." in one for one in told)
    assert any("deactivated" in one for one in told)
