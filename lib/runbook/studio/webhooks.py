"""Payment webhooks from end to end: registered, sent, taken, worked on, and what came of them.

    found = webhooks.read(rb.clients)
    found.findings(), found.paid_table(), found.registered_table(), found.line_table()

The provider tells us of a payment by a webhook; the backend makes a job of it, a worker looks at
its signature and activates what was paid for. Each station is looked at by itself.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status, in_short
from runbook.settings import PaymentProvider
from runbook.studio import payments
from runbook.studio.logs.query import recent
from runbook.studio.payments import Unactivated
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd

_LINES = """
    filter @message like /payment[ _]webhook/ or @message like /payments\\/webhook/
    | stats count(*) as lines, max(@timestamp) as last by level, message
    | sort lines desc | limit 50
"""
_DEADLINE_S = 30.0
_DELIVERED = "delivered"


@dataclass(frozen=True)
class Registered:
    """What the provider has. `url` is empty where it did not say, and `why` says why."""

    url: str
    why: str = ""
    sent: dict[str, int] = field(default_factory=dict)  # webhooks of late by what became of them


@dataclass(frozen=True)
class Webhooks:
    """What was found. `paid` is None where the database does not answer."""

    wanted: PaymentProvider | None
    registered: Registered
    lines: pd.DataFrame
    paid: tuple[Unactivated, ...] | None
    older_than_minutes: float
    unseen: tuple[str, ...] = ()

    @property
    def signature_failures(self) -> int:
        """Lines of workers that refused a signature."""
        return self._count(self.lines.message.str.contains("signature")) if len(self.lines) else 0

    @property
    def errors(self) -> int:
        """Lines that are errors, about webhooks."""
        return self._count(self.lines.level.isin(["ERROR", "CRITICAL"])) if len(self.lines) else 0

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        told = self.problems()
        status: Status = "critical" if self.paid else "warning" if told or self.unseen else "ok"
        return {
            "status": status,
            "says": in_short([*told, *self.unseen]) if told or self.unseen else self._healthy(),
            "waiting": [
                {"payment": one.payment, "subscription": one.subscription, "user": one.user,
                 "amount_jod": one.amount_jod, "minutes": round(one.minutes)}
                for one in self.paid or ()
            ],
            "signature_failures": self.signature_failures,
            "registered": self.registered.url,
            "sent": self.registered.sent,
            "unseen": list(self.unseen),
        }  # fmt: skip

    def problems(self) -> list[str]:
        """What is wrong at each station, in a sentence each. Pure."""
        told = []
        if self.paid:
            amount = sum(one.amount_jod for one in self.paid)
            told.append(
                f"{len(self.paid):,} payments of {amount:,.2f} JOD are completed, and their "
                f"subscriptions wait for more than {self.older_than_minutes:g} minutes"
            )
        if self.wanted and self.registered.url not in ("", self.wanted.webhook):
            told.append(f"the provider sends webhooks to {self.registered.url}")
        lost = {what: count for what, count in self.registered.sent.items() if what != _DELIVERED}
        if lost:
            each = ", ".join(f"{count} {what}" for what, count in lost.items())
            told.append(f"webhooks that did not arrive, by the provider's count: {each}")
        if self.signature_failures:
            told.append(f"{self.signature_failures} signatures did not match")
        elif self.errors:
            told.append(f"{self.errors} errors about webhooks are in the logs")
        return told

    def paid_table(self) -> Table:
        """Payments without what was paid for, the oldest first, to be read."""
        import pandas as pd

        rows = [
            {"paid_at": one.paid_at, "age_hours": round(one.minutes / 60, 1), "JOD": one.amount_jod,
             "subscription": one.subscription, "payment": one.external_id, "user": one.user}
            for one in self.paid or ()
        ]  # fmt: skip
        empty = "Whoever has paid has a subscription." if self.paid is not None else self.unseen[0]
        return Table(pd.DataFrame(rows), empty=empty)

    def registered_table(self) -> Table:
        """The webhook as the provider has it, beside ours, to be read."""
        import pandas as pd

        if self.wanted is None:
            return Table(pd.DataFrame(), empty="The environment names no payment provider.")
        theirs = self.registered.url or self.registered.why
        same = self.registered.url == self.wanted.webhook
        rows = [
            ("ours", self.wanted.webhook, ""),
            ("registered", theirs, "the same" if same else "not ours"),
            *(
                ("sent of late", what, f"≈ {count:,}")
                for what, count in self.registered.sent.items()
            ),
        ]
        return Table(pd.DataFrame(rows, columns=["what", "found", ""]))

    def line_table(self) -> Table:
        """What backend and workers wrote of webhooks, by message, to be read."""
        shown = self.lines.copy()
        if len(shown):
            shown["lines"] = [f"≈ {count:,}" for count in shown["lines"]]
            shown = shown.sort_values(["level", "message"])
        return Table(shown, empty="Neither backend nor workers wrote of a webhook.")

    def _count(self, which: Any) -> int:
        return int(self.lines[which].lines.sum())

    def _healthy(self) -> str:
        count = self._count(self.lines.level == "INFO") if len(self.lines) else 0
        done = f"{count:,} lines tell of webhooks that were worked on" if count else "none came"
        return f"Whoever has paid has a subscription; within the time, {done}."


def read(clients: Clients, *, minutes: int = 60) -> Webhooks:
    """Look at all stations side by side; lines of the last `minutes`."""
    environment = clients.environment
    for service in ("secretsmanager", "logs"):
        clients.aws(service)
    with ThreadPoolExecutor(2, thread_name_prefix="webhooks") as pool:
        lines = pool.submit(recent, clients, _LINES, minutes=minutes, deadline_s=_DEADLINE_S)
        registered = pool.submit(read_registered, clients)
        older = environment.promises.unactivated_after_minutes
        paid, unseen = _paid(clients, older)
    theirs = registered.result()
    if theirs.why:
        unseen = (*unseen, f"the provider was not asked: {theirs.why}")
    return Webhooks(environment.payments, theirs, lines.result(), paid, older, unseen)


def read_registered(clients: Clients) -> Registered:
    """What the provider has registered, and what became of its last webhooks."""
    from botocore.exceptions import BotoCoreError, ClientError

    wanted = clients.environment.payments
    if wanted is None:
        return Registered("", "the environment names no payment provider")
    try:
        key = clients.secret(wanted.secret)
        url = _ask(clients, f"{wanted.api}/v1/webhooks", key.reveal())["url"]
        listed = _ask(clients, f"{wanted.api}/v1/payments", key.reveal())["payments"]
    except (RunbookError, BotoCoreError, ClientError) as error:
        return Registered("", f"{type(error).__name__}")
    except (ValueError, KeyError, TypeError):
        return Registered("", "its answer cannot be read")
    sent: dict[str, int] = {}
    for one in listed:
        if one["webhook"] != "none":
            sent[one["webhook"]] = sent.get(one["webhook"], 0) + 1
    return Registered(str(url), sent=dict(sorted(sent.items())))


def _ask(clients: Clients, url: str, key: str) -> Any:
    timeout_s = clients.environment.endpoints.timeout_s
    headers = {"Authorization": f"Bearer {key}"}
    status, body = clients.ask(url, headers=headers, timeout_s=timeout_s)
    if status != 200:
        raise ValueError(status)
    return json.loads(body)


def _paid(
    clients: Clients, older_than_minutes: float
) -> tuple[tuple[Unactivated, ...] | None, tuple[str, ...]]:
    import sqlalchemy

    try:
        return (
            payments.find_unactivated(clients.database, older_than_minutes=older_than_minutes),
            (),
        )
    except (sqlalchemy.exc.SQLAlchemyError, RunbookError) as error:
        return None, (f"the database does not answer ({type(error).__name__})",)
