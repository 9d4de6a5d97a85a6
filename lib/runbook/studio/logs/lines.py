"""Log lines: what they say, and how they are shown.

Lines of the product are JSON: `timestamp`, `level`, `message`, `trace_id`, `user_id`, and more on
some; others are whatever a container prints. Nothing of a line is lost: a control character is
shown as its picture (`␛[32m`), a direction mark by its name, and Arabic stands in a box of its own
so that it does not turn the line around.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from typing import Any, NamedTuple

from runbook.table import visible

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
ERRORS = ("ERROR", "CRITICAL")
_SAME = {"WARNING": "WARN", "FATAL": "CRITICAL", "ERR": "ERROR", "TRACE": "DEBUG"}
_WORD = re.compile(r"\b(DEBUG|INFO|WARN|WARNING|ERROR|ERR|CRITICAL|FATAL|TRACE)\b")
_TRACEBACK = re.compile(r"^(Traceback \(|\w*(Error|Exception): )")
_COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL_WITHIN = 60  # characters: further on, the word is part of what is said

# What is common to all lines is shown in columns; the rest of a JSON line follows its message.
_COMMON = ("timestamp", "level", "message", "trace_id", "user_id")
_TOOK = ("latency_ms", "duration_ms")

_FOLDED = (
    (re.compile(r"\b1-[0-9a-f]{8}-[0-9a-f]{24}\b"), "‹trace›"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "‹id›"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b"), "‹ip›"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{12,}\b", re.I), "‹id›"),
    (re.compile(r"(?<![\w.])[-+]?\d+([.,]\d+)*"), "‹n›"),  # not the 1 of /v1/
)

_HTML_COLOURS = {
    "DEBUG": "#6b7280", "INFO": "#1f5fa8", "WARN": "#b26a00", "ERROR": "#b3261e",
    "CRITICAL": "#b3261e",
}  # fmt: skip
_TERMINAL = {"DEBUG": "2", "INFO": "34", "WARN": "33", "ERROR": "31", "CRITICAL": "1;31"}


class Event(NamedTuple):
    """One log event, as it was written: a tuple, since there may be millions."""

    time_ms: int  # since the epoch
    service: str
    text: str
    id: str = ""
    stream: str = ""


@dataclass(frozen=True)
class Line:
    """An event, understood as far as it can be."""

    event: Event

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Of a JSON line; empty for any other."""
        text = self.event.text
        if not text.startswith("{"):
            return {}
        try:
            content = json.loads(text)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def level(self) -> str:
        """One of LEVELS; empty where a line does not say."""
        said = self.fields.get("level")
        if said is None and not self.fields:
            plain = _COLOUR_CODE.sub("", self.event.text)
            if _TRACEBACK.match(plain):
                return "ERROR"
            found = _WORD.search(plain[:_LEVEL_WITHIN])
            said = found[0] if found else ""
        upper = str(said or "").upper()
        level = _SAME.get(upper, upper)
        return level if level in LEVELS else ""

    @property
    def message(self) -> str:
        """What it says: a JSON line's message, or all of any other line."""
        return str(self.fields.get("message", self.event.text))

    @property
    def trace_id(self) -> str:
        """The request that it belongs to; empty for none."""
        return str(self.fields.get("trace_id") or "")

    @property
    def took_ms(self) -> float | None:
        """How long what it tells of took; the line was written in the end."""
        found = next((self.fields[name] for name in _TOOK if name in self.fields), None)
        number = isinstance(found, int | float) and not isinstance(found, bool)
        return float(found) if number else None  # type: ignore[arg-type]

    @property
    def more(self) -> str:
        """What a JSON line says besides, as `name=value`, unless its message says it too."""
        words = self.message.split()
        rest = {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in self.fields.items()
            if key not in _COMMON
        }
        return " ".join(f"{key}={value}" for key, value in rest.items() if value not in words)

    @property
    def moment(self) -> datetime:
        return moment(self.event.time_ms)

    def terminal(self) -> str:
        """One line for a terminal, coloured by level."""
        code = _TERMINAL.get(self.level, "0")
        said = visible(f"{self.message}  {self.more}".rstrip())
        return (
            f"{clock(self.event.time_ms)}  \x1b[{code}m{self.level:<8}\x1b[0m"
            f"  {self.event.service:<9} {said}"
        )


@dataclass(frozen=True)
class Lines:
    """Some lines out of many, oldest first; `before` are not shown."""

    lines: tuple[Line, ...]
    before: int = 0

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(self._left_out())}</p>"] if self.before else []
        cell = 'style="text-align:left;white-space:pre-wrap;vertical-align:top"'
        rows = "".join(_row(line, cell) for line in self.lines)
        style = 'style="font-family:monospace;font-size:small;border-collapse:collapse"'
        parts.append(f"<table {style}><tbody>{rows}</tbody></table>" if rows else "<p>No line.</p>")
        return "\n".join(parts)

    def __repr__(self) -> str:
        shown = [line.terminal() for line in self.lines] or ["No line."]
        text = "\n".join([self._left_out(), *shown] if self.before else shown)
        return _COLOUR_CODE.sub("", text)  # a cell's text is kept: without colours

    def _left_out(self) -> str:
        return f"{self.before:,} older lines are not shown; these are the newest."


def moment(time_ms: int) -> datetime:
    """Milliseconds since the epoch as an aware UTC time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def clock(time_ms: int) -> str:
    """The time of day in UTC, to the millisecond."""
    return f"{moment(time_ms):%H:%M:%S.%f}"[:-3]


def shape(message: str) -> str:
    """A message with its numbers and ids folded: what it has in common with its like."""
    text = visible(_COLOUR_CODE.sub("", message)).splitlines()
    folded = text[-1] if text and text[0].startswith("Traceback") else (text or [""])[0]
    for pattern, mark in _FOLDED:
        folded = pattern.sub(mark, folded)
    return folded[:300]


def parsed(events: Iterable[Event]) -> tuple[Line, ...]:
    """Each event as a line."""
    return tuple(map(Line, events))


def _row(line: Line, cell: str) -> str:
    colour = _HTML_COLOURS.get(line.level, "#6b7280")
    said = f'<span dir="auto">{escape(visible(line.message))}</span>'
    if line.more:
        said += f' <span dir="auto" style="color:#6b7280">{escape(visible(line.more))}</span>'
    weight = "bold" if line.level in ERRORS else "normal"
    return (
        f"<tr><td {cell}>{clock(line.event.time_ms)}</td>"
        f'<td {cell}><span style="color:{colour};font-weight:{weight}">{line.level}</span></td>'
        f"<td {cell}>{escape(line.event.service)}</td><td {cell}>{said}</td></tr>"
    )
