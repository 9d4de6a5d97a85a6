"""Errors in AWS's own shape, for each protocol, so that unmodified clients read them.

SandboxError           an answer that the overlay gives instead of moto
├── NotInSandbox       the honest one: AWS has it, the sandbox has not (yet)
└── InvalidToken       credentials that nobody here was given
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

from studio_sandbox.control_plane.request import AwsRequest

# How each protocol's services call an unknown access key; the others say InvalidClientTokenId.
_INVALID_TOKEN = {
    "json": "UnrecognizedClientException",
    "rest-json": "UnrecognizedClientException",
    "s3": "InvalidAccessKeyId",
    "ec2": "AuthFailure",
}

Answer = tuple[int, list[tuple[str, str]], bytes]


class SandboxError(Exception):
    """An AWS-shaped error: `code` as clients match on it, `status` as HTTP says it.

    `details` are the error's further members, where the protocol is JSON.
    """

    code = "InternalFailure"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        self.code = code or self.code
        self.status = status or self.status


class NotInSandbox(SandboxError):
    """What AWS would do here, the sandbox cannot do: said plainly, never imitated."""

    code = "NotInTheSandbox"
    status = 400  # not 501: clients repeat server errors

    def __init__(self, what: str) -> None:
        super().__init__(f"not in the sandbox yet: {what}")


class InvalidToken(SandboxError):
    """The access key belongs to nobody in this account."""

    status = 403

    def __init__(self, protocol: str) -> None:
        text = "The security token included in the request is invalid."
        super().__init__(text, code=_INVALID_TOKEN.get(protocol, "InvalidClientTokenId"))


def answer(error: SandboxError, request: AwsRequest, request_id: str) -> Answer:
    """The error as the request's protocol words it: status, headers, body."""
    code, message = error.code, error.message
    headers = [("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", code)]
    if request.protocol == "cbor":
        headers += [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        return error.status, headers, _cbor({"__type": code, "message": message})
    if request.protocol in ("json", "rest-json"):
        headers.append(("Content-Type", "application/x-amz-json-1.1"))
        fields = {"__type": code, "message": message, **error.details}
        return error.status, headers, json.dumps(fields).encode()
    headers.append(("Content-Type", "text/xml"))
    return error.status, headers, _xml(request.protocol, code, escape(message), request_id)


def _xml(protocol: str, code: str, message: str, request_id: str) -> bytes:
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if protocol == "s3":
        text = f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
    elif protocol == "ec2":
        text = (
            f"<Response><Errors><Error>{error}</Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
    else:
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _cbor(fields: dict[str, str]) -> bytes:
    """A CBOR map of texts (RFC 8949, major types 5 and 3); lengths under 65536."""
    return bytes([0xA0 + len(fields)]) + b"".join(
        _cbor_text(key) + _cbor_text(value) for key, value in fields.items()
    )


def _cbor_text(text: str) -> bytes:
    raw = text.encode()
    return b"\x79" + len(raw).to_bytes(2, "big") + raw
