"""webhook-lost: customers have paid, and the provider's notice of it never arrived."""

from __future__ import annotations

import random
import uuid

from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_NOBODYS_CUSTOMERS = """
    SELECT users.id::text FROM users
    WHERE is_active AND NOT EXISTS (
        SELECT FROM subscriptions WHERE user_id = users.id AND status IN ('active', 'pending')
    ) ORDER BY users.id
"""
_PLANS = "SELECT id::text, price_jod::text FROM plans ORDER BY price_jod"
_SUBSCRIBE = """
    INSERT INTO subscriptions
        (id, user_id, plan_id, status, provider, external_ref, created_at, updated_at)
    SELECT id::uuid, user_id::uuid, plan_id::uuid, 'pending', 'hyperpay',
           'HY-SUB-' || left(id, 8), moment, moment
    FROM (SELECT %(id)s AS id, %(user)s AS user_id, %(plan)s AS plan_id,
                 (now() AT TIME ZONE 'UTC') - make_interval(mins => %(minutes)s) AS moment) AS given
"""
_PAY = """
    INSERT INTO payments
        (id, user_id, plan_id, amount_jod, provider, status, external_id, created_at, meta_json)
    VALUES (%(payment)s, %(user)s, %(plan)s, %(amount)s, 'hyperpay', %(status)s, %(external_id)s,
            (now() AT TIME ZONE 'UTC') - make_interval(mins => %(minutes)s),
            jsonb_build_object('subscription_id', %(id)s::text, 'period', 1))
"""
_NOW = """
    SELECT id::text, status, renews_at > (now() AT TIME ZONE 'UTC')
    FROM subscriptions WHERE id = ANY (%(ids)s::uuid[])
"""
_UNPAID_ACTIVE = """
    SELECT count(*) FROM subscriptions
    WHERE id = ANY (%(ids)s::uuid[]) AND status = 'active' AND NOT EXISTS (
        SELECT FROM payments WHERE payments.status = 'completed'
        AND meta_json ->> 'subscription_id' = subscriptions.id::text
    )
"""
_SECTION = "activate-subscription"
_PENDING = "SELECT id::text FROM subscriptions WHERE status = 'pending'"


def _draw(studio: Studio, dice: random.Random) -> Details:
    plans = studio.rows(_PLANS)
    users = dice.sample(studio.rows(_NOBODYS_CUSTOMERS), k=dice.randint(3, 9))
    return {"paid": [_checkout(dice, user, dice.choice(plans)) for (user,) in users],
            "given_up": [_checkout(dice, user, plans[-1]) for (user,) in users[:2]]}  # fmt: skip


def _checkout(dice: random.Random, user: str, plan: tuple[str, str]) -> Details:
    """One checkout of one user: a subscription, and the payment that it waits for."""
    subscription, payment = (str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in "sp")
    return {
        "id": subscription,
        "payment": payment,
        "external_id": f"HY-{payment.replace('-', '')[:16]}",
        "user": user,
        "plan": plan[0],
        "amount": plan[1],
        "minutes": dice.randint(40, 1200),
    }


def _start(studio: Studio, details: Details) -> None:
    details["pending"] = [row[0] for row in studio.rows(_PENDING)]
    for status, checkouts in (("completed", details["paid"]), ("pending", details["given_up"])):
        for one in checkouts:
            studio.rows(_SUBSCRIBE, **one)
            studio.rows(_PAY, status=status, **one)
    for one in details["paid"]:
        studio.order("payment-untold", external_id=one["external_id"], amount=one["amount"])


def _judge(studio: Studio, details: Details) -> list[str]:
    """Who has paid has a subscription, and nobody has one who has not paid for it."""
    ids = [one["id"] for one in details["paid"]]
    found = {row[0]: row[1:] for row in studio.rows(_NOW, ids=ids)}
    waiting = [one for one in ids if found.get(one, ("",))[0] != "active"]
    endless = [one for one in ids if found.get(one) == ("active", None)]
    others = [one["id"] for one in details["given_up"]] + details["pending"]
    ((unpaid,),) = studio.rows(_UNPAID_ACTIVE, ids=others)
    told = {
        "customers have paid and have no active subscription": len(waiting),
        "subscriptions are active and nobody knows until when": len(endless),
        "subscriptions are active that nobody has paid for": unpaid,
    }
    return [f"{count} {what}" for what, count in told.items() if count]


def _clean_up(studio: Studio, details: Details) -> None:
    """These checkouts never were."""
    studio.take_back("payment-untold")
    checkouts = [*details["paid"], *details["given_up"]]
    ids = [one["id"] for one in checkouts]
    payments = [one["payment"] for one in checkouts]
    studio.rows(
        "DELETE FROM jobs WHERE payload_json ->> 'payment_id' = ANY (%(ids)s)", ids=payments
    )
    studio.rows("DELETE FROM payments WHERE id = ANY (%(ids)s::uuid[])", ids=payments)
    studio.rows("DELETE FROM subscriptions WHERE id = ANY (%(ids)s::uuid[])", ids=ids)


def _mend(run: RunSection) -> None:
    """Each of those whom the section finds waiting, one by one."""
    for one in run(_SECTION)["result"]["waiting"]:
        plan_and_apply(run, _SECTION, subscription=one["subscription"])


WEBHOOK_LOST = Drill(
    name="webhook-lost",
    symptom="Customers write that they have paid and still cannot use what they paid for.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
)
