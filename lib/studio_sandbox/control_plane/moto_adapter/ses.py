"""SES: the account's switches, identities that say whether they are verified.

Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_DAILY_QUOTA, _RATE = 50_000.0, 14.0
_QUARTERS = 96  # of an hour, in a day
_SANDBOX_QUOTA, _SANDBOX_RATE = 200.0, 1.0  # what an account without production access has


def patch() -> None:
    """Plain moto calls every identity verified, and knows nothing of the account."""
    from moto.ses import models, responses

    backend = models.SESBackend
    backend.get_send_quota = _quota
    responses.EmailResponse.get_send_statistics = _send_statistics
    backend.get_identity_verification_attributes = _verification
    responses.EmailResponse.get_account_sending_enabled = _sending_enabled
    responses.EmailResponse.update_account_sending_enabled = _switch_sending
    _start_unverified(models.EmailIdentity)


def _state(backend: Any) -> dict[str, Any]:
    """The account in one region: sending, production access, what was sent in quarter-hours."""
    if not hasattr(backend, "sandbox_account"):
        backend.sandbox_account = {"sending": True, "production": False, "sent": []}
    state: dict[str, Any] = backend.sandbox_account
    return state


def _quota(self: Any) -> Any:
    from moto.ses import models

    quota = models.SESQuota(self.sent_message_count)
    production = _state(self)["production"]
    quota.max24_hour_send = _DAILY_QUOTA if production else _SANDBOX_QUOTA
    quota.max_send_rate = _RATE if production else _SANDBOX_RATE
    return quota


def _send_statistics(self: Any) -> Any:
    """Quarter-hours, as AWS counts them. Plain moto says that all mail was sent just now."""
    from moto.core.responses import ActionResult

    points = list(_state(self.backend)["sent"])
    if since := self.backend.sent_message_count - sum(
        point["DeliveryAttempts"] for point in points
    ):
        now = datetime.now(UTC)
        points.append(_sent(now.replace(minute=now.minute // 15 * 15, second=0), since))
    return ActionResult({"SendDataPoints": points})


def _sent(moment: datetime, mails: int) -> dict[str, Any]:
    nothing = {"Bounces": 0, "Complaints": 0, "Rejects": 0}
    return {"Timestamp": moment.replace(microsecond=0), "DeliveryAttempts": mails, **nothing}


def _sending_enabled(self: Any) -> Any:
    from moto.core.responses import ActionResult

    return ActionResult({"Enabled": _state(self.backend)["sending"]})


def _switch_sending(self: Any) -> Any:
    from moto.core.responses import EmptyResult

    _state(self.backend)["sending"] = bool(self._get_bool_param("Enabled"))
    return EmptyResult()


def account(account_id: str, region: str) -> dict[str, Any]:
    """What SES v2 GetAccount answers; plain moto has no such operation."""
    backend = core.backend("ses", account_id, region)
    state, quota = _state(backend), backend.get_send_quota()
    return {
        "DedicatedIpAutoWarmupEnabled": False,
        "EnforcementStatus": "HEALTHY",
        "ProductionAccessEnabled": state["production"],
        "SendingEnabled": state["sending"],
        "SendQuota": {
            "Max24HourSend": quota.max24_hour_send,
            "MaxSendRate": quota.max_send_rate,
            "SentLast24Hours": float(quota.sent_last24_hours),
        },
        "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
    }


def _verification(self: Any, identities: list[str] | None = None) -> dict[str, dict[str, str]]:
    return {
        name: {"VerificationStatus": self.email_identities[name].verification_status.capitalize()}
        for name in identities or []
        if name in self.email_identities
    }


def _start_unverified(identity: Any) -> None:
    """A new identity waits for its owner's answer, as in AWS."""
    init = identity.__init__

    def unverified(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.verification_status = "PENDING"

    identity.__init__ = unverified


class Mail:
    """SES of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        self._ses = core.backend("ses", account, region)

    def in_production(self, *, sent: int, until: datetime) -> None:
        """Out of AWS's mail sandbox, sending, with `sent` mails in the day before `until`."""
        _state(self._ses)["production"] = True
        first = until.replace(minute=until.minute // 15 * 15, second=0) - timedelta(days=1)
        each, rest = divmod(sent, _QUARTERS)
        _state(self._ses)["sent"] = [
            _sent(first + timedelta(minutes=15 * n), each + (n < rest)) for n in range(_QUARTERS)
        ]
        self._ses.sent_message_count = sent

    def identity(self, name: str, *, dkim_tokens: list[str], created: datetime) -> None:
        """A verified address, or (with tokens) a domain that signs with DKIM."""
        signing = {"NextSigningKeyLength": "RSA_2048_BIT"} if dkim_tokens else None
        made = self._ses.create_email_identity_v2(name, None, signing, None)
        made.verification_status = "SUCCESS"
        made.verified_for_sending_status = made.feedback_forwarding_status = True
        if dkim_tokens:
            made.dkim_attributes["LastKeyGenerationTimestamp"] = created.isoformat()
            made.dkim_attributes["Tokens"] = self._ses.dkim_tokens[name] = dkim_tokens
