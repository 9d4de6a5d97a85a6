"""The mail account: what keeps SES from sending, and what of it can be asked for from here.

    found = mail_account.read(rb.clients)
    found.table(), found.dns_table()
    found.plan()

Sending is switched on by us. Whether the domain is verified and whether the account may write to
everyone is decided by AWS: that is asked for, and waited for.

Kinds of change: `ses-sending` (the account's switch), `ses-identity` (verification and DKIM of a
domain, asked for again) and `ses-production` (production access, asked for). What was asked of AWS
cannot be unasked, so undo takes back the switch alone.

Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutAccountDetails.html and
https://docs.aws.amazon.com/ses/latest/APIReference/API_VerifyDomainDkim.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.record.journal import Intent
from runbook.settings import MailAccess
from runbook.studio import route53
from runbook.table import Table

SENDING, IDENTITY, PRODUCTION = "ses-sending", "ses-identity", "ses-production"
_SENDING, _PRODUCTION, _DOMAIN = "ses:account/sending", "ses:account/production", "ses:identity/"
_DKIM = "{token}._domainkey.{domain}", "{token}.dkim.amazonses.com"
_SIGNS, _ASKED, _GRANTED, _ABSENT = "SUCCESS", "PENDING", "GRANTED", "ABSENT"
# How long AWS takes, as it says itself.
_LOOKS_WITHIN, _REVIEWS_WITHIN = "72 hours", "24 hours"


@dataclass(frozen=True)
class Identity:
    """The domain that mail comes from. `dkim` in AWS's words, ABSENT where it is no identity.

    `records` are the names in DNS that AWS looks for; `missing` are those that are not there.
    """

    domain: str
    verified: bool
    dkim: str
    records: Mapping[str, str]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class MailAccount:
    """The account of one region. `enforcement`: HEALTHY, PROBATION or SHUTDOWN, by AWS.

    `review` is of production access: PENDING, GRANTED, DENIED, FAILED, or empty; `said` is what AWS
    was told of the mail's purpose.
    """

    sending: bool
    production: bool
    enforcement: str
    review: str
    case: str
    said: Mapping[str, str | None]
    identity: Identity
    access: MailAccess

    def plan(self) -> Plan:
        """The plan that does what can be done from here; without changes where AWS's turn is. Pure.

        Raises BadInput when the environment does not say how to ask for production access.
        """
        changes = (*self._switched_on(), *self._verified_again(), *self._access_asked())
        return Plan(
            title="Switch mail on, and ask AWS for what is missing" if changes else "Nothing to do",
            risk="low",
            changes=changes,
            way_back="undo switches sending off again, if this switched it on; what was asked of "
            "AWS stays asked, and does no harm.",
            warnings=tuple(self._warnings()),
        )

    def to_do(self) -> list[str]:
        """What stands in the way of a mail and can be done from here, in a few words each."""
        told = {
            "sending is switched off": not self.sending and self.enforcement != "SHUTDOWN",
            f"{self.identity.domain} is not verified": bool(self._verified_again()),
            "production access is not asked for": not self.production and self.review != _ASKED,
        }
        return [problem for problem, so in told.items() if so]

    def waits(self) -> list[str]:
        """What waits for AWS, and for how long at most."""
        told = []
        if self.identity.dkim == _ASKED:
            told.append(f"AWS looks for the records of {self.identity.domain}: {_LOOKS_WITHIN}")
        if not self.production and self.review == _ASKED:
            case = f" ({self.case})" if self.case else ""
            told.append(f"AWS reviews production access{case}: {_REVIEWS_WITHIN}")
        if self.enforcement == "SHUTDOWN":
            told.append("AWS has paused sending itself: answer its case first")
        return told

    def table(self) -> Table:
        """The account, a row for each thing that a mail needs."""
        import pandas as pd

        rows: list[tuple[Status, str, str]] = [
            ("ok" if self.sending else "critical", "sending", "on" if self.sending else "off"),
            (
                "ok" if self.enforcement == "HEALTHY" else "critical",
                "AWS's opinion of the account",
                self.enforcement,
            ),
            (
                "ok" if self.production else "critical",
                "production access",
                "granted" if self.production else self._asked_for(),
            ),
            (
                "ok" if self.identity.verified else "critical",
                f"{self.identity.domain} may send",
                "verified" if self.identity.verified else "not verified",
            ),
            (
                "ok" if self.identity.dkim == _SIGNS else "critical",
                f"{self.identity.domain} signs (DKIM)",
                self.identity.dkim.replace("_", " ").lower(),
            ),
        ]
        return Table(pd.DataFrame(rows, columns=["status", "what", "is"]))

    def dns_table(self) -> Table:
        """The records that AWS looks for, and whether our zone has them."""
        import pandas as pd

        rows = [
            {
                "status": "critical" if name in self.identity.missing else "ok",
                "record": name,
                "type": "CNAME",
                "leads to": target,
                "in our zone": name not in self.identity.missing,
            }
            for name, target in self.identity.records.items()
        ]
        return Table(pd.DataFrame(rows), empty="AWS has given no records for this domain yet.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        to_do, waits = self.to_do(), self.waits()
        missing = self._missing()
        status: Status = "critical" if to_do or missing else "warning" if waits else "ok"
        told = [*to_do, *missing, *waits]
        return {
            "status": status,
            "says": "; ".join(told) + "." if told else f"{self.identity.domain} may send.",
            "to_do": to_do,
            "waits_for_aws": waits,
            "missing_records": list(self.identity.missing),
        }

    # what is to be done

    def _switched_on(self) -> list[Change]:
        if self.sending or self.enforcement == "SHUTDOWN":
            return []
        return [Change(SENDING, _SENDING, {"sending": False}, {"sending": True})]

    def _verified_again(self) -> list[Change]:
        if self.identity.dkim in (_SIGNS, _ASKED):
            return []
        before = {"dkim": self.identity.dkim}
        target = _DOMAIN + self.identity.domain
        return [Change(IDENTITY, target, before, {"dkim": KNOWN_AFTER_APPLY})]

    def _access_asked(self) -> list[Change]:
        if self.production or self.review == _ASKED:
            return []
        if not (self.access.website and self.access.use_case):
            raise BadInput(
                "mail_access: the environment does not say what mail is for, and AWS asks that "
                "before it lets an account write to everyone.",
                next="Fill in mail_access.website and mail_access.use_case in its YAML.",
            )
        before = {"review": self.review or None, **self.said}
        after = {
            "review": _ASKED,
            "mail_type": self.access.mail_type,
            "website": self.access.website,
            "use_case": self.access.use_case,
        }
        return [Change(PRODUCTION, _PRODUCTION, before, after)]

    def _warnings(self) -> list[str]:
        told = list(self._missing())
        if not self.sending:
            told.append(
                "Somebody or something has switched sending off: look at bounces and complaints "
                "first (email-not-sending)."
            )
        if self.enforcement != "HEALTHY":
            told.append(f"AWS has the account under {self.enforcement}: more bad mail ends it.")
        if self.review == "DENIED":
            told.append(f"AWS has refused production access before{self._in_case()}.")
        return told

    def _missing(self) -> list[str]:
        if not self.identity.missing:
            return []
        return [
            f"{len(self.identity.missing)} of {len(self.identity.records)} DKIM records are not "
            "in our zone: until they are, AWS verifies nothing"
        ]

    def _asked_for(self) -> str:
        return {_ASKED: "asked for", "DENIED": "refused"}.get(self.review, "none, not asked for")

    def _in_case(self) -> str:
        return f" ({self.case})" if self.case else ""


def read(clients: Clients) -> MailAccount:
    """The account of the active region, and the domain that its mail comes from.

    Raises BadInput when the environment names no domain.
    """
    domain = clients.environment.promises.mail_domain
    if not domain:
        raise BadInput(
            "promises.mail_domain: the environment names no domain that mail comes from.",
            next="Name it in the environment's YAML.",
        )
    account = clients.aws("sesv2").get_account()
    details = account.get("Details", {}).get("ReviewDetails", {})
    return MailAccount(
        sending=account["SendingEnabled"],
        production=account["ProductionAccessEnabled"],
        enforcement=account.get("EnforcementStatus", "HEALTHY"),
        review=details.get("Status", ""),
        case=details.get("CaseId", ""),
        said=_said(account),
        identity=_identity(clients, domain),
        access=clients.environment.mail_access,
    )


def _said(account: Mapping[str, Any]) -> dict[str, str | None]:
    details = account.get("Details", {})
    return {
        "mail_type": details.get("MailType"),
        "website": details.get("WebsiteURL"),
        "use_case": details.get("UseCaseDescription"),
    }


def _identity(clients: Clients, domain: str) -> Identity:
    found = _described(clients, domain)
    dkim = found.get("DkimAttributes", {})
    name, target = _DKIM
    records = {
        name.format(token=token, domain=domain): target.format(token=token)
        for token in dkim.get("Tokens", [])
    }
    return Identity(
        domain,
        verified=bool(found.get("VerifiedForSendingStatus")),
        dkim=dkim.get("Status", _ABSENT),
        records=records,
        missing=tuple(one for one in records if not _leads(clients, one, records[one])),
    )


def _leads(clients: Clients, name: str, target: str) -> bool:
    found = route53.read_records(clients.aws("route53"), name)
    return any(target in record.targets for record in found)


def _described(clients: Clients, domain: str) -> Mapping[str, Any]:
    client = clients.aws("sesv2")
    try:
        found: Mapping[str, Any] = client.get_email_identity(EmailIdentity=domain)
    except client.exceptions.NotFoundException:
        return {}
    return found


# the kinds of change


def _stays_asked(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> None:
    """What was asked of AWS is not unasked."""


def _read_sending(clients: Clients, target: str) -> Json:
    return {"sending": clients.aws("sesv2").get_account()["SendingEnabled"]}


def _switch(clients: Clients, change: Change, intent: Intent) -> None:
    once = clients.aws("sesv2", once=True)
    once.put_account_sending_attributes(SendingEnabled=change.after["sending"])


def _read_identity(clients: Clients, target: str) -> Json:
    found = _described(clients, target.removeprefix(_DOMAIN))
    return {"dkim": found.get("DkimAttributes", {}).get("Status", _ABSENT)}


def _verify(clients: Clients, change: Change, intent: Intent) -> None:
    """Asking twice is asking once: AWS gives the same records each time."""
    domain = change.target.removeprefix(_DOMAIN)
    if change.before["dkim"] == _ABSENT:
        clients.aws("sesv2", once=True).create_email_identity(EmailIdentity=domain)
    else:
        clients.aws("ses", once=True).verify_domain_dkim(Domain=domain)


def _asked_again(clients: Clients, change: Change, intent: Intent) -> bool:
    return bool(_read_identity(clients, change.target) != change.before)


def _read_production(clients: Clients, target: str) -> Json:
    account = clients.aws("sesv2").get_account()
    review = account.get("Details", {}).get("ReviewDetails", {}).get("Status")
    if review == _GRANTED and account["ProductionAccessEnabled"]:
        review = _ASKED  # it was asked for, and AWS has answered before anybody looked
    return {"review": review, **_said(account)}


def _ask(clients: Clients, change: Change, intent: Intent) -> None:
    clients.aws("sesv2", once=True).put_account_details(
        MailType=change.after["mail_type"],
        WebsiteURL=change.after["website"],
        UseCaseDescription=change.after["use_case"],
        ContactLanguage=clients.environment.mail_access.language,
        ProductionAccessEnabled=True,
    )


register(SENDING, read=_read_sending, apply=_switch)
register(IDENTITY, read=_read_identity, apply=_verify, settled=_asked_again, take_back=_stays_asked)
register(PRODUCTION, read=_read_production, apply=_ask, take_back=_stays_asked)
