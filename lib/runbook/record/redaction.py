"""Masking: a secret that this process knows is replaced by its name, however it was encoded.

    mask("postgresql://studio:s3cret-word@db/studio")  →  "[secret NAME]"

A value is looked for as it is, and as JSON, Python, URLs, HTML, a shell, base64 (at each of its
three alignments), hex and ANSI colouring would write it; line breaks inside it do not hide it.
Values under eight characters are not looked for by value: too much else looks like them. What has
the form of a secret (an AWS key, a JWT, a private key, a provider's key, a password in a URL) is
masked unknown.

Not covered: pictures, compressed and encrypted data, a value that is cut short.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html.entities import codepoint2name
from typing import Any
from urllib.parse import quote, quote_plus

from runbook import secret

SHORTEST = 8  # characters
# What may stand between the characters of a value: colours, breaks, and backslashes of escapes.
_COLOUR = r"(?:\x1b|\\+(?:u001b|x1b|033))\[[0-9;]*m"
_NOISE = re.compile(rf"{_COLOUR}|\r|\n|\\+[nr]")
_BETWEEN = rf"(?:{_COLOUR}|\r?\n|\\+[nr]|%(?:25)*0[AaDd]|&(?:amp;)*#1[03];|\\)*"
_PIECE = re.compile(rf"(?P<noise>{_NOISE.pattern})|.", re.DOTALL)
_AND, _END = r"(?:&|%(?:25)*26)(?:amp(?:;|%(?:25)*3[Bb]))*", r"(?:;|%(?:25)*3[Bb])"  # of HTML
_BROKEN_OFF = re.compile(r"(?:\x1b(?:\[[0-9;]*)?|\r|\\)\Z")  # the beginning of one of these
_FORMS = re.compile(
    r"(?P<aws>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b)"
    r"|(?P<jwt>\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
    r"|(?P<key>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)"
    r"|(?P<token>\b(?:sk-[\w-]{20,}|gh[pousr]_\w{36,}|xox[abprs]-[\w-]{16,}|AIza[\w-]{35}))"
    r"|(?P<password>(?<=://)[^\s:/@'\"]*:[^\s/@'\"…]+(?=@))",
    re.DOTALL,
)


def mask(text: str) -> str:
    """The text with every secret replaced by `[secret NAME]`."""
    return _FORMS.sub(lambda hit: f"[secret: {hit.lastgroup}]", mask_known(text))


def mask_known(text: str) -> str:
    """The text with the secrets that this process has held replaced, and no others."""
    for each in _candidates(text):
        text = each.pattern.sub(f"[secret {each.name}]", text)
    return text


def held_in(text: str) -> list[str]:
    """Names of the secrets that the text holds, however they are encoded."""
    return sorted(each.name for each in _candidates(text) if each.pattern.search(text))


def mask_all(content: Any, masked: Callable[[str], str] = mask) -> Any:
    """A copy of JSON-like content with all its texts masked, keys too."""
    if isinstance(content, str):
        return masked(content)
    if isinstance(content, dict):
        return {mask_all(key, masked): mask_all(each, masked) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [mask_all(each, masked) for each in content]
    return content


def looks_like_a_secret(text: str) -> str:
    """The form of a secret that the text has: `aws`, `jwt`, `key`, `token`, `password`; or none."""
    found = _FORMS.search(text)
    return (found.lastgroup or "") if found else ""


def unfinished(text: str) -> int:
    """How many characters at the end may be the beginning of a secret that goes on elsewhere."""
    forms = _Known.now().letters
    longest = max(map(len, forms), default=0)
    whole = _BROKEN_OFF.sub("", text)
    pieces = _PIECE.finditer(whole, max(0, len(whole) - 8 * longest))
    letters = [piece for piece in pieces if not piece["noise"]][-longest:]
    tail = "".join(piece[0] for piece in letters)
    begun = max((_begun(form, tail) for form in forms), default=0) if tail else 0
    return len(text) - letters[-begun].start() if begun else 0


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


@dataclass
class _Sought:
    """One secret as it is looked for."""

    value: str
    name: str

    @cached_property
    def core(self) -> str:
        """Its longest run of letters and digits: no escape changes it, only noise comes between."""
        return max(re.findall(r"[0-9A-Za-z]+", _NOISE.sub("", self.value)), key=len, default="")

    @cached_property
    def forms(self) -> list[str]:
        """Its encodings, the longest first."""
        found = {form for form in encodings(self.value) if len(form) >= SHORTEST - 1}
        return sorted(found, key=len, reverse=True)

    @cached_property
    def letters(self) -> list[str]:
        """The forms without the noise that may stand inside them."""
        return [_NOISE.sub("", form) for form in self.forms]

    @cached_property
    def opaque(self) -> list[str]:
        """The forms in which the core is not to be seen."""
        return [form for form in self.letters if self.core not in form]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Costs milliseconds, and is made for a text that may hold the value."""
        characters = _NOISE.sub("", self.value)
        spread = _BETWEEN.join(map(_written, characters))
        return re.compile("|".join([spread, *map(re.escape, self.forms)]))

    def may_be_in(self, text: str, bare: str) -> bool:
        """Whether a closer look is worth it. `bare` is the text without noise."""
        return self.core in bare or any(form in bare for form in self.opaque)


def _candidates(text: str) -> list[_Sought]:
    """The secrets that may be in a text, the longest first."""
    secrets = _Known.now().secrets
    bare = _bare(text) if secrets else ""
    return [each for each in secrets if each.may_be_in(text, bare)]


def _bare(text: str) -> str:
    """The text without noise; where that can be but line breaks, it is soon done."""
    if "\x1b" in text or "\\" in text:
        return _NOISE.sub("", text)
    return text.replace("\n", "").replace("\r", "")


class _Known:
    """All secrets of this process, looked up anew when there are more of them."""

    _latest: _Known | None = None

    def __init__(self, known: Mapping[str, str]) -> None:
        self.count = len(known)
        # the longest first: a password is part of its URL
        values = sorted((v for v in known if len(v) >= SHORTEST), key=len, reverse=True)
        self.secrets = [_sought(value, known[value]) for value in values]

    @cached_property
    def letters(self) -> set[str]:
        """Every form of every secret, without noise."""
        return {form for each in self.secrets for form in each.letters}

    @classmethod
    def now(cls) -> _Known:
        known = secret.known()
        if cls._latest is None or cls._latest.count != len(known):
            cls._latest = cls(known)
        return cls._latest


@lru_cache(maxsize=1024)
def _sought(value: str, name: str) -> _Sought:
    return _Sought(value, name)


def _written(character: str) -> str:
    """A pattern for one character in the escapes of URLs, HTML, JSON and Python, however nested."""
    plain = re.escape(character)
    if character.isascii() and character.isalnum():
        return plain
    if character == "'":  # a shell leaves its quotes for it: '"'"'
        quote, double = _escaped("'"), _escaped('"')
        left = _BETWEEN.join([quote, double, quote, double, quote])
        return f"(?:{left}|{quote})"
    return _escaped(character)


def _escaped(character: str) -> str:
    plain = re.escape(character)
    code = ord(character)
    units = character.encode("utf-16-be").hex()
    ways = [
        plain,
        "".join(rf"%(?:25)*{_hex(f'{byte:02x}')}" for byte in character.encode()),
        rf"{_AND}#(?:{code}|x0*{_hex(f'{code:x}')}){_END}",
        "".join(rf"\\+u{_hex(units[n : n + 4])}" for n in range(0, len(units), 4)),
    ]
    if code in codepoint2name:
        ways.append(rf"{_AND}{codepoint2name[code]}{_END}")
    if code < 256:
        ways.append(rf"\\+x{_hex(f'{code:02x}')}")
    ways += {" ": [r"\+"], "\t": [r"\\+t"]}.get(character, [])
    return f"(?:{'|'.join(ways)})"


def _hex(digits: str) -> str:
    """Hex digits in either case."""
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _begun(form: str, tail: str) -> int:
    """The most letters of a form that the tail ends with, when the form is not whole."""
    end = len(form) - 1
    while (at := form.rfind(tail[-1:], 0, end)) >= 0:
        if tail.endswith(form[: at + 1]):
            return at + 1
        end = at
    return 0
