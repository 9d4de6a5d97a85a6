"""Payments and the subscriptions that they are for: whether each has what was paid for.

A payment names its subscription in `meta_json` (`subscription_id`). The provider's webhook
activates it; a webhook that never came leaves it `pending`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy

_UNACTIVATED = """
    SELECT {} FROM payments
    JOIN subscriptions ON subscriptions.id::text = payments.meta_json ->> 'subscription_id'
    WHERE payments.status = 'completed' AND subscriptions.status = 'pending'
      AND payments.created_at < (now() AT TIME ZONE 'UTC') - make_interval(mins => :minutes)
"""
_EACH = """
    payments.id::text, payments.external_id, subscriptions.id::text, payments.user_id::text,
    payments.amount_jod::float, payments.created_at,
    extract(epoch FROM (now() AT TIME ZONE 'UTC') - payments.created_at)::float / 60
"""
_UNLIKE_PLAN = """
    SELECT count(*) FROM payments
    JOIN plans ON plans.id = payments.plan_id
    LEFT JOIN subscriptions ON subscriptions.id::text = payments.meta_json ->> 'subscription_id'
    WHERE payments.status = 'completed'
      AND (payments.amount_jod = 0 OR subscriptions.plan_id <> payments.plan_id)
"""


@dataclass(frozen=True)
class Unactivated:
    """A payment whose subscription still waits. `paid_at` is naive and in UTC, as in the table."""

    payment: str
    external_id: str
    subscription: str
    user: str
    amount_jod: float
    paid_at: datetime
    minutes: float


def find_unactivated(
    database: sqlalchemy.Engine, *, older_than_minutes: float
) -> tuple[Unactivated, ...]:
    """Completed payments of longer ago whose subscription still waits, the oldest first."""
    import sqlalchemy

    query = _UNACTIVATED.format(_EACH) + " ORDER BY payments.created_at, payments.id"
    with database.connect() as connection:
        rows = connection.execute(sqlalchemy.text(query), {"minutes": round(older_than_minutes)})
        return tuple(Unactivated(*row) for row in rows)


def count_unactivated(database: sqlalchemy.Engine, *, older_than_minutes: float) -> int:
    """Completed payments of longer ago whose subscription still waits to be activated."""
    return _count(database, _UNACTIVATED.format("count(*)"), minutes=round(older_than_minutes))


def count_unlike_plan(database: sqlalchemy.Engine) -> int:
    """Completed payments of nothing, or for another plan than the subscription's."""
    return _count(database, _UNLIKE_PLAN)


def _count(database: sqlalchemy.Engine, query: str, **values: int) -> int:
    import sqlalchemy

    with database.connect() as connection:
        return int(connection.execute(sqlalchemy.text(query), values).scalar_one())
