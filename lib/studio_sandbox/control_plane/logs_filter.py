"""CloudWatch Logs filter patterns, whole: terms, JSON selectors, space-delimited fields.

`compile_pattern` turns a pattern into a predicate over a message. Patterns that AWS would refuse
raise BadPattern with the reason. Source:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Predicate = Callable[[str], bool]
Test = Callable[[Any], bool]

_MOST_REGEXES = 2  # of one pattern
_MISSING = object()


class BadPattern(ValueError):
    """A pattern that AWS refuses; the message says where."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Predicate:
    """The predicate of a pattern; an empty one matches everything. Raises BadPattern."""
    pattern = pattern.strip()
    if not pattern:
        return lambda message: True
    if pattern.startswith("{"):
        return _json_pattern(_inside(pattern, "}"))
    if pattern.startswith("["):
        return _delimited_pattern(_inside(pattern, "]"))
    return _term_pattern(pattern)


def _inside(pattern: str, closing: str) -> str:
    if not pattern.endswith(closing) or len(pattern) < 2:
        raise BadPattern(f"the pattern starts with {pattern[0]} and does not end with {closing}")
    return pattern[1:-1]


# terms: ERROR "exact phrase" ?any -not %regex%

_TERM = re.compile(
    r"(?P<mark>[?-]?)(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|%(?P<regex>(?:[^%\\]|\\.)+)%"
    r"|(?P<word>[^\s\"%]+))(?=\s|$)"
)


def _term_pattern(pattern: str) -> Predicate:
    """All plain terms, none of the `-` ones; `?` terms count only where no term is plain."""
    found: dict[str, list[Predicate]] = {"": [], "?": [], "-": []}
    position = 0
    regexes = 0
    while position < len(pattern):
        term = _TERM.match(pattern, position)
        if not term:
            raise BadPattern(f"invalid character(s) near {pattern[position : position + 20]!r}")
        regexes += term["regex"] is not None
        found[term["mark"]].append(_term(term))
        position = term.end() + len(pattern[term.end() :]) - len(pattern[term.end() :].lstrip())
    _check_regexes(regexes)
    wanted, either, unwanted = found[""], found["?"], found["-"]
    return lambda message: (
        all(test(message) for test in wanted)
        and (bool(wanted) or not either or any(test(message) for test in either))
        and not any(test(message) for test in unwanted)
    )


def _term(term: re.Match[str]) -> Predicate:
    if term["regex"] is not None:
        search = _regex(term["regex"]).search
        return lambda message: search(message) is not None
    text = term["word"] if term["quoted"] is None else _unquote(term["quoted"])
    if term["word"] and not re.fullmatch(r"\w+", text):
        raise BadPattern(f"invalid character(s) in term {text!r}: put it in double quotes")
    return lambda message: text in message


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _check_regexes(count: int) -> None:
    if count > _MOST_REGEXES:
        raise BadPattern(f"{count} regular expressions, and at most {_MOST_REGEXES} are allowed")


def _regex(text: str) -> re.Pattern[str]:
    if re.search(r"(?<!\\)[()]", text):
        raise BadPattern(f"groups are not supported in regular expressions: %{text}%")
    try:
        return re.compile(text)
    except re.error as error:
        raise BadPattern(f"invalid regular expression %{text}%: {error}") from error


# what both { } and [ ] are made of

_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>\"(?:[^\"\\]|\\.)*\")|(?P<regex>%(?:[^%\\]|\\.)+%)"
    r"|(?P<operator>&&|\|\||!=|>=|<=|=|>|<|\(|\))"
    r"|(?P<path>\$(?:\.?\[[^\]]+\]|\.[\w@*-]+)+)"
    r"|(?P<word>[^\s()&|=!<>\"]+))"
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


class _Tokens:
    """The tokens of an expression, read from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = list(self._read(text))
        self._next = 0
        _check_regexes(sum(token.kind == "regex" for token in self._tokens))

    @staticmethod
    def _read(text: str) -> Iterator[_Token]:
        position, text = 0, text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if not found:
                raise BadPattern(f"invalid character(s) near {text[position : position + 20]!r}")
            yield _Token(str(found.lastgroup), found[found.lastgroup or 0])
            position = found.end()

    def peek(self) -> str:
        """The next token's text; empty at the end."""
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def take(self, *kinds: str) -> _Token:
        """The next token, which must be of one of these kinds. Raises BadPattern."""
        if self._next == len(self._tokens):
            raise BadPattern(f"the pattern ends where a {' or '.join(kinds)} was expected")
        token = self._tokens[self._next]
        if kinds and token.kind not in kinds:
            raise BadPattern(f"expected a {' or '.join(kinds)}, found {token.text!r}")
        self._next += 1
        return token

    def finish(self) -> None:
        """Raises BadPattern when anything is left."""
        if self._next < len(self._tokens):
            raise BadPattern(f"unexpected {self.peek()!r}")


def _either(tokens: _Tokens, condition: Callable[[_Tokens], Test]) -> Test:
    """Conditions joined by `||`, which binds less than `&&`."""
    test = _both(tokens, condition)
    while tokens.peek() == "||":
        tokens.take()
        test = _or(test, _both(tokens, condition))
    return test


def _both(tokens: _Tokens, condition: Callable[[_Tokens], Test]) -> Test:
    test = _group(tokens, condition)
    while tokens.peek() == "&&":
        tokens.take()
        test = _and(test, _group(tokens, condition))
    return test


def _group(tokens: _Tokens, condition: Callable[[_Tokens], Test]) -> Test:
    if tokens.peek() != "(":
        return condition(tokens)
    tokens.take()
    test = _either(tokens, condition)
    if tokens.take("operator").text != ")":
        raise BadPattern("a parenthesis is not closed")
    return test


def _or(left: Test, right: Test) -> Test:
    return lambda subject: left(subject) or right(subject)


def _and(left: Test, right: Test) -> Test:
    return lambda subject: left(subject) and right(subject)


# { $.level = "ERROR" && $.latency_ms > 500 }


def _json_pattern(text: str) -> Predicate:
    tokens = _Tokens(text)
    test = _either(tokens, _json_condition)
    tokens.finish()

    def matches(message: str) -> bool:
        if message[:1] not in "{[" and message.lstrip()[:1] not in ("{", "["):
            return False
        try:
            return test(json.loads(message))
        except ValueError:
            return False

    return matches


def _json_condition(tokens: _Tokens) -> Test:
    path = _path(tokens.take("path").text)
    operator = tokens.take("operator", "word").text
    if operator.upper() == "IS":
        return _is(path, tokens.take("word").text.upper())
    if operator.upper() == "NOT":
        if tokens.take("word").text.upper() != "EXISTS":
            raise BadPattern("NOT is followed by EXISTS")
        return lambda subject: not list(_values(subject, path))
    compare = _comparison(operator, tokens.take("word", "quoted", "regex"))
    return lambda subject: any(compare(value) for value in _values(subject, path))


def _is(path: list[str | int], what: str) -> Test:
    wanted = {"NULL": None, "TRUE": True, "FALSE": False}.get(what, _MISSING)
    if wanted is _MISSING:
        raise BadPattern(f"IS is followed by NULL, TRUE or FALSE, not by {what}")
    return lambda subject: any(value is wanted for value in _values(subject, path))


def _path(text: str) -> list[str | int]:
    """`$.a.b[0]['c d'][*]` as steps; `*` is any element."""
    steps: list[str | int] = []
    for name, bracket in re.findall(r"\.([\w@*-]+)|\[([^\]]+)\]", text):
        if name:
            steps.append(name)
        elif bracket.isdecimal():
            steps.append(int(bracket))
        else:
            steps.append(bracket.strip("'\""))
    return steps


def _values(subject: Any, path: list[str | int]) -> Iterator[Any]:
    """The values that a path leads to: none, one, or several where it has a `*`."""
    if not path:
        yield subject
        return
    step, rest = path[0], path[1:]
    if step == "*":
        inner = subject.values() if isinstance(subject, dict) else subject
        for value in inner if isinstance(subject, (dict, list)) else ():
            yield from _values(value, rest)
    elif isinstance(step, int):
        if isinstance(subject, list) and step < len(subject):
            yield from _values(subject[step], rest)
    elif isinstance(subject, dict) and step in subject:
        yield from _values(subject[step], rest)


def _comparison(operator: str, operand: _Token) -> Test:
    if operator in ("=", "!="):
        equal = _equality(operand)
        return equal if operator == "=" else lambda value: not equal(value)
    number = _number(operand.text) if operand.kind == "word" else None
    if number is None:
        raise BadPattern(f"{operator} compares with a number, not with {operand.text}")
    limit = number
    ordered: dict[str, Callable[[float], bool]] = {
        ">": lambda value: value > limit,
        ">=": lambda value: value >= limit,
        "<": lambda value: value < limit,
        "<=": lambda value: value <= limit,
    }
    if operator not in ordered:
        raise BadPattern(f"{operator!r} is no comparison")
    compare = ordered[operator]
    return lambda value: (found := _as_number(value)) is not None and compare(found)


def _equality(operand: _Token) -> Test:
    """Numbers compare as numbers, texts with `*` as wildcard, `%…%` as a regular expression."""
    if operand.kind == "regex":
        search = _regex(operand.text[1:-1]).search
        return lambda value: search(_text(value)) is not None
    quoted = operand.kind == "quoted"
    text = _unquote(operand.text[1:-1]) if quoted else operand.text
    number = None if quoted else _number(text)
    wildcard = re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)

    def equal(value: Any) -> bool:
        if number is not None and (found := _as_number(value)) is not None:
            return found == number
        if isinstance(value, str) or not quoted:
            return wildcard.fullmatch(_text(value)) is not None
        return False

    return equal


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_number(value: Any) -> float | None:
    """A JSON number, or a field of a space-delimited line that reads as one."""
    if isinstance(value, _Field):
        return _number(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# [ip, user, ..., status = 5*, bytes > 1000]


class _Field(str):
    """A field of a space-delimited line: text, compared as a number where a number is asked."""

    __slots__ = ()


_FIELDS = re.compile(r"\[([^\]]*)\]|\"([^\"]*)\"|(\S+)")


def _delimited_pattern(text: str) -> Predicate:
    """Fields by position; `...` stands for any number of them."""
    parts = [part.strip() for part in _split(text)]
    if parts.count("...") > 1:
        raise BadPattern("there may be one ... only")
    _check_regexes(len(re.findall(r"%[^%]+%", text)))
    cut = parts.index("...") if "..." in parts else None
    first = [_field(part) for part in parts[:cut]]
    last = [] if cut is None else [_field(part) for part in parts[cut + 1 :]]

    def matches(message: str) -> bool:
        fields = [_Field("".join(groups)) for groups in _FIELDS.findall(message)]
        expected = len(first) + len(last)
        if len(fields) < expected or (cut is None and len(fields) != expected):
            return False
        ending = fields[len(fields) - len(last) :]
        pairs = [*zip(first, fields, strict=False), *zip(last, ending, strict=True)]
        return all(test(value) for test, value in pairs)

    return matches


def _split(text: str) -> list[str]:
    """Parts between commas, but not between commas inside quotes or regular expressions."""
    return re.findall(r"(?:[^,\"%]|\"[^\"]*\"|%[^%]*%)+", text) or [""]


def _field(part: str) -> Test:
    if re.fullmatch(r"\w+", part):
        return lambda value: True
    tokens = _Tokens(part)
    test = _either(tokens, _field_condition)
    tokens.finish()
    return test


def _field_condition(tokens: _Tokens) -> Test:
    tokens.take("word")  # the field's name: its position is what counts
    return _comparison(tokens.take("operator").text, tokens.take("word", "quoted", "regex"))
