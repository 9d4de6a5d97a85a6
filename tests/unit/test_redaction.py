"""A known secret is masked however it was written; what only looks busy is left alone."""

from __future__ import annotations

import base64
import hashlib
import uuid

import pytest

from runbook.record import redaction
from runbook.secret import remember
from studio_sandbox.proofs.redaction import ENCODINGS

SECRETS = {
    "DSN": "postgresql://studio:pa55-Word_of/the&day@10.0.0.1:5432/studio?sslmode=require",
    "PASSWORD": "pa55-Word_of/the&day",
    "METACHARACTERS": r"a.b*c[d]e(f)g^h$i|j\k{2}",
    "QUOTES": 'it\'s "quoted" & <tagged>',
    "ARABIC": "كلمة-السر-الطويلة",
    "BLOB": '{"user": "studio", "password": "hunter2hunter2"}',
    "API_KEY": "sk-proj-9f8e7d6c5b4a3928171605f4e3d2c1b0",
    "LINES": "first line\nsecond line\n",
    "SPACES": "correct horse battery staple",
    "EIGHT": "Zq8!xY4=",
}


@pytest.fixture(scope="module", autouse=True)
def known() -> None:
    for name, value in SECRETS.items():
        remember(value, name=name)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_masked_in_every_encoding(name: str, encoding: str) -> None:
    value = SECRETS[name]
    written = ENCODINGS[encoding](value)
    masked = redaction.mask(f"before {written} after")
    assert value not in masked
    assert "[secret" in masked
    assert not _pieces_left(written, masked)


def _pieces_left(written: str, masked: str) -> list[str]:
    """What is left of it: the edges of a base64 block may be, and are shorter than this."""
    pieces = [written[n : n + 12] for n in range(max(1, len(written) - 11))]
    return [piece for piece in pieces if piece in masked]


def test_identifiers_are_left_as_they_are() -> None:
    for n in range(500):
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        for text in (
            f"arn:aws:ecs:eu-central-1:123456789012:service/ai-studio-cluster/service-{n}",
            str(uuid.UUID(digest[:32])),
            digest,
            f"plan-{digest}",
            f"https://gateway.example.com/v1/chat?n={n}",
            f"2026-11-24T10:00:{n % 60:02d}Z job {digest[:12]} took {n} ms",
            base64.b64encode(digest.encode()).decode(),
        ):
            assert redaction.mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "postgresql://studio:whatever-it-is@db.internal/studio",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_has_the_form_of_a_secret_is_masked_unknown(text: str) -> None:
    masked = redaction.mask(f"found {text} here")
    assert masked.startswith("found ")
    assert masked.endswith(" here")
    assert "[secret: " in masked
    if "studio:" not in text:  # of a URL the password is masked, and what it leads to stays
        assert not _pieces_left(text, masked)
    assert "whatever" not in masked


def test_structures_are_masked_with_their_keys_and_keep_their_shape() -> None:
    value = SECRETS["API_KEY"]
    content = {"text": [value, 1, None, True], value: {"deep": f"x{value}"}}
    masked = redaction.mask_all(content)
    shown = "[secret API_KEY]"
    assert masked == {"text": [shown, 1, None, True], shown: {"deep": f"x{shown}"}}
