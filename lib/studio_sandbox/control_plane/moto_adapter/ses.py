"""SES: the account's switches, identities that say whether they are verified.

Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from email import message_from_string
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core, ses_account, ses_identities

_QUARTERS = 96  # of an hour, in a day


def patch() -> None:
    """Plain moto knows nothing of the account, and sends whatever an identity exists for."""
    from moto.ses import models, responses
    from moto.sesv2.models import SESV2Backend

    backend = models.SESBackend
    ses_identities.patch(backend, SESV2Backend, models.EmailIdentity, responses.EmailResponse)
    _refuse_in_v1(backend)
    _refuse_in_v2(SESV2Backend)
    backend.get_send_quota = _quota
    responses.EmailResponse.get_send_statistics = _send_statistics
    responses.EmailResponse.get_account_sending_enabled = _sending_enabled
    responses.EmailResponse.update_account_sending_enabled = _switch_sending


def _quota(self: Any) -> Any:
    from moto.ses import models

    quota = models.SESQuota(self.sent_message_count)
    quota.max24_hour_send, quota.max_send_rate = ses_account.quota(self)
    return quota


def _send_statistics(self: Any) -> Any:
    """Quarter-hours, as AWS counts them. Plain moto says that all mail was sent just now."""
    from moto.core.responses import ActionResult

    points = list(ses_account.state(self.backend)["sent"])
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

    return ActionResult({"Enabled": ses_account.state(self.backend)["sending"]})


def _switch_sending(self: Any) -> Any:
    from moto.core.responses import EmptyResult

    ses_account.state(self.backend)["sending"] = bool(self._get_bool_param("Enabled"))
    return EmptyResult()


def _refuse_in_v1(backend: Any) -> None:
    """Mails that the account may not send are refused, by whichever call."""
    for name in ("send_email", "send_templated_email", "send_raw_email"):
        setattr(backend, name, _checked(getattr(backend, name), v2=False))


def _refuse_in_v2(backend: Any) -> None:
    for name in ("send_email", "send_raw_email"):
        setattr(backend, name, _checked(getattr(backend, name), v2=True))


def _checked(send: Any, *, v2: bool) -> Any:
    signature = inspect.signature(send)

    def send_checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        mail = signature.bind(self, *args, **kwargs).arguments
        backend = self.core_backend if v2 else self
        source, recipients = mail["source"], mail["destinations"]
        if raw := mail.get("raw_data"):
            headers = message_from_string(raw)
            source = source or headers.get("From", "")
            named = [headers[name] for name in ("To", "Cc", "Bcc") if headers[name]]
            recipients = recipients or named
        ses_identities.settle(backend)
        ses_account.raise_if_refused(backend, source, recipients, v2=v2)
        return send(self, *args, **kwargs)

    return send_checked


def review(account: str, region: str, domain: str, *, good: bool) -> None:
    """What AWS makes of the account: in production with its domain verified, or neither.

    For 72 hours AWS has not found the records of a domain that it calls failed; it looks again
    when it is asked to verify it again.
    """
    backend = core.backend("ses", account, region)
    state = ses_account.state(backend)
    state["production"] = good
    if good:
        state["details"] = None
    if identity := backend.email_identities.get(domain):
        status = "SUCCESS" if good else "FAILED"
        identity.verification_status = identity.dkim_attributes["Status"] = status
        identity.verified_for_sending_status = good


class Mail:
    """SES of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        self._ses = core.backend("ses", account, region)

    def in_production(self, *, sent: int, until: datetime) -> None:
        """Out of AWS's mail sandbox, sending, with `sent` mails in the day before `until`."""
        ses_account.state(self._ses)["production"] = True
        first = until.replace(minute=until.minute // 15 * 15, second=0) - timedelta(days=1)
        each, rest = divmod(sent, _QUARTERS)
        ses_account.state(self._ses)["sent"] = [
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
            made.dkim_attributes["Status"] = "SUCCESS"
            made.dkim_attributes["Tokens"] = self._ses.dkim_tokens[name] = dkim_tokens
