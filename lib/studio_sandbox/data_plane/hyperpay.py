"""HyperPay, played: it takes payments, and tells the Studio by a webhook when one is completed."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.orders import Orders, PaymentUntold, WebhooksLost

_MOST = 500  # payments that are remembered
WEBHOOK_URL = f"https://{names.API_HOST}/v1/payments/webhook/hyperpay"
_ADDRESS = "198.51.100.20"  # TEST-NET-2: nobody's


@dataclass
class Payment:
    """One payment as HyperPay has it. `webhook` is what became of telling the Studio."""

    id: str
    status: str
    amount: str
    webhook: str = "none"


def signature(key: str, external_id: str, event: str) -> str:
    """What a webhook is signed with."""
    return hmac.new(key.encode(), f"{external_id}:{event}".encode(), hashlib.sha256).hexdigest()


class HyperPay:
    """Payments, and the address that webhooks go to. Safe between threads."""

    def __init__(
        self, orders: Orders, *, send: Callable[[Request], Response], key: Callable[[], str]
    ) -> None:
        """`key` is the merchant's, as it is when a webhook is signed."""
        self._orders, self._send, self._key = orders, send, key
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Start anew."""
        with self._lock:
            self._payments: OrderedDict[str, Payment] = OrderedDict()
            self._untold: dict[str, Payment] = {}  # as long as they are ordered
            self.webhook_url = WEBHOOK_URL

    def complete(self, external_id: str, amount: str) -> Payment:
        """A customer has paid: remember it, and tell the Studio."""
        payment = Payment(external_id, "completed", amount)
        with self._lock:
            self._payments[external_id] = payment
            while len(self._payments) > _MOST:
                self._payments.popitem(last=False)
        if self._orders.first(WebhooksLost):
            payment.webhook = "lost"
        else:
            self._tell(payment)
        return payment

    def respond(self, path: str, request: Request) -> Response:
        """Its API, for whoever has the merchant's key."""
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if len(sent) < 20:  # any key that looks like one: none is kept to compare with
            return answer(401, {"result": {"code": "800.900.300", "description": "invalid key"}})
        parts = path.strip("/").split("/")
        payments = self._all()
        match (request.method, parts):
            case ("GET", ["v1", "webhooks"]):
                return answer(200, {"url": self.webhook_url})
            case ("PUT", ["v1", "webhooks"]):
                self.webhook_url = str(request.data()["url"])
                return answer(200, {"url": self.webhook_url})
            case ("GET", ["v1", "payments"]):
                found = [asdict(one) for one in reversed(payments.values())]
                return answer(200, {"payments": found})
            case ("GET" | "POST", ["v1", "payments", wanted, *what]):
                payment = payments.get(wanted)
                if payment is None:
                    return answer(404, {"result": {"description": "no such payment"}})
                if request.method == "POST" and what == ["webhook"]:
                    self._tell(payment)  # sent again, from the dashboard
                return answer(200, asdict(payment))
        return answer(404, {"result": {"description": f"no such path: {path}"}})

    def _all(self) -> dict[str, Payment]:
        """All payments, oldest first: those that somebody made, then those that are ordered."""
        with self._lock:
            ordered = {one.external_id: one.amount for one in self._orders.all(PaymentUntold)}
            self._untold = {
                key: self._untold.get(key) or Payment(key, "completed", amount, "lost")
                for key, amount in ordered.items()
            }
            return {**self._payments, **self._untold}

    def _tell(self, payment: Payment) -> None:
        url, event = urlsplit(self.webhook_url), f"payment.{payment.status}"
        content: dict[str, Any] = {"external_id": payment.id, "event": event}
        content["signature"] = signature(self._key(), payment.id, event)
        told = self._send(
            Request(
                method="POST",
                path=url.path,
                host=url.hostname or "",
                body=json.dumps(content).encode(),
                source_ip=_ADDRESS,
            )
        )
        payment.webhook = "delivered" if told.status == 200 else f"answered {told.status}"
