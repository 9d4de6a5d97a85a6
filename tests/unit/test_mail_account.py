"""What keeps mail from going out: what is done about it from here, and what waits for AWS."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.change.kinds import kind_of
from runbook.errors import BadInput
from runbook.settings import MailAccess
from runbook.studio.mail_account import Identity, MailAccount

SIGNS = Identity("mail.example", True, "SUCCESS", {"a._domainkey.mail.example": "a.dkim"})
ACCESS = MailAccess(website="https://app.example", use_case="Links to sign in.")
SAID = {"mail_type": None, "website": None, "use_case": None}
WELL = MailAccount(True, True, "HEALTHY", "", "", SAID, SIGNS, ACCESS)


def but(**changed: Any) -> MailAccount:
    """A healthy account, but for this; `dkim` and `missing` are of its domain."""
    of_domain = {name: changed.pop(name) for name in ("dkim", "missing") if name in changed}
    verified = of_domain.get("dkim", "SUCCESS") == "SUCCESS"
    return replace(WELL, identity=replace(SIGNS, verified=verified, **of_domain), **changed)


def kinds(account: MailAccount) -> list[str]:
    return [change.kind for change in account.plan().changes]


def test_a_healthy_account_needs_nothing() -> None:
    assert kinds(WELL) == []
    assert WELL.findings()["status"] == "ok"


@pytest.mark.parametrize(
    ("account", "planned"),
    [
        (but(sending=False), ["ses-sending"]),
        (but(dkim="FAILED"), ["ses-identity"]),
        (but(dkim="ABSENT"), ["ses-identity"]),
        (but(production=False), ["ses-production"]),
        (but(production=False, review="DENIED"), ["ses-production"]),
        (
            but(sending=False, dkim="FAILED", production=False),
            ["ses-sending", "ses-identity", "ses-production"],
        ),
    ],
)
def test_what_can_be_done_is_planned_and_is_critical_until_then(
    account: MailAccount, planned: list[str]
) -> None:
    assert kinds(account) == planned
    assert len(account.to_do()) == len(planned)
    assert account.findings()["status"] == "critical"


@pytest.mark.parametrize(
    ("account", "says"),
    [
        (but(dkim="PENDING"), "looks for the records"),
        (but(production=False, review="PENDING", case="case-7"), r"\(case-7\): 24 hours"),
        (but(sending=False, enforcement="SHUTDOWN"), "paused sending itself"),
    ],
)
def test_what_waits_for_aws_is_found_and_plans_nothing(account: MailAccount, says: str) -> None:
    import re

    assert kinds(account) == []
    assert account.to_do() == []
    assert account.findings()["status"] == "warning"
    assert re.search(says, account.findings()["says"])


def test_records_that_our_zone_lacks_are_told_before_aws_looks_in_vain() -> None:
    account = but(dkim="FAILED", missing=("a._domainkey.mail.example",))
    assert account.plan().warnings[0].startswith("1 of 1 DKIM records are not in our zone")
    assert but(dkim="PENDING", missing=("a",)).findings()["status"] == "critical"


def test_access_is_not_asked_for_without_saying_what_for() -> None:
    with pytest.raises(BadInput, match="does not say what mail is for"):
        but(production=False, access=MailAccess()).plan()


@pytest.mark.parametrize(
    ("review", "production", "state"),
    [
        (None, False, "to do"),
        ("PENDING", False, "holds"),
        ("GRANTED", True, "holds"),  # AWS answered before anybody looked
        ("GRANTED", False, "moved"),  # and took it back since
        ("DENIED", False, "moved"),
    ],
)
def test_production_access_that_was_granted_has_been_asked_for(
    review: str | None, production: bool, state: str
) -> None:
    (change,) = but(production=False).plan().changes
    said = {"MailType": ACCESS.mail_type, "WebsiteURL": ACCESS.website,
            "UseCaseDescription": ACCESS.use_case}  # fmt: skip
    details = {"ReviewDetails": {"Status": review}, **said} if review else {}
    account = {"ProductionAccessEnabled": production, "Details": details}
    sesv2 = SimpleNamespace(get_account=lambda: account)
    clients: Any = SimpleNamespace(aws=lambda _: sesv2)
    assert kind_of(change).judge(clients, change, None).state == state
