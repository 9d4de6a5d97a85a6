"""SES: identities that wait for their owners, and domains that are verified by their DNS records.

Source: https://docs.aws.amazon.com/ses/latest/dg/creating-identities.html
"""

from __future__ import annotations

import hashlib
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

_SHOWN = {
    "NOT_STARTED": "NotStarted",
    "PENDING": "Pending",
    "SUCCESS": "Success",
    "FAILED": "Failed",
    "TEMPORARY_FAILURE": "TemporaryFailure",
}


def patch(backend: Any, backend_v2: Any, identity: Any, response: Any) -> None:
    """Plain moto calls every identity verified, and every domain signing, as soon as it is made."""
    _start_unverified(identity)
    backend.get_identity_verification_attributes = _verification
    backend.get_identity_dkim_attributes = _dkim
    response.verify_domain_dkim = _verify_domain_dkim
    _settle_before(backend_v2, "get_email_identity")
    _settle_before(backend_v2, "list_email_identities")
    _sign_new_domains(backend_v2)


def settle(backend: Any) -> None:
    """Domains that wait are verified once all their DKIM records stand in a zone of the account."""
    waiting = [
        one
        for one in backend.email_identities.values()
        if one.identity_type == "DOMAIN" and one.dkim_attributes.get("Status") == "PENDING"
    ]
    names = _canonical_names(backend.account_id) if waiting else set()
    for one in waiting:
        domain = one.email_identity
        wanted = {
            (f"{token}._domainkey.{domain}", f"{token}.dkim.amazonses.com")
            for token in tokens_of(backend, domain)
        }
        if wanted <= names:
            one.dkim_attributes["Status"] = one.verification_status = "SUCCESS"
            one.verified_for_sending_status = True


def tokens_of(backend: Any, domain: str) -> list[str]:
    """The three DKIM tokens of a domain: the same ones each time."""
    if domain not in backend.dkim_tokens:
        digests = (hashlib.sha256(f"{domain}/{n}".encode()).hexdigest()[:32] for n in range(3))
        backend.dkim_tokens[domain] = list(digests)
    tokens: list[str] = backend.dkim_tokens[domain]
    return tokens


def _canonical_names(account: str) -> set[tuple[str, str]]:
    zones = core.backend("route53", account, "aws").zones.values()
    return {
        (record.name.rstrip(".").lower(), str(value).rstrip(".").lower())
        for zone in zones
        for record in zone.rrsets
        if record.type == "CNAME"
        for value in record.records
    }


def _start_unverified(identity: Any) -> None:
    init = identity.__init__

    def unverified(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.verification_status = "PENDING"
        if self.dkim_attributes["SigningEnabled"]:
            self.dkim_attributes["Status"] = "PENDING"

    identity.__init__ = unverified


def _sign_new_domains(backend_v2: Any) -> None:
    """v2 asks new domains to sign at once; v1 when VerifyDomainDkim asks for it."""
    create = backend_v2.create_email_identity

    def create_email_identity(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = create(self, *args, **kwargs)
        if made.identity_type == "DOMAIN":
            _ask_to_sign(self.core_backend, made)
        return made

    backend_v2.create_email_identity = create_email_identity


def _ask_to_sign(backend: Any, identity: Any) -> None:
    identity.dkim_attributes.update(
        SigningEnabled=True, Status="PENDING", Tokens=tokens_of(backend, identity.email_identity)
    )


def _verify_domain_dkim(self: Any) -> Any:
    """The records that the domain's owner has to make; asking again changes nothing else."""
    from moto.core.responses import ActionResult

    domain = self._get_param("Domain").lower()
    self.backend.verify_domain(domain)
    identity = self.backend.email_identities[domain]
    if identity.dkim_attributes["Status"] != "SUCCESS":
        _ask_to_sign(self.backend, identity)
    return ActionResult({"DkimTokens": tokens_of(self.backend, domain)})


def _settle_before(backend_v2: Any, name: str) -> None:
    original = getattr(backend_v2, name)

    def settled(self: Any, *args: Any, **kwargs: Any) -> Any:
        settle(self.core_backend)
        return original(self, *args, **kwargs)

    setattr(backend_v2, name, settled)


def _verification(self: Any, identities: list[str] | None = None) -> dict[str, dict[str, str]]:
    settle(self)
    known = self.email_identities
    return {
        name: {"VerificationStatus": _SHOWN[known[name].verification_status]}
        for name in identities or []
        if name in known
    }


def _dkim(self: Any, identities: list[str]) -> dict[str, dict[str, Any]]:
    """Whether identities sign. An address signs as its domain does."""
    settle(self)
    answer: dict[str, dict[str, Any]] = {}
    for name in identities:
        domain = name.rpartition("@")[2]
        known = self.email_identities.get(domain)
        status = known.dkim_attributes["Status"] if known else "NOT_STARTED"
        answer[name] = {
            "DkimEnabled": bool(known and known.dkim_attributes["SigningEnabled"]),
            "DkimVerificationStatus": _SHOWN[status],
        }
        if "@" not in name and domain in self.dkim_tokens:
            answer[name]["DkimTokens"] = self.dkim_tokens[domain]
    return answer
