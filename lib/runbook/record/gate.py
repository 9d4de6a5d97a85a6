"""The second gate: finished content is searched for secrets by undoing what may hide them.

Masking (redaction.py) writes each secret in the ways it knows and looks for that. The gate goes
the other way and shares no code with it: colours, breaks, blanks, quotes and backslashes are taken
out, escapes of JSON, Python, HTML and URLs, hex and base64 are decoded, twice, and the values
themselves are looked for in what is left, over all texts of a cell together. What one of the two
overlooks the other has to overlook too before it is seen.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

SHORTEST = 8  # characters: shorter values are anybody's words
_ANSI = re.compile(r"(?:\x1b|\\u001b|\\x1b|\\033)\[[0-9;]*m")
_IGNORED = re.compile(r"(?:\\r|\\n|\\t)|[\s\\\"'`,+]")
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{11,}")
_HEX = re.compile(r"[0-9a-fA-F]{16,}")
_BROKEN = re.compile(r"(?:\\r|\\n)|[\s\\\"']")  # what may stand inside a run
_TEXT = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]{8,}")
_DEPTH = 2


def leaked(texts: Iterable[str], secrets: Mapping[str, str]) -> str:
    """The name of a secret that the texts hold together or alone; empty when there is none.

    `secrets` has names by value.
    """
    wanted = {_core(value): name for value, name in secrets.items() if len(value) >= SHORTEST}
    wanted = {core: name for core, name in wanted.items() if len(core) >= SHORTEST}
    if not wanted:
        return ""
    every = list(texts)
    for text in ("\0".join(every), "".join(every)):  # each by itself, and cut into pieces
        for seen in _readings(text, _DEPTH):
            core = _core(seen)
            for value, name in wanted.items():
                if value in core:
                    return name
    return ""


def texts_of(content: Any) -> Iterator[str]:
    """Every text in JSON-like content, keys too; lines of a multi-line text as one."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from texts_of(key)
            yield from texts_of(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from texts_of(value)


def _core(text: str) -> str:
    """A text without what printing may put between its characters."""
    return _IGNORED.sub("", _ANSI.sub("", text))


def _readings(text: str, depth: int) -> Iterator[str]:
    """The text, and what it says to whoever undoes its encodings."""
    yield text
    if not depth:
        return
    plain = html.unescape(_unescaped(_ANSI.sub("", text)))
    found = {plain, html.unescape(plain)}
    if "%" in plain or "+" in plain:
        found.add(unquote_plus(plain))
    found.discard(text)
    for reading in found:
        yield from _readings(reading, depth - 1)
    for hidden in _decoded(plain):
        yield from _readings(hidden, depth - 1)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPED.sub(lambda code: chr(int(code[1] or code[2], 16)), text.replace("\\\\", "\\"))
    # two halves of a character outside the first plane
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(text: str) -> Iterator[str]:
    """What the runs of base64 and of hex in a text hold, read from each place in turn."""
    text = _BROKEN.sub("", text)
    runs = [run.replace("-", "+").replace("_", "/") for run in _BASE64.findall(text)]
    for first in range(4):
        yield _together(base64.b64decode(_whole(run[first:], 4) + "==") for run in runs)
    digits = _HEX.findall(text)
    for first in range(2):
        yield _together(bytes.fromhex(_whole(run[first:], 2)) for run in digits)


def _whole(run: str, size: int) -> str:
    """The run as far as it can be decoded."""
    if size == 4 and len(run) % 4 == 1:
        return run[:-1]
    return run[: len(run) - len(run) % 2] if size == 2 else run


def _together(pieces: Iterable[bytes]) -> str:
    """What is text among decoded bytes: most of them were no base64 and decode to noise."""
    return "\0".join(_TEXT.findall(b"\0".join(pieces).decode("utf-8", "replace")))
