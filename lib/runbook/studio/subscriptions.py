"""Subscriptions: what was paid for and is not active, and how one is activated by hand.

    waiting = subscriptions.find_waiting(rb.database, settings)
    chosen = subscriptions.choose(rb.database, waiting, subscription="", user="")
    subscriptions.plan_activate(chosen, override="", settings=settings, now=now)

A payment names its subscription in `meta_json` (`subscription_id`) and buys one period. It is used
up once the subscription runs to the end of that period, counted from the payment: the provider's
webhook sets `renews_at` so, and so does this. Times in the table are UTC without a zone.

Kind of change: the row is one of `sql-rows`; `payment` is what the plan stands on, read when it is
applied and never changed.

Source: the runbook, Payment Webhook Not Received (manual payment activation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from runbook.change.kinds import register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.record.journal import Intent
from runbook.settings import Subscriptions
from runbook.studio.rows import Table, as_of, plan_update
from runbook.table import Table as Shown

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

KIND = "payment"
SUBSCRIPTIONS = Table(
    "subscriptions",
    key="id",
    stamp="updated_at",
    columns=("status", "renews_at", "updated_at"),
)
_PAYMENT = "postgresql:payments/"
_OPEN = ("pending", "expired")  # what a payment activates
_LEAST_REASON = 10  # signs of an override's reason: a word is none
_WAITING = """
    SELECT subscriptions.id::text AS subscription, subscriptions.user_id::text AS "user",
           plans.name AS plan, subscriptions.status, payments.external_id AS payment,
           payments.amount_jod::float AS amount_jod, payments.created_at AS paid_at,
           floor(extract(epoch FROM (now() AT TIME ZONE 'UTC') - payments.created_at) / 3600)::int
               AS hours
    FROM payments
    JOIN subscriptions ON subscriptions.id::text = payments.meta_json ->> 'subscription_id'
    JOIN plans ON plans.id = subscriptions.plan_id
    WHERE payments.status = 'completed' AND subscriptions.status IN ('pending', 'expired')
      AND payments.created_at < (now() AT TIME ZONE 'UTC') - make_interval(mins => :minutes)
      AND payments.created_at + make_interval(days => :days)
          > coalesce(subscriptions.renews_at, '-infinity')
      AND payments.created_at + make_interval(days => :days) > (now() AT TIME ZONE 'UTC')
    ORDER BY payments.created_at, subscriptions.id
"""
_FOUND = """
    SELECT subscriptions.id::text, subscriptions.user_id::text AS user_id, users.is_active,
           plans.id::text AS plan_id, plans.name AS plan, plans.price_jod AS price,
           subscriptions.status, renews_at, subscriptions.updated_at
    FROM subscriptions
    JOIN plans ON plans.id = subscriptions.plan_id
    JOIN users ON users.id = subscriptions.user_id
    WHERE subscriptions.{} = CAST(:id AS uuid) ORDER BY subscriptions.created_at
"""
_PAYMENTS = """
    SELECT id::text, coalesce(external_id, id::text) AS external_id, status,
           amount_jod AS amount, plan_id::text AS plan_id, created_at
    FROM payments WHERE meta_json ->> 'subscription_id' = :id ORDER BY created_at DESC, id
"""
_STANDS_ON = """
    SELECT status, amount_jod::text AS amount_jod, meta_json ->> 'subscription_id' AS subscription
    FROM payments WHERE id = CAST(:id AS uuid)
"""


@dataclass(frozen=True)
class Payment:
    """One payment for a subscription. `external_id` is its number at the provider."""

    id: str
    external_id: str
    status: str
    amount: float  # JOD
    plan_id: str
    created_at: datetime  # UTC, naive as in the table


@dataclass(frozen=True)
class Subscription:
    """One subscription, with what was paid for it, the newest first.

    `others` are the user's other ones, by id: their status.
    """

    id: str
    user_id: str
    user_active: bool
    plan_id: str
    plan: str
    price: float  # JOD
    status: str
    renews_at: datetime | None  # UTC, naive
    updated_at: datetime
    payments: tuple[Payment, ...] = ()
    others: Mapping[str, str] | None = None

    def payment_table(self) -> Shown:
        """What was paid for it, to be read."""
        import pandas as pd

        rows = [
            {
                "payment": one.external_id,
                "status": one.status,
                "amount_jod": one.amount,
                "plan": "the same" if one.plan_id == self.plan_id else "another",
                "paid_at": one.created_at,
            }
            for one in self.payments
        ]
        return Shown(pd.DataFrame(rows), empty="No payment names this subscription.")


def find_waiting(database: sqlalchemy.Engine, wanted: Subscriptions) -> pd.DataFrame:
    """Completed payments whose subscription is not active, the longest waiting first.

    Columns: subscription, user, plan, status, payment (its number at the provider), amount_jod,
    paid_at (UTC, naive), hours. Payments of the last minutes may still be told by the provider;
    those whose period is over by now, or used, are left out.
    """
    import pandas as pd
    import sqlalchemy

    asked = {"minutes": wanted.told_within_minutes, "days": wanted.period_days}
    with database.connect() as connection:
        return pd.read_sql_query(sqlalchemy.text(_WAITING), connection, params=asked)


def choose(
    database: sqlalchemy.Engine, waiting: pd.DataFrame, *, subscription: str, user: str
) -> Subscription | None:
    """The subscription that was named, by its id or its user's; else the one that waits longest.

    None when neither is named and none waits. Raises BadInput: not an id, not there, or a user
    with several that could be meant.
    """
    if subscription:
        found = _find(database, "id", _id("subscription", subscription))
        if not found:
            raise BadInput(f"subscription: there is no subscription {subscription}.")
        return found[0]
    if user:
        return _only_one(user, _find(database, "user_id", _id("user", user)))
    if len(waiting):
        return _find(database, "id", waiting.subscription.iloc[0])[0]
    return None


def plan_activate(
    chosen: Subscription | None, *, override: str, wanted: Subscriptions, now: datetime
) -> Plan:
    """The plan that activates one subscription for a period from now. Pure.

    It stands on a completed payment that is not used, or on `override`, the reason why it is
    activated without one. Without changes when it is active already. Raises BadInput: nothing was
    paid, for another plan, too little, or too long ago; and for an override that is not needed.
    """
    if chosen is None or chosen.status == "active":
        return _plan("Nothing to activate", (), ())
    moment = now.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    fitting = [one for one in chosen.payments if not why_not(chosen, one, wanted, moment)]
    if override:
        _refuse_override(chosen, override, fitting)
        title = f"Activate {chosen.id} WITHOUT A PAYMENT ({chosen.plan})"
        told = (f"OVERRIDE: nobody has paid for this. The reason on record: {override.strip()}",)
        return _plan(title, (_activated(chosen, moment, wanted),), (*told, *_warnings(chosen)))
    if chosen.status not in _OPEN or not fitting:
        raise BadInput(_refused(chosen, wanted, moment), next=_WITHOUT_PAYMENT)
    paid = fitting[0]
    told = (
        f"Paid by {paid.external_id}: {paid.amount:.2f} JOD at {paid.created_at:%Y-%m-%d %H:%M} "
        "UTC, as the table says; in doubt look it up at the provider.",
    )
    return _plan(
        f"Activate {chosen.id} ({chosen.plan}) until {_until(moment, wanted):%Y-%m-%d %H:%M} UTC",
        (_stands_on(chosen, paid), _activated(chosen, moment, wanted)),
        (*told, *_warnings(chosen)),
    )


_WITHOUT_PAYMENT = "If it is to be active all the same, say why by the parameter override."


def why_not(chosen: Subscription, payment: Payment, wanted: Subscriptions, moment: datetime) -> str:
    """Why a payment does not activate a subscription; empty when it does. Pure."""
    ends = payment.created_at + timedelta(days=wanted.period_days)
    if payment.status != "completed":
        return f"is {payment.status}"
    if payment.plan_id != chosen.plan_id:
        return "is for another plan"
    if payment.amount < chosen.price:
        return f"is {payment.amount:.2f} JOD, and the plan costs {chosen.price:.2f}"
    if chosen.renews_at and chosen.renews_at >= ends:
        return f"is used: the subscription ran until {chosen.renews_at:%Y-%m-%d}"
    if ends <= moment:
        return f"bought a period that was over on {ends:%Y-%m-%d}"
    return ""


def waiting_table(waiting: pd.DataFrame) -> Shown:
    """Who has paid and waits, to be read."""
    return Shown(waiting, empty="Nobody has paid without getting what was paid for.")


def findings(waiting: pd.DataFrame) -> dict[str, Any]:
    """What was found, as data, with `status` and the sentence `says`."""
    count = len(waiting)
    who = "1 customer has" if count == 1 else f"{count:,} customers have"
    longest = f"; the longest waits for {waiting.hours.iloc[0]:,} hours" if count else ""
    return {
        "status": "critical" if count else "ok",
        "says": f"{who} paid and no active subscription{longest}."
        if count
        else "Who has paid has an active subscription.",
        "waiting": [
            {"subscription": one.subscription, "user": one.user, "payment": one.payment}
            for one in waiting.itertuples()
        ],
    }


def is_active(database: sqlalchemy.Engine, ids: Sequence[str]) -> bool:
    """Whether all of these are active, and until some time that is still to come."""
    import sqlalchemy

    query = sqlalchemy.text(
        "SELECT count(*) FROM subscriptions WHERE id::text = ANY (:ids) AND status = 'active' "
        "AND renews_at > (now() AT TIME ZONE 'UTC')"
    )
    with database.connect() as connection:
        found = connection.execute(query, {"ids": list(ids)}).scalar_one()
    return bool(found == len(ids))


# what is said


def _refused(chosen: Subscription, wanted: Subscriptions, moment: datetime) -> str:
    if chosen.status not in _OPEN:
        return (
            f"Subscription {chosen.id} is {chosen.status}: a payment activates what is "
            f"{' or '.join(_OPEN)}."
        )
    if not chosen.payments:
        return f"Subscription {chosen.id} was never paid for: no payment names it."
    told = [f"{one.external_id} {why_not(chosen, one, wanted, moment)}" for one in chosen.payments]
    return f"No payment activates subscription {chosen.id}: {'; '.join(told)}."


def _refuse_override(chosen: Subscription, override: str, fitting: Sequence[Payment]) -> None:
    if fitting and chosen.status in _OPEN:
        raise BadInput(
            f"override: {fitting[0].external_id} was paid for {chosen.id}; no override is needed.",
            next="Leave override empty: the plan then stands on the payment.",
        )
    if len(override.strip()) < _LEAST_REASON:
        raise BadInput(
            f"override: expected the reason in {_LEAST_REASON} signs or more, found {override!r}."
        )


def _warnings(chosen: Subscription) -> list[str]:
    told = []
    active = [one for one, status in (chosen.others or {}).items() if status == "active"]
    if active:
        told.append(f"The user has an active subscription already: {', '.join(active)}.")
    if not chosen.user_active:
        told.append("The user is deactivated, and can use nothing of it.")
    return told


def _plan(title: str, changes: tuple[Change, ...], warnings: Sequence[str]) -> Plan:
    return Plan(
        title=title,
        risk="high",
        changes=changes,
        way_back="undo puts the row back exactly as it was, unless it was changed since; what the "
        "customer used meanwhile stays used.",
        warnings=tuple(warnings),
    )


# the changes


def _until(moment: datetime, wanted: Subscriptions) -> datetime:
    return moment + timedelta(days=wanted.period_days)


def _activated(chosen: Subscription, moment: datetime, wanted: Subscriptions) -> Change:
    before = {
        "status": chosen.status,
        "renews_at": as_of(chosen.renews_at) if chosen.renews_at else None,
        "updated_at": as_of(chosen.updated_at),
    }
    after = {
        "status": "active",
        "renews_at": as_of(_until(moment, wanted)),
        "updated_at": KNOWN_AFTER_APPLY,
    }
    row = {"key": chosen.id, "before": before, "after": after}
    return plan_update(
        SUBSCRIPTIONS, [row], before={**before, "rows": 1}, after={**after, "rows": 1}
    )


def _stands_on(chosen: Subscription, payment: Payment) -> Change:
    """The payment as it has to be still when the plan is applied: a refund makes it stale."""
    seen = {
        "status": payment.status,
        "amount_jod": f"{payment.amount:.2f}",
        "subscription": chosen.id,
    }
    return Change(KIND, _PAYMENT + payment.id, before=seen, after=seen)


# what is read


def _id(name: str, value: str) -> str:
    try:
        return str(UUID(value.strip()))
    except ValueError:
        raise BadInput(
            f"{name}: expected an id such as 3f2b8c1e-…, found {value!r}.",
            next="An address of mail or a name is not kept in the record; look its id up first.",
        ) from None


def _find(database: sqlalchemy.Engine, column: str, value: str) -> list[Subscription]:
    """The subscriptions that have this id, or whose user has it, the oldest first."""
    import sqlalchemy

    query = sqlalchemy.text(_FOUND.format(column))
    siblings = sqlalchemy.text(
        "SELECT id::text, status FROM subscriptions WHERE user_id = CAST(:user AS uuid)"
    )
    found = []
    with database.connect() as connection:
        for row in connection.execute(query, {"id": value}).mappings().all():
            paid = connection.execute(sqlalchemy.text(_PAYMENTS), {"id": row["id"]}).mappings()
            family = connection.execute(siblings, {"user": row["user_id"]}).all()
            found.append(
                Subscription(
                    id=row["id"],
                    user_id=row["user_id"],
                    user_active=row["is_active"],
                    plan_id=row["plan_id"],
                    plan=row["plan"],
                    price=float(row["price"]),
                    status=row["status"],
                    renews_at=row["renews_at"],
                    updated_at=row["updated_at"],
                    payments=tuple(Payment(**{**o, "amount": float(o["amount"])}) for o in paid),
                    others={one: status for one, status in family if one != row["id"]},
                )
            )
    return found


def _only_one(user: str, found: Sequence[Subscription]) -> Subscription:
    """The one that is not active; the active one where there is no other."""
    if not found:
        raise BadInput(f"user: {user} has no subscription.")
    open_ones = [one for one in found if one.status != "active"] or list(found)
    if len(open_ones) > 1:
        told = ", ".join(f"{one.id} ({one.status}, {one.plan})" for one in open_ones)
        raise BadInput(
            f"user: {user} has {len(open_ones)} subscriptions that could be meant: {told}.",
            next="Name one by the parameter subscription.",
        )
    return open_ones[0]


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    import sqlalchemy

    with clients.database.connect() as connection:
        asked = {"id": target.removeprefix(_PAYMENT)}
        row = connection.execute(sqlalchemy.text(_STANDS_ON), asked).mappings().first()
    return dict(row) if row else None


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    raise Failed(f"{change.target}: a payment is never changed by the runbook.")


register(KIND, read=_read, apply=_apply)
