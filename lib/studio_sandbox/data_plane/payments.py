"""What the backend does about money: checkouts, and the webhooks of the payment provider."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import uuid
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane import worker
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.hyperpay import HyperPay
from studio_sandbox.data_plane.picture import Replica
from studio_sandbox.data_plane.stores import Stores

WEBHOOK_PATH, CHECKOUT_PATH = "/v1/payments/webhook/hyperpay", "/v1/payments/checkout"
_PAYS_AFTER_S = 2.0
_KNOWN = "SELECT id::text, user_id::text FROM payments WHERE external_id = %s"
# Somebody who has nothing yet, another one each time.
_CUSTOMER = """
    SELECT users.id::text, plans.id::text, plans.price_jod::text
    FROM users, plans
    WHERE is_active AND NOT EXISTS (
        SELECT FROM subscriptions WHERE user_id = users.id AND status IN ('active', 'pending')
    ) ORDER BY md5(users.id::text || %s), plans.price_jod LIMIT 1
"""
_SUBSCRIBE = """
    INSERT INTO subscriptions (id, user_id, plan_id, provider, external_ref)
    VALUES (%s, %s, %s, 'hyperpay', %s)
"""
_CHARGE = """
    INSERT INTO payments (id, user_id, plan_id, amount_jod, provider, external_id, meta_json)
    VALUES (%s, %s, %s, %s, 'hyperpay', %s, %s)
"""
_PAID = "UPDATE payments SET status = 'completed' WHERE external_id = %s"


def receive(stores: Stores, task: Replica, request: Request) -> Response:
    """Take a webhook: a job for the workers, who look at its signature. Raises psycopg2.Error."""
    given = request.data()
    external_id, event = str(given.get("external_id", "")), str(given.get("event", ""))
    cache = stores.redis(task.environment.get(names.REDIS_URL, ""))
    with stores.database(task.environment.get(names.DATABASE_URL, "")) as cursor:
        cursor.execute(_KNOWN, (external_id,))
        row = cursor.fetchone()
        if row is None:
            return answer(404, {"detail": f"no payment {external_id!r}"})
        payload = {"provider": "hyperpay", "payment_id": row[0], "external_id": external_id}
        payload |= {"event": event, "signature": given.get("signature")}
        job_id = worker.enqueue(cursor, cache, "payment_webhook", row[1], payload)
    return answer(200, {"job_id": job_id})


class Checkouts:
    """Customers on their way through the payment provider. One thread steps it."""

    def __init__(self, stores: Stores, hyperpay: HyperPay, seed: int) -> None:
        self._stores, self._hyperpay = stores, hyperpay
        self._dice = random.Random(f"{seed}:checkouts")  # noqa: S311  believable, not secret
        self._numbers = itertools.count()
        self.begin()

    def begin(self) -> None:
        """Start anew: nobody is on the way."""
        self._asked: list[None] = []
        self._paying: list[tuple[float, int, str, str]] = []

    def ask(self) -> None:
        """Somebody has asked for a checkout. From any thread."""
        self._asked.append(None)

    def step(self, now: float, task: Replica) -> None:
        """Write down who has begun, and let pay who has had the time. Raises psycopg2.Error."""
        database = task.environment.get(names.DATABASE_URL, "")
        while self._asked:
            with self._stores.database(database) as cursor:
                external_id, amount = self._begin(cursor)
            self._asked.pop()
            due = now + _PAYS_AFTER_S
            heapq.heappush(self._paying, (due, next(self._numbers), external_id, amount))
        while self._paying and self._paying[0][0] <= now:
            _, _, external_id, amount = self._paying[0]
            with self._stores.database(database) as cursor:
                cursor.execute(_PAID, (external_id,))  # the customer's browser comes back with it
            heapq.heappop(self._paying)
            self._hyperpay.complete(external_id, amount)

    def _begin(self, cursor: Any) -> tuple[str, str]:
        cursor.execute(_CUSTOMER, (str(self._dice.random()),))
        user, plan, amount = cursor.fetchone()
        subscription, payment = str(uuid.uuid4()), str(uuid.uuid4())
        external_id = f"HY-{payment.replace('-', '')[:16]}"
        cursor.execute(_SUBSCRIBE, (subscription, user, plan, f"HY-SUB-{subscription[:8]}"))
        about = json.dumps({"subscription_id": subscription, "period": 1})
        cursor.execute(_CHARGE, (payment, user, plan, amount, external_id, about))
        return external_id, amount
