"""SES: the account of one region, who may send to whom in it, and who is suppressed.

Source: https://docs.aws.amazon.com/ses/latest/dg/request-production-access.html
"""

from __future__ import annotations

import math
import time
from email.utils import getaddresses, parseaddr
from typing import Any

from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.overlay import Context, operation
from studio_sandbox.control_plane.request import AwsRequest

DAILY_QUOTA, RATE = 50_000.0, 14.0
SANDBOX_QUOTA, SANDBOX_RATE = 200.0, 1.0  # what an account without production access has
_SIMULATOR = "simulator.amazonses.com"  # mailboxes that everyone may write to
_REASONS = {"BOUNCE", "COMPLAINT"}


class _Reviewers:
    """The people at AWS who let an account write to everyone. None: they never answer."""

    after_s: float | None = None


def answer_reviews(after_s: float) -> None:
    """From now on production access is granted so long after it was asked for."""
    _Reviewers.after_s = after_s


def state(backend: Any) -> dict[str, Any]:
    """The account in one region: its switches, what it asked for, whom it no longer writes to."""
    found = _state(backend)
    review = (found["details"] or {}).get("ReviewDetails", {})
    wait_s = math.inf if _Reviewers.after_s is None else _Reviewers.after_s
    if review.get("Status") == "PENDING" and time.monotonic() - found["asked"] >= wait_s:
        review["Status"], found["production"] = "GRANTED", True
    return found


def _state(backend: Any) -> dict[str, Any]:
    if not hasattr(backend, "sandbox_account"):
        backend.sandbox_account = {
            "sending": True,
            "production": False,
            "sent": [],  # in quarter-hours
            "details": None,
            "asked": 0.0,  # for production access, when
            "suppressed": {},
            "reasons": sorted(_REASONS),
        }
    found: dict[str, Any] = backend.sandbox_account
    return found


def quota(backend: Any) -> tuple[float, float]:
    """Mails a day, and mails a second."""
    production = state(backend)["production"]
    return (DAILY_QUOTA, RATE) if production else (SANDBOX_QUOTA, SANDBOX_RATE)


# who may send to whom


def raise_if_refused(backend: Any, source: str, recipients: Any, *, v2: bool = False) -> None:
    """Raise what SES answers to a mail that this account may not send."""
    if not state(backend)["sending"]:
        raise SandboxError(
            "Email sending is disabled for the account.",
            code="SendingPausedException" if v2 else "AccountSendingPausedException",
            status=400,
        )
    addresses = _addresses(recipients)
    needed = [source] if state(backend)["production"] else [source, *addresses]
    if unverified := [one for one in needed if not _verified(backend, one)]:
        raise SandboxError(
            "Email address is not verified. The following identities failed the check in region "
            f"{backend.region_name.upper()}: {', '.join(unverified)}",
            code="MessageRejected",
            status=400,
        )
    if backend.sent_message_count + len(addresses) > quota(backend)[0]:
        raise SandboxError(
            "Daily message quota exceeded.",
            code="TooManyRequestsException" if v2 else "Throttling",
            status=429 if v2 else 400,
        )


def _addresses(recipients: Any) -> list[str]:
    """Addresses of a v1 or v2 destination, or of a list of them."""
    lists = recipients.values() if isinstance(recipients, dict) else [recipients or []]
    return [address for _, address in getaddresses([one for each in lists for one in each])]


def _verified(backend: Any, address: str) -> bool:
    """Whether the address, or its domain, is an identity whose owner has answered."""
    _, address = parseaddr(address)
    domain = address.rpartition("@")[2].lower()
    known = [backend.email_identities.get(name) for name in (address, domain)]
    return domain == _SIMULATOR or any(
        one is not None and one.verification_status == "SUCCESS" for one in known
    )


# the account, in v2


def _backend(asked: AwsRequest, context: Context) -> Any:
    return core.backend("ses", context.account, asked.region)


@operation("ses", "GetAccount")
def _get_account(asked: AwsRequest, context: Context) -> dict[str, Any]:
    with core.LOCK:
        backend = _backend(asked, context)
        found, (daily, rate) = state(backend), quota(backend)
        answer = {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": found["production"],
            "SendingEnabled": found["sending"],
            "SendQuota": {
                "Max24HourSend": daily,
                "MaxSendRate": rate,
                "SentLast24Hours": float(backend.sent_message_count),
            },
            "SuppressionAttributes": {"SuppressedReasons": found["reasons"]},
        }
        return answer | ({"Details": found["details"]} if found["details"] else {})


@operation("ses", "PutAccountDetails")
def _put_account_details(asked: AwsRequest, context: Context) -> dict[str, Any]:
    """Production access is asked for, and waits for people at AWS; where nothing moves for good."""
    given = dict(asked.parameters)
    with core.LOCK:
        found = state(_backend(asked, context))
        if (found["details"] or {}).get("ReviewDetails", {}).get("Status") == "PENDING":
            raise _refused("ConflictException", "There is a review of this account already.", 409)
        wanted = given.pop("ProductionAccessEnabled", False) and not found["production"]
        review = {"ReviewDetails": {"Status": "PENDING", "CaseId": "case-sandbox-1"}}
        found["details"], found["asked"] = given | (review if wanted else {}), time.monotonic()
    return {}


@operation("ses", "PutAccountSendingAttributes")
def _put_account_sending(asked: AwsRequest, context: Context) -> dict[str, Any]:
    with core.LOCK:
        sending = bool(asked.parameters.get("SendingEnabled", False))
        state(_backend(asked, context))["sending"] = sending
    return {}


@operation("ses", "PutAccountSuppressionAttributes")
def _put_account_suppression(asked: AwsRequest, context: Context) -> dict[str, Any]:
    reasons = asked.parameters.get("SuppressedReasons") or []
    if not set(reasons) <= _REASONS:
        raise _refused("BadRequestException", f"no reasons of suppression: {reasons}")
    with core.LOCK:
        state(_backend(asked, context))["reasons"] = sorted(reasons)
    return {}


# the suppression list


@operation("ses", "PutSuppressedDestination")
def _suppress(asked: AwsRequest, context: Context) -> dict[str, Any]:
    address, reason = asked.parameters["EmailAddress"], asked.parameters["Reason"]
    if reason not in _REASONS:
        raise _refused("BadRequestException", f"no reason of suppression: {reason}")
    suppressed = {"EmailAddress": address, "Reason": reason, "LastUpdateTime": time.time()}
    with core.LOCK:
        state(_backend(asked, context))["suppressed"][address.lower()] = suppressed
    return {}


@operation("ses", "GetSuppressedDestination")
def _get_suppressed(asked: AwsRequest, context: Context) -> dict[str, Any]:
    with core.LOCK:
        return {"SuppressedDestination": dict(_suppressed(asked, context))}


@operation("ses", "DeleteSuppressedDestination")
def _forgive(asked: AwsRequest, context: Context) -> dict[str, Any]:
    with core.LOCK:
        address = _suppressed(asked, context)["EmailAddress"].lower()
        del state(_backend(asked, context))["suppressed"][address]
    return {}


@operation("ses", "ListSuppressedDestinations")
def _list_suppressed(asked: AwsRequest, context: Context) -> dict[str, Any]:
    """All of them, oldest first, in one page."""
    reasons = asked.parameters.get("Reason") or asked.parameters.get("Reasons") or _REASONS
    with core.LOCK:
        found = state(_backend(asked, context))["suppressed"].values()
        return {"SuppressedDestinationSummaries": [o for o in found if o["Reason"] in reasons]}


def _suppressed(asked: AwsRequest, context: Context) -> dict[str, Any]:
    address = asked.parameters["EmailAddress"]
    found = state(_backend(asked, context))["suppressed"].get(address.lower())
    if not found:
        message = f"Email address {address} does not exist on your suppression list."
        raise _refused("NotFoundException", message, 404)
    return dict(found)


def _refused(code: str, message: str, status: int = 400) -> SandboxError:
    return SandboxError(message, code=code, status=status)
