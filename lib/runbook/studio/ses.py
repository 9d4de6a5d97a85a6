"""SES: whether the account may send, and mail that the team gets from the runbook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runbook.errors import NotReachable


@dataclass(frozen=True)
class Account:
    """What stands in the way of a mail. `verified` and `signs` are of the sender's domain."""

    sending: bool
    production: bool
    verified: bool
    signs: bool

    @property
    def problems(self) -> list[str]:
        """In a few words each; none where mail goes out."""
        told = {
            "sending is switched off": self.sending,
            "the account is in the mail sandbox": self.production,
            "the domain is not verified": self.verified,
            "the domain does not sign (DKIM)": self.signs,
        }
        return [problem for problem, fine in told.items() if not fine]


def read_account(sesv2: Any, *, domain: str) -> Account:
    """Whether mail from a domain goes out.

    Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
    """
    account = sesv2.get_account()
    try:
        identity = sesv2.get_email_identity(EmailIdentity=domain)
    except sesv2.exceptions.NotFoundException:
        identity = {}
    return Account(
        sending=account["SendingEnabled"],
        production=account["ProductionAccessEnabled"],
        verified=identity.get("VerifiedForSendingStatus", False),
        signs=identity.get("DkimAttributes", {}).get("Status") == "SUCCESS",
    )


def send(sesv2: Any, *, sender: str, to: Sequence[str], subject: str, text: str) -> None:
    """Send one plain mail to all of `to`.

    Raises NotReachable: SES does not answer, or refuses (sending off, sender not verified, over
    its quota). Source: AWS, SES API v2, SendEmail.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    content = {"Subject": {"Data": subject}, "Body": {"Text": {"Data": text}}}
    try:
        sesv2.send_email(
            FromEmailAddress=sender,
            Destination={"ToAddresses": list(to)},
            Content={"Simple": content},
        )
    except ClientError as refused:
        said = refused.response["Error"]
        raise NotReachable(f"SES refused the mail: {said['Code']}, {said['Message']}") from None
    except BotoCoreError as error:
        raise NotReachable(f"SES does not answer: {type(error).__name__}.") from None
