"""Rules of composite alarms: `ALARM("a") AND NOT (OK(b) OR INSUFFICIENT_DATA(c))`.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from studio_sandbox.control_plane.aws_error import NotInSandbox

_TOKEN = re.compile(
    r"\s*(?:(?P<test>ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)+)\"|"
    r"(?P<plain>[^\s()\"]+))\s*\)|(?P<word>AT_LEAST|AND|OR|NOT|TRUE|FALSE)\b|(?P<sign>[()]))"
)
States = Mapping[str, str]


class BadRule(ValueError):
    """A rule that AWS refuses; the message says where."""


class Rule:
    """A rule that can be asked whether it holds, given the states of alarms by name."""

    def __init__(self, text: str) -> None:
        """Read it whole. Raises BadRule; NotInSandbox for AT_LEAST."""
        self._tokens = list(_read(text))
        self._next = 0
        self.names: set[str] = set()
        self._holds = self._either()
        if self._next < len(self._tokens):
            raise BadRule(f"unexpected {self._peek()}")

    def holds(self, states: States) -> bool:
        """Whether it is true. An alarm that is gone is in no state at all."""
        return self._holds(states)

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        if self._next == len(self._tokens):
            raise BadRule("the rule ends too soon")
        self._next += 1
        return self._tokens[self._next - 1]

    def _either(self) -> Callable[[States], bool]:
        tests = [self._both()]
        while self._peek() == "OR":
            self._take()
            tests.append(self._both())
        return lambda states: any(test(states) for test in tests)

    def _both(self) -> Callable[[States], bool]:
        tests = [self._one()]
        while self._peek() == "AND":
            self._take()
            tests.append(self._one())
        return lambda states: all(test(states) for test in tests)

    def _one(self) -> Callable[[States], bool]:
        word, name = self._take()
        if word == "NOT":
            test = self._one()
            return lambda states: not test(states)
        if word == "(":
            test = self._either()
            if self._take()[0] != ")":
                raise BadRule("a parenthesis is not closed")
            return test
        if word in ("TRUE", "FALSE"):
            return lambda states: word == "TRUE"
        if not name:
            raise BadRule(f"unexpected {word}")
        self.names.add(name)
        return lambda states: states.get(name) == word


def _read(text: str) -> list[tuple[str, str]]:
    """Tokens: a state and an alarm's name, or a word alone."""
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise BadRule(f"invalid near {text[position : position + 20]!r}")
        if found["word"] == "AT_LEAST":
            raise NotInSandbox("AT_LEAST in the rule of a composite alarm")
        name = found["plain"] or re.sub(r"\\(.)", r"\1", found["quoted"] or "")
        name = name.rpartition(":alarm:")[2]  # an ARN names its alarm last
        tokens.append((found["test"] or found["word"] or found["sign"], name))
        position = found.end()
    return tokens
