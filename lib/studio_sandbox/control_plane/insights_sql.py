"""Logs Insights: expressions, as the SQL that DuckDB works out.

Fields have no types there: what is needed as a number is tried as one, and is nothing when it is
none. A comparison with a field that an event has not is neither true nor false. Source:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-operations-functions.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.control_plane.insights_syntax import Token, Tokens

# Made once a connection: how numbers and times are written, and fields found in a JSON line.
MACROS = """
CREATE MACRO number_text(x) AS CASE WHEN x = trunc(x) AND abs(x) < 1e15
    THEN CAST(CAST(x AS BIGINT) AS VARCHAR)
    ELSE rtrim(rtrim(printf('%.4f', x), '0'), '.') END;
CREATE MACRO plain_text(x) AS regexp_replace(CAST(x AS VARCHAR), '\\.0$', '');
CREATE MACRO time_text(ms) AS strftime(epoch_ms(CAST(ms AS BIGINT)), '%Y-%m-%d %H:%M:%S.%g');
"""
_UNITS_MS = {
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
}
_LONGER = re.compile(r"w|weeks?|mo|mons?|months?|q|qtrs?|quarters?|y|yrs?|years?")


@dataclass(frozen=True)
class Sql:
    """A piece of SQL. `kind` is text, number (DOUBLE), time (milliseconds) or boolean."""

    text: str
    kind: str
    aggregate: bool = False


Scope = dict[str, Sql]  # what names mean; all others are fields of the JSON line, if there is one
EVENT: Scope = {
    "@timestamp": Sql('"@timestamp"', "time"),
    "@ingestionTime": Sql('"@ingestionTime"', "time"),
    "@message": Sql('"@message"', "text"),
    "@logStream": Sql('"@logStream"', "text"),
    "@log": Sql('"@log"', "text"),
    "@ptr": Sql('"@ptr"', "text"),
}
LINE = '"@line"'  # the message as JSON; null when it is none


def as_text(value: Sql) -> str:
    """The value as results show it."""
    if value.kind == "number":
        return f"number_text({value.text})"
    if value.kind == "time":
        return f"time_text({value.text})"
    return f"CAST({as_number(value)} AS VARCHAR)" if value.kind == "boolean" else value.text


def as_number(value: Sql) -> str:
    """The value as a number; null when it is none."""
    if value.kind == "number":
        return value.text
    return f"TRY_CAST({value.text} AS {'INTEGER' if value.kind == 'boolean' else 'DOUBLE'})"


def quoted(name: str) -> str:
    """A name of a column."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text."""
    return "'" + text.replace("'", "''") + "'"


def json_field(name: str) -> str:
    """A field of the line: a key of that name, or dotted, with numbers for places in lists."""
    steps = "".join(
        f"[{step}]" if step.isdecimal() else f".{quoted(step)}" for step in name.split(".")
    )
    paths = [f"$.{quoted(name)}"] + ([f"${steps}"] if "." in name else [])
    found = [f"json_extract_string({LINE}, {literal(path)})" for path in paths]
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def _joined(*values: Sql) -> bool:
    return any(value.aggregate for value in values)


Function = Callable[[list[Sql]], Sql]


def _numeric(sql: str) -> Function:
    return lambda given: Sql(f"{sql}({', '.join(map(as_number, given))})", "number")


def _textual(template: str, kind: str = "text") -> Function:
    return lambda given: Sql(template.format(*map(as_text, given)), kind)


def _floor(given: list[Sql], *, up: bool = False) -> Sql:
    moment, period = as_number(given[0]), given[1].text
    rounded = "ceil" if up else "floor"
    return Sql(f"CAST({rounded}({moment} / {period}) * {period} AS BIGINT)", "time")


def _coalesce(given: list[Sql]) -> Sql:
    kinds = {value.kind for value in given}
    texts = [value.text for value in given] if len(kinds) == 1 else list(map(as_text, given))
    return Sql(f"coalesce({', '.join(texts)})", kinds.pop() if len(kinds) == 1 else "text")


# Name, fewest and most arguments, and what it is.
_FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "abs": (1, 1, _numeric("abs")),
    "ceil": (1, 1, _numeric("ceil")),
    "floor": (1, 1, _numeric("floor")),
    "log": (1, 1, _numeric("ln")),
    "sqrt": (1, 1, _numeric("sqrt")),
    "greatest": (1, 99, _numeric("greatest")),
    "least": (1, 99, _numeric("least")),
    "bin": (1, 1, lambda given: _floor([EVENT["@timestamp"], *given])),
    "datefloor": (2, 2, _floor),
    "dateceil": (2, 2, lambda given: _floor(given, up=True)),
    "frommillis": (1, 1, lambda given: Sql(f"CAST({as_number(given[0])} AS BIGINT)", "time")),
    "tomillis": (1, 1, lambda given: Sql(as_number(given[0]), "number")),
    "now": (0, 0, lambda given: Sql("epoch(now())", "number")),
    "ispresent": (1, 1, lambda given: Sql(f"({given[0].text} IS NOT NULL)", "boolean")),
    "coalesce": (1, 99, _coalesce),
    "isempty": (1, 1, _textual("(coalesce({0}, '') = '')", "boolean")),
    "isblank": (1, 1, _textual("(trim(coalesce({0}, '')) = '')", "boolean")),
    "concat": (1, 99, lambda given: Sql(" || ".join(f"({as_text(v)})" for v in given), "text")),
    "trim": (1, 1, _textual("trim({0})")),
    "ltrim": (1, 1, _textual("ltrim({0})")),
    "rtrim": (1, 1, _textual("rtrim({0})")),
    "strlen": (1, 1, _textual("CAST(length({0}) AS DOUBLE)", "number")),
    "toupper": (1, 1, _textual("upper({0})")),
    "tolower": (1, 1, _textual("lower({0})")),
    "replace": (3, 3, _textual("replace({0}, {1}, {2})")),
    "strcontains": (2, 2, _textual("CAST(contains({0}, {1}) AS DOUBLE)", "number")),
    "substr": (
        2,
        3,
        lambda given: Sql(
            f"substr({as_text(given[0])}, CAST({as_number(given[1])} AS BIGINT) + 1"
            + (f", CAST({as_number(given[2])} AS BIGINT))" if len(given) > 2 else ")"),
            "text",
        ),
    ),
}


def _at(extreme: str) -> Function:
    """The value of the event that came first, or last."""
    return lambda given: Sql(
        f'{extreme}({given[0].text}, "@timestamp") FILTER ({given[0].text} IS NOT NULL)',
        given[0].kind,
    )


def _extreme(name: str) -> Function:
    """The greatest or least: of numbers, or of texts where no value is a number."""

    def found(given: list[Sql]) -> Sql:
        if given[0].kind != "text":
            return Sql(f"{name}({given[0].text})", given[0].kind)
        numbers = f"plain_text({name}({as_number(given[0])}))"
        return Sql(f"coalesce({numbers}, {name}({given[0].text}))", "text")

    return found


def _count(given: list[Sql]) -> Sql:
    return Sql(f"CAST(count({given[0].text if given else '*'}) AS DOUBLE)", "number")


_AGGREGATES: dict[str, tuple[int, int, Function]] = {
    "count": (0, 1, _count),
    "count_distinct": (1, 1, _textual("CAST(count(DISTINCT {0}) AS DOUBLE)", "number")),
    "avg": (1, 1, _numeric("avg")),
    "sum": (1, 1, _numeric("sum")),
    "stddev": (1, 1, _numeric("stddev_samp")),
    "min": (1, 1, _extreme("min")),
    "max": (1, 1, _extreme("max")),
    "pct": (
        2,
        2,
        lambda given: Sql(f"quantile_cont({as_number(given[0])}, {given[1].text} / 100)", "number"),
    ),
    "earliest": (1, 1, _at("arg_min")),
    "latest": (1, 1, _at("arg_max")),
}
# AWS has them; what they answer is not imitated here.
_NOT_HERE = {
    "jsonparse", "jsonstringify", "isvalidip", "isvalidipv4", "isvalidipv6", "isipinsubnet",
    "isipv4insubnet", "isipv6insubnet", "sortsfirst", "sortslast", "rate", "count_over_time",
    "sum_over_time", "histogram",
}  # fmt: skip


class Expressions:
    """Reads expressions from tokens; `scope` is what names mean at this place of the query."""

    def __init__(self, tokens: Tokens, scope: Scope, *, line: bool) -> None:
        self.tokens, self.scope = tokens, scope
        self._line = line  # whether there still are events, with their fields

    def read(self) -> Sql:
        """One expression, whole: `or` binds least."""
        left = self._conjunction()
        while self.tokens.accept("or"):
            left = self._logical(left, "OR", self._conjunction())
        return left

    def _conjunction(self) -> Sql:
        left = self._negation()
        while self.tokens.accept("and"):
            left = self._logical(left, "AND", self._negation())
        return left

    def _logical(self, left: Sql, word: str, right: Sql) -> Sql:
        return Sql(
            f"({self._condition(left)} {word} {self._condition(right)})",
            "boolean",
            _joined(left, right),
        )

    def _condition(self, value: Sql) -> str:
        return value.text if value.kind == "boolean" else f"({as_number(value)} <> 0)"

    def _negation(self) -> Sql:
        if self.tokens.accept("not"):
            value = self._negation()
            return Sql(f"(NOT {self._condition(value)})", "boolean", value.aggregate)
        return self._comparison()

    def _comparison(self) -> Sql:
        left = self._sum()
        token = self.tokens.peek()
        if token.word in ("=", "!=", "<", "<=", ">", ">="):
            right = self._after(token)
            return Sql(_compared(left, token.text, right), "boolean", _joined(left, right))
        negated = token.word == "not" and self.tokens.peek(1).word in ("like", "in")
        if negated:
            self.tokens.take()
        if self.tokens.at("like", "=~"):
            found = self._like(left)
        elif self.tokens.at("in"):
            found = self._in(left)
        else:
            return left
        return Sql(f"(NOT {found})" if negated else found, "boolean", left.aggregate)

    def _after(self, operator: Token) -> Sql:
        self.tokens.take(operator.word)
        return self._sum()

    def _like(self, left: Sql) -> str:
        self.tokens.take("like", "=~")
        pattern = self.tokens.take_kind("regex", "text")
        subject = as_text(left)
        if pattern.kind == "text":
            return f"contains({subject}, {literal(pattern.value)})"
        return f"regexp_matches({subject}, {literal(self.pattern(pattern))})"

    def pattern(self, token: Token) -> str:
        """A regular expression that both Java's language and RE2's have."""
        if re.search(r"\(\?(=|!|<=|<!|>)|\\[1-9]", token.value):
            raise NotInSandbox(f"look-around and back references in {token.text} (StartQuery)")
        return token.value

    def _in(self, left: Sql) -> str:
        self.tokens.take("in")
        self.tokens.take("[")
        values = [self._sum()]
        while self.tokens.accept(","):
            values.append(self._sum())
        self.tokens.take("]")
        return "(" + " OR ".join(_compared(left, "=", value) for value in values) + ")"

    def _sum(self) -> Sql:
        return self._binary(("+", "-"), self._product)

    def _product(self) -> Sql:
        return self._binary(("*", "/", "%"), self._power)

    def _power(self) -> Sql:
        return self._binary(("^",), self._signed)

    def _binary(self, signs: tuple[str, ...], operand: Callable[[], Sql]) -> Sql:
        left = operand()
        while self.tokens.at(*signs):
            sign = self.tokens.take().text
            right = operand()
            numbers = f"{as_number(left)} {sign} {as_number(right)}"
            if sign in "/%":
                numbers = f"{as_number(left)} {sign} nullif({as_number(right)}, 0)"
            left = Sql(f"({numbers})", "number", _joined(left, right))
        return left

    def _signed(self) -> Sql:
        if self.tokens.accept("-"):
            value = self._signed()
            return Sql(f"(-{as_number(value)})", "number", value.aggregate)
        return self._primary()

    def _primary(self) -> Sql:
        token = self.tokens.take()
        if token.kind == "number":
            return Sql(f"CAST({token.text} AS DOUBLE)", "number")
        if token.kind == "text":
            return Sql(literal(token.value), "text")
        if token.word == "(":
            value = self.read()
            self.tokens.take(")")
            return Sql(f"({value.text})", value.kind, value.aggregate)
        if token.kind != "name" or token.word in ("and", "or", "not", "in", "like", "as", "by"):
            raise self.tokens.unexpected(token)
        if self.tokens.at("(") and not token.text.startswith("`"):
            return self._call(token)
        return self.name(token)

    def name(self, token: Token) -> Sql:
        """What a name means here."""
        if known := self.scope.get(token.value):
            return known
        if token.value.startswith("@") or not self._line:
            return Sql("CAST(NULL AS VARCHAR)", "text")
        return Sql(json_field(token.value), "text")

    def _call(self, token: Token) -> Sql:
        name = token.word
        if name in _NOT_HERE:
            raise NotInSandbox(f"the function {token.text} of Logs Insights (StartQuery)")
        known = _FUNCTIONS.get(name) or _AGGREGATES.get(name)
        if known is None:
            raise self.tokens.unexpected(token)
        if name == "bin" and "@timestamp" not in self.scope:
            raise self.tokens.wrong("bin needs @timestamp, which stats has left out", token)
        fewest, most, made = known
        given = self._arguments(name)
        if not fewest <= len(given) <= most:
            raise self.tokens.wrong(f"wrong number of arguments of {token.text}", token)
        aggregates = name in _AGGREGATES
        if aggregates and _joined(*given):
            raise self.tokens.wrong(f"{token.text} of an aggregate", token)
        return replace(made(given), aggregate=aggregates or _joined(*given))

    def _arguments(self, name: str) -> list[Sql]:
        self.tokens.take("(")
        given: list[Sql] = []
        if name == "count" and self.tokens.accept("*"):
            self.tokens.take(")")
            return given
        while not self.tokens.at(")"):
            if given:
                self.tokens.take(",")
            is_period = self.tokens.peek().kind == "period"
            given.append(self._period() if is_period else self.read())
        self.tokens.take(")")
        return given

    def _period(self) -> Sql:
        token = self.tokens.take()
        unit = token.word.lstrip("0123456789")
        if _LONGER.fullmatch(unit):
            raise NotInSandbox(f"periods longer than days ({token.text}) in Logs Insights")
        if unit not in _UNITS_MS:
            raise self.tokens.unexpected(token)
        number = int(token.word.removesuffix(unit))
        return Sql(f"{number * _UNITS_MS[unit]}.0", "number")


def _compared(left: Sql, sign: str, right: Sql) -> str:
    """As numbers where one side is one, as texts where one side is quoted, else as both read."""
    operator = "<>" if sign == "!=" else sign
    numbers = f"({as_number(left)} {operator} {as_number(right)})"
    texts = f"({as_text(left)} {operator} {as_text(right)})"
    if "text" not in (left.kind, right.kind) or "number" in (left.kind, right.kind):
        return numbers
    if left.text.startswith("'") or right.text.startswith("'"):
        return texts
    return f"coalesce({numbers}, {texts})"
