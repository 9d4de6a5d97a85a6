"""CloudWatch metric math: arithmetic, comparisons and the functions that dashboards use.

`evaluate` works an expression out over named series. What AWS would refuse raises
BadExpression; what AWS knows and this does not raises NotInSandbox. Source:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from studio_sandbox.control_plane.aws_error import NotInSandbox

Series = dict[datetime, float]
Value = float | Series | list[Series]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],]))"
)
# By how tightly they bind, loosest first.
_BINARY: tuple[dict[str, Callable[[float, float], float]], ...] = (
    {"||": lambda a, b: float(bool(a) or bool(b))},
    {"&&": lambda a, b: float(bool(a) and bool(b))},
    {
        "==": lambda a, b: float(a == b),
        "!=": lambda a, b: float(a != b),
        "<": lambda a, b: float(a < b),
        "<=": lambda a, b: float(a <= b),
        ">": lambda a, b: float(a > b),
        ">=": lambda a, b: float(a >= b),
    },
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": operator.truediv},
    {"^": operator.pow},
)
_WORDS = {"AND": "&&", "OR": "||"}


class BadExpression(ValueError):
    """An expression that AWS refuses; the message says where."""


def names_in(expression: str) -> set[str]:
    """The ids of other queries that an expression refers to: they begin in lower case."""
    return {text for kind, text in _tokens(expression) if kind == "name" and text[0].islower()}


def evaluate(expression: str, series: Mapping[str, Series], *, period_s: int) -> Value:
    """The value of an expression; points that cannot be worked out (1/0) are left out."""
    parser = _Parser(_tokens(expression), series, period_s)
    value = parser.binary(0)
    parser.finish()
    return value


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, position, text = [], 0, expression.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise BadExpression(f"unexpected character near {text[position : position + 12]!r}")
        kind = str(found.lastgroup)
        word = found[kind]
        tokens.append(("sign", _WORDS[word]) if word in _WORDS else (kind, word))
        position = found.end()
    return tokens


class _Parser:
    """Works out the tokens of one expression from left to right."""

    def __init__(
        self, tokens: list[tuple[str, str]], series: Mapping[str, Series], period_s: int
    ) -> None:
        self._tokens = tokens
        self._series = series
        self._period_s = period_s

    def finish(self) -> None:
        """Raises BadExpression when anything is left."""
        if self._tokens:
            raise BadExpression(f"unexpected {self._tokens[0][1]!r}")

    def binary(self, level: int) -> Value:
        """Operators that bind as tightly as `level`, or more."""
        if level == len(_BINARY):
            return self._unary()
        value = self.binary(level + 1)
        while self._peek() in _BINARY[level]:
            operation = _BINARY[level][self._take()]
            value = _combine(operation, value, self.binary(level + 1))
        return value

    def _unary(self) -> Value:
        if self._peek() == "-":
            self._take()
            return _combine(operator.sub, 0.0, self.binary(len(_BINARY) - 1))  # -a^2 is -(a^2)
        return self._atom()

    def _atom(self) -> Value:
        if not self._tokens:
            raise BadExpression("the expression ends too early")
        kind, text = self._tokens.pop(0)
        if kind == "number":
            return float(text)
        if text == "(":
            value = self.binary(0)
            self._expect(")")
            return value
        if text == "[":
            return [_series(value, "an array") for value in self._arguments("]")]
        if kind != "name":
            raise BadExpression(f"unexpected {text!r}")
        return self._call(text) if self._peek() == "(" else self._named(text)

    def _named(self, name: str) -> Value:
        if name not in self._series:
            raise BadExpression(f"no query has the id {name}")
        return self._series[name]

    def _call(self, name: str) -> Value:
        self._expect("(")
        if name == "METRICS":
            self._expect(")")
            return list(self._series.values())
        if name == "FILL":
            return self._fill()
        function = _FUNCTIONS.get(name)
        if name != "PERIOD" and not function:
            raise NotInSandbox(f"the metric math function {name}")
        given = self._arguments(")")
        if not function:
            return float(self._period_s)
        try:
            return function(*given)
        except TypeError as error:
            raise BadExpression(f"{name}: {error}") from error

    def _fill(self) -> Value:
        """FILL(series, number) or FILL(series, REPEAT), over all times that any series has."""
        value = _series(self.binary(0), "FILL")
        self._expect(",")
        times = sorted({time for one in self._series.values() for time in one})
        if self._peek() == "REPEAT":
            self._take()
            self._expect(")")
            return _repeat(value, times)
        if self._peek() == "LINEAR":
            raise NotInSandbox("FILL(…, LINEAR)")
        filler = self.binary(0)
        self._expect(")")
        if not isinstance(filler, float):
            raise BadExpression("FILL takes a number, REPEAT or LINEAR")
        return {time: value.get(time, filler) for time in times}

    def _arguments(self, closing: str) -> list[Value]:
        values = [self.binary(0)]
        while self._peek() == ",":
            self._take()
            values.append(self.binary(0))
        self._expect(closing)
        return values

    def _peek(self) -> str:
        return self._tokens[0][1] if self._tokens else ""

    def _take(self) -> str:
        return self._tokens.pop(0)[1]

    def _expect(self, text: str) -> None:
        if self._peek() != text:
            raise BadExpression(f"expected {text!r}, found {self._peek() or 'the end'!r}")
        self._take()


def _repeat(value: Series, times: list[datetime]) -> Series:
    filled: Series = {}
    last: float | None = None
    for time in times:
        last = value.get(time, last)
        if last is not None:
            filled[time] = last
    return filled


def _series(value: Value, where: str) -> Series:
    if not isinstance(value, dict):
        raise BadExpression(f"{where} takes time series")
    return value


def _combine(operation: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Point by point, where both have one; an array combines member by member."""
    if isinstance(left, list):
        return [_series(_combine(operation, one, right), "an array") for one in left]
    if isinstance(right, list):
        return [_series(_combine(operation, left, one), "an array") for one in right]
    if isinstance(left, dict) and isinstance(right, dict):
        return _points({t: (left[t], right[t]) for t in left if t in right}, operation)
    if isinstance(left, dict):
        return _points({t: (value, right) for t, value in left.items()}, operation)  # type: ignore[misc]
    if isinstance(right, dict):
        return _points({t: (left, value) for t, value in right.items()}, operation)
    try:
        return float(operation(left, right))
    except (ArithmeticError, TypeError):
        return math.nan


def _points(
    pairs: dict[datetime, tuple[float, float]], operation: Callable[[float, float], float]
) -> Series:
    found: Series = {}
    for time, (left, right) in pairs.items():
        try:
            value = operation(left, right)
        except ArithmeticError:
            continue  # AWS has no point where the arithmetic has no answer
        if isinstance(value, (int, float)) and math.isfinite(value):
            found[time] = float(value)
    return found


def _over(function: Callable[[list[float]], float]) -> Callable[[Value], Value]:
    """One series comes to a number, several to one series over the times that any of them has."""

    def aggregate(value: Value) -> Value:
        if isinstance(value, list):
            times = sorted({time for one in value for time in one})
            return {time: function([one[time] for one in value if time in one]) for time in times}
        values = list(_series(value, "an aggregate").values())
        return function(values) if values else math.nan

    return aggregate


def _each(function: Callable[[float], float]) -> Callable[[Value], Value]:
    return lambda value: {t: float(function(v)) for t, v in _series(value, "a function").items()}


def _if(condition: Value, then: Value, otherwise: Value | None = None) -> Value:
    """Point by point; without the third value, points that do not fit are left out."""
    result: Series = {}
    for time, fits in _series(condition, "IF").items():
        chosen = then if fits else otherwise
        value = chosen.get(time) if isinstance(chosen, dict) else chosen
        if isinstance(value, (int, float)):
            result[time] = float(value)
    return result


def _steps(per_second: bool) -> Callable[[Value], Value]:
    def steps(value: Value) -> Value:
        points = sorted(_series(value, "DIFF and RATE").items())
        return {
            after: (new - old) / ((after - before).total_seconds() if per_second else 1.0)
            for (before, old), (after, new) in itertools.pairwise(points)
        }

    return steps


def _running_sum(value: Value) -> Value:
    total, sums = 0.0, Series()
    for time, one in sorted(_series(value, "RUNNING_SUM").items()):
        total += one
        sums[time] = total
    return sums


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "SUM": _over(sum),
    "AVG": _over(lambda values: sum(values) / len(values)),
    "MAX": _over(max),
    "MIN": _over(min),
    "ABS": _each(abs),
    "CEIL": _each(math.ceil),
    "FLOOR": _each(math.floor),
    "IF": _if,
    "DIFF": _steps(per_second=False),
    "RATE": _steps(per_second=True),
    "RUNNING_SUM": _running_sum,
}
