"""mail-sandboxed: AWS has put the account back into its mail sandbox, and sending is off."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {"domain": names.MAIL_DOMAIN}


def _start(studio: Studio, details: Details) -> None:
    studio.control("POST", "misfortunes", {"misfortune": "mail-reviewed"})
    studio.pipeline("sesv2", session="Security").put_account_sending_attributes(
        SendingEnabled=False
    )


def _judge(studio: Studio, details: Details) -> list[str]:
    """Sending is on, the domain is verified, and production access is there or asked for.

    Whether AWS grants it nobody here decides: what can be done is done when it is asked for.
    """
    mail, domain = studio.aws("sesv2"), details["domain"]
    account = mail.get_account()
    asked = account.get("Details", {}).get("ReviewDetails", {}).get("Status")
    findings = []
    if not account["SendingEnabled"]:
        findings.append("sending is off for the whole account")
    if not account["ProductionAccessEnabled"] and asked != "PENDING":
        findings.append("the account is in the mail sandbox, and nobody has asked to be let out")
    try:
        identity = mail.get_email_identity(EmailIdentity=domain)
    except mail.exceptions.NotFoundException:
        return [*findings, f"{domain} is no identity"]
    if not identity["VerifiedForSendingStatus"]:
        findings.append(f"{domain} is not verified")
    signing = identity.get("DkimAttributes", {}).get("Status")
    if signing != "SUCCESS":
        findings.append(f"{domain} does not sign: {signing}")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    """AWS has let the account out again, and the domain is verified."""
    mail, domain = studio.pipeline("sesv2", session="Security"), details["domain"]
    mail.put_account_sending_attributes(SendingEnabled=True)
    known = [one["IdentityName"] for one in mail.list_email_identities()["EmailIdentities"]]
    if domain not in known:
        mail.create_email_identity(EmailIdentity=domain)
    studio.control("DELETE", "misfortunes?misfortune=mail-reviewed")


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "restore-mail")


MAIL_SANDBOXED = Drill(
    name="mail-sandboxed",
    symptom="Nobody gets the mail with the link to sign in.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("mail: *",),
)
