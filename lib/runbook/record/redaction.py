"""Masking: a secret that this process knows is replaced by its name, however it was encoded.

    mask("postgresql://studio:s3cret-word@db/studio")  →  "[secret NAME]"

A value is looked for as it is, and as JSON, Python, URLs, HTML, a shell, base64 (at each of its
three alignments), hex and ANSI colouring would write it; line breaks inside it do not hide it.
Values under eight characters are not looked for by value: too much else looks like them. What has
the form of a secret (an AWS key, a JWT, a private key, a password in a URL) is masked unknown.

Not covered: pictures, compressed and encrypted data, a value that is cut short or cut into pieces
over several outputs.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from runbook import secret

SHORTEST = 8  # characters
_BETWEEN = r"(?:\x1b\[[0-9;]*m|\\u001b\[[0-9;]*m|\r?\n|\\n)*"  # what may stand inside a value
_FORMS = re.compile(
    r"(?P<aws>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b)"
    r"|(?P<jwt>\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
    r"|(?P<key>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)"
    r"|(?P<password>(?<=://)[^\s:/@'\"]*:[^\s/@'\"…]+(?=@))",
    re.DOTALL,
)
_compiled: tuple[int, re.Pattern[str] | None, dict[str, str]] = (0, None, {})


def mask(text: str) -> str:
    """The text with every secret replaced by `[secret NAME]`."""
    pattern, names = _known()
    if pattern:
        text = pattern.sub(lambda found: f"[secret {names[found.lastgroup or '']}]", text)
    return _FORMS.sub(lambda found: f"[secret: {found.lastgroup}]", text)


def mask_all(content: Any) -> Any:
    """A copy of JSON-like content with all its texts masked, keys too."""
    if isinstance(content, str):
        return mask(content)
    if isinstance(content, dict):
        return {mask_all(key): mask_all(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [mask_all(value) for value in content]
    return content


def guard_kernel(shell: Any) -> None:
    """Mask every message that a kernel sends from now on; without a kernel there is none.

    The one point that streams, results, displays, errors, replies and widgets all pass.
    """
    session = getattr(getattr(shell, "kernel", None), "session", None)
    if session is None or getattr(session, "masked_by_runbook", False):
        return
    send = session.send

    def send_masked(stream: Any, message: Any, content: Any = None, *rest: Any, **more: Any) -> Any:
        if isinstance(message, dict):
            message = {**message, "content": mask_all(message["content"])}
        return send(stream, message, mask_all(content), *rest, **more)

    session.send = send_masked
    session.masked_by_runbook = True


def encodings(value: str) -> Iterator[str]:
    """Every way in which a value is likely to be written."""
    raw = value.encode()
    yield value
    yield repr(value)[1:-1]
    for ascii_only in (True, False):
        as_json = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield as_json
        yield json.dumps(as_json)[1:-1]  # JSON within JSON
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), quoted)
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield html.escape(value).replace("&#x27;", "&#39;")
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield raw.hex()
    yield raw.hex().upper()
    for shift in range(3):
        # of what precedes and follows, only whole characters of the value itself are compared
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        first, cut = (0, 2, 3)[shift], (0, 3, 2)[(shift + len(raw)) % 3]
        inside = encoded[first : len(encoded) - cut] if cut else encoded[first:]
        yield inside
        yield inside.replace("+", "-").replace("/", "_")


def _known() -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """The pattern of all known secrets, made anew when there are more of them."""
    global _compiled
    known = secret.known()
    if _compiled[0] != len(known):
        wanted = {value: name for value, name in known.items() if len(value) >= SHORTEST}
        # the longest first: a password is part of its URL
        ordered = sorted(wanted, key=len, reverse=True)
        groups = {f"s{n}": wanted[value] for n, value in enumerate(ordered)}
        parts = [f"(?P<s{n}>{_pattern(value)})" for n, value in enumerate(ordered)]
        _compiled = (len(known), re.compile("|".join(parts)) if parts else None, groups)
    return _compiled[1], _compiled[2]


def _pattern(value: str) -> str:
    forms = {form for form in encodings(value) if len(form) >= SHORTEST - 1}
    ordered = sorted(forms - {value}, key=len, reverse=True)
    spread = _BETWEEN.join(re.escape(character) for character in value)
    return "|".join([spread, *(re.escape(form) for form in ordered)])
