"""Mail from end to end: whether the account and the domain may send, and what comes back.

    found = mail.read(rb.clients)
    found.findings(), found.account_table(), found.identity_table(), found.line_table()

Addresses are never shown: whom AWS no longer writes to is counted, not named.

Source: https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-messages.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.headline import Status, in_short, worst
from runbook.settings import Limits, MailLimits
from runbook.studio import ses
from runbook.studio.logs.query import recent
from runbook.studio.ses import Account
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_LINES = """
    filter @message like /SES/ or @message like /magic-link/
    | stats count(*) as lines, max(@timestamp) as last by level, message
    | sort lines desc | limit 50
"""
_DEADLINE_S = 30.0
_DAYS = 14  # of SES's own statistics


@dataclass(frozen=True)
class Identity:
    """A domain or address that mail may come from."""

    name: str
    kind: str
    verified: bool
    dkim: str

    @property
    def sender(self) -> bool:
        """Whether mail can come from it, signed where it is a domain."""
        return self.verified and (self.dkim == "SUCCESS" or self.kind != "DOMAIN")


@dataclass(frozen=True)
class Sent:
    """What was sent within two weeks, and what came back."""

    attempts: int
    bounces: int
    complaints: int

    @property
    def bounce_percent(self) -> float:
        """Of all attempts."""
        return 100 * self.bounces / self.attempts if self.attempts else 0.0

    @property
    def complaint_percent(self) -> float:
        """Of all attempts."""
        return 100 * self.complaints / self.attempts if self.attempts else 0.0


@dataclass(frozen=True)
class Mail:
    """What was found. `suppressed` counts addresses by the reason that AWS has for it."""

    domain: str
    account: Account
    enforcement: str
    quota: tuple[float, float]  # mails a day, and sent within the last
    identities: tuple[Identity, ...]
    sent: Sent
    suppressed: Mapping[str, int]
    lines: pd.DataFrame
    limits: MailLimits

    @property
    def errors(self) -> pd.DataFrame:
        """Lines about mail that are errors."""
        return (
            self.lines[self.lines.level.isin(["ERROR", "CRITICAL"])]
            if len(self.lines)
            else self.lines
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        told = self._told()
        return {
            "status": worst(*(status for status, _ in told)),
            "says": in_short([says for _, says in told]) if told else self._healthy(),
            "problems": self.account.problems,
            "quota_percent": round(self._quota_percent, 1),
            "bounce_percent": round(self.sent.bounce_percent, 2),
            "complaint_percent": round(self.sent.complaint_percent, 3),
            "suppressed": dict(self.suppressed),
            "not_verified": [one.name for one in self.identities if not one.sender],
        }

    def account_table(self) -> Table:
        """Each thing that could stand in the way, to be read."""
        import pandas as pd

        daily, used = self.quota
        account, sent = self.account, self.sent
        suppressed = ", ".join(f"{count:,} {why}" for why, count in self.suppressed.items())
        rows = [
            (_bad(not account.production), "production access",
             "granted" if account.production else "the account is in the mail sandbox"),
            (_bad(not account.sending), "sending", "on" if account.sending else "switched off"),
            (_bad(self.enforcement != "HEALTHY"), "AWS says", self.enforcement),
            (_over(self._quota_percent, self.limits.quota_percent), "quota of a day",
             f"{used:,.0f} of {daily:,.0f} mails ({self._quota_percent:.0f} %)"),
            (_by(sent.bounce_percent, self.limits.bounce_percent), "bounced",
             f"{sent.bounce_percent:.2f} % of {sent.attempts:,} in {_DAYS} days"),
            (_by(sent.complaint_percent, self.limits.complaint_percent), "complained of",
             f"{sent.complaint_percent:.3f} %"),
            ("ok", "suppressed addresses", suppressed or "none"),
        ]  # fmt: skip
        return Table(pd.DataFrame(rows, columns=["status", "what", "found"]))

    def identity_table(self) -> Table:
        """Domains and addresses that mail may come from, to be read."""
        import pandas as pd

        rows = [
            {"status": "ok" if one.sender else "critical", "identity": one.name, "kind": one.kind,
             "verified": one.verified, "signs (DKIM)": one.dkim,
             "ours": one.name == self.domain}
            for one in self.identities
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="The account has no identity: nothing can be sent.")

    def line_table(self) -> Table:
        """What the services wrote of mail, by message, to be read."""
        shown = self.lines.copy()
        if len(shown):
            shown["lines"] = [f"≈ {count:,}" for count in shown["lines"]]
            shown = shown.sort_values(["level", "message"])
        return Table(shown, empty="No service wrote of mail.")

    @property
    def _quota_percent(self) -> float:
        daily, used = self.quota
        return 100 * used / daily if daily > 0 else 0.0

    def _told(self) -> list[tuple[Status, str]]:
        """What is wrong, worst first. Pure."""
        found: list[tuple[Status, str]] = [("critical", one) for one in self.account.problems]
        if self.enforcement != "HEALTHY":
            found.append(("critical", f"AWS has the account as {self.enforcement}"))
        for percent, limits, what in (
            (self.sent.bounce_percent, self.limits.bounce_percent, "of mails bounce"),
            (self.sent.complaint_percent, self.limits.complaint_percent, "are complained of"),
        ):
            if (status := _by(percent, limits)) != "ok":
                found.append((status, f"{percent:.2f} % {what}"))
        if self._quota_percent >= self.limits.quota_percent:
            found.append(("warning", f"{self._quota_percent:.0f} % of the day's quota is used"))
        if len(self.errors):
            count = int(self.errors.lines.sum())
            found.append(("warning", f"{count} errors: {self.errors.message.iloc[0]}"))
        return found

    def _healthy(self) -> str:
        return (
            f"{self.domain} may send, and signs; {self._quota_percent:.0f} % of the day's quota "
            f"is used, {self.sent.bounce_percent:.2f} % bounce."
        )


def read(clients: Clients, *, minutes: int = 60) -> Mail:
    """Ask SES for everything, and the logs for the last `minutes`."""
    environment = clients.environment
    sesv2, client = clients.aws("sesv2"), clients.aws("ses")
    clients.aws("logs")
    with ThreadPoolExecutor(1, thread_name_prefix="mail") as pool:
        lines = pool.submit(recent, clients, _LINES, minutes=minutes, deadline_s=_DEADLINE_S)
        about = sesv2.get_account()
        domain = environment.promises.mail_domain
        return Mail(
            domain,
            ses.read_account(sesv2, domain=domain),
            about.get("EnforcementStatus", "HEALTHY"),
            (about["SendQuota"]["Max24HourSend"], about["SendQuota"]["SentLast24Hours"]),
            read_identities(sesv2),
            read_sent(client, since=SYSTEM_CLOCK.now() - timedelta(days=_DAYS)),
            read_suppressed(sesv2),
            lines.result(),
            environment.mail_limits,
        )


def read_identities(sesv2: Any) -> tuple[Identity, ...]:
    """All identities of the account by name.

    Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListEmailIdentities.html
    """
    names, token = [], None
    while True:
        page = sesv2.list_email_identities(**({"NextToken": token} if token else {}))
        names += [one["IdentityName"] for one in page["EmailIdentities"]]
        if not (token := page.get("NextToken")):
            break
    return tuple(_identity(sesv2, name) for name in sorted(names))


def read_sent(client: Any, *, since: datetime) -> Sent:
    """SES's own statistics, which reach back two weeks.

    Source: https://docs.aws.amazon.com/ses/latest/APIReference/API_GetSendStatistics.html
    """
    points = client.get_send_statistics()["SendDataPoints"]
    recent = [one for one in points if one["Timestamp"] >= since]
    return Sent(
        *(sum(one.get(key, 0) for one in recent)
          for key in ("DeliveryAttempts", "Bounces", "Complaints"))
    )  # fmt: skip


def read_suppressed(sesv2: Any) -> dict[str, int]:
    """How many addresses are suppressed, by reason.

    Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
    """
    found: Counter[str] = Counter()
    token = None
    while True:
        page = sesv2.list_suppressed_destinations(**({"NextToken": token} if token else {}))
        found.update(one["Reason"] for one in page["SuppressedDestinationSummaries"])
        if not (token := page.get("NextToken")):
            return dict(sorted(found.items()))


def _identity(sesv2: Any, name: str) -> Identity:
    found = sesv2.get_email_identity(EmailIdentity=name)
    return Identity(
        name,
        found.get("IdentityType", ""),
        bool(found.get("VerifiedForSendingStatus")),
        str(found.get("DkimAttributes", {}).get("Status", "NOT_STARTED")),
    )


def _bad(so: bool) -> Status:
    return "critical" if so else "ok"


def _over(value: float, limit: float) -> Status:
    return "warning" if value >= limit else "ok"


def _by(value: float, limits: Limits) -> Status:
    if value >= limits.critical:
        return "critical"
    return "warning" if value >= limits.warning else "ok"
