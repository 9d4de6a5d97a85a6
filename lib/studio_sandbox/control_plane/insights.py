"""Logs Insights: a query over events, worked out by DuckDB.

`compile_query` reads a query whole, before anything is looked at: what AWS would refuse raises
MalformedQuery, what AWS has and this has not raises NotInSandbox. `Query.run` then answers as
GetQueryResults does, all values as texts. Source:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.control_plane.insights_sql import (
    EVENT,
    LINE,
    MACROS,
    Expressions,
    Scope,
    Sql,
    as_number,
    as_text,
    literal,
    quoted,
)
from studio_sandbox.control_plane.insights_syntax import MalformedQuery, Token, Tokens

MOST_ROWS = 10_000
_MOST_STATS = 2  # of one query
_NOT_HERE = {
    "anomaly", "diff", "filterindex", "head", "join", "lookup", "order", "pattern", "search",
    "source", "tail", "unmask", "unnest",
}  # fmt: skip
_LINE = f'CASE WHEN json_valid("@message") THEN CAST("@message" AS JSON) END AS {LINE}'


@dataclass(frozen=True)
class Event:
    """A log event; times in milliseconds since the epoch, `log` as `account:group`."""

    time_ms: int
    ingested_ms: int
    message: str
    stream: str
    log: str
    pointer: str


Row = list[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """The rows, and how many events the filters let through."""

    rows: list[Row]
    matched: int


@dataclass(frozen=True)
class Query:
    """A query that can be run: SQL over `events`, the columns to show, with what is in them."""

    sql: str
    matched_sql: str
    columns: dict[str, Sql]

    def run(self, events: Sequence[Event]) -> Answer:
        """Work it out. Raises NotInSandbox for what DuckDB cannot."""
        import duckdb  # 0.2 s that a control plane without queries does without

        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(MACROS)
            connection.register("events", _columns(events))
            try:
                found = connection.execute(self.sql).fetchall()
                (matched,) = connection.execute(self.matched_sql).fetchone() or (0,)
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                raise NotInSandbox(f"this query of Logs Insights: {reason}") from error
        rows = [
            [
                {"field": name, "value": str(value)}
                for name, value in zip(self.columns, row, strict=True)
                if value is not None
            ]
            for row in found
        ]
        return Answer(rows, int(matched))


def _columns(events: Sequence[Event]) -> dict[str, Any]:
    """Events as columns, which is how DuckDB reads them fast."""
    import numpy as np

    return {
        "@timestamp": np.array([one.time_ms for one in events], dtype=np.int64),
        "@ingestionTime": np.array([one.ingested_ms for one in events], dtype=np.int64),
        "@message": np.array([one.message for one in events], dtype=object),
        "@logStream": np.array([one.stream for one in events], dtype=object),
        "@log": np.array([one.log for one in events], dtype=object),
        "@ptr": np.array([one.pointer for one in events], dtype=object),
    }


def compile_query(text: str, *, limit: int | None = None) -> Query:
    """The query that a text means; `limit` holds where it sets none. Runs once on no events."""
    query = _Compiler(Tokens(text), limit or MOST_ROWS).compile()
    query.run([])
    return query


class _Compiler:
    """Commands one by one, each of them a SELECT over the one before it."""

    def __init__(self, tokens: Tokens, limit: int) -> None:
        self._tokens = tokens
        self._limit = limit
        self._sql = self._matched = _over("FROM events", f"*, {_LINE}")
        self._scope: Scope = dict(EVENT)
        self._made: set[str] = set()  # names that the query itself has given
        self._shown: list[str] = []
        self._order = '"@timestamp" DESC, "@ptr"'
        self._stats = 0
        self._limited = self._deduplicated = self._displayed = False

    def compile(self) -> Query:
        """Read all commands to the end."""
        while True:
            self._command(self._tokens.take_kind("name"))
            if self._tokens.peek().kind == "end":
                break
            self._tokens.take("|")
        columns = self._columns()
        # under names that no query can give: ORDER BY means the values, not their texts
        shown = ", ".join(f'{as_text(sql)} AS "@{n}"' for n, sql in enumerate(columns.values()))
        return Query(
            sql=_over(self._sql, shown, f"{self._ordered_by()} LIMIT {self._limit}"),
            matched_sql=_over(self._matched, "count(*)"),
            columns=columns,
        )

    def _columns(self) -> dict[str, Sql]:
        names = self._shown or ["@timestamp", "@message"]
        if not self._stats:
            names = [*names, "@ptr"]
        return {name: self._expressions().name(Token("name", name, 0)) for name in names}

    def _ordered_by(self) -> str:
        return f"ORDER BY {self._order}" if self._order else ""

    def _expressions(self) -> Expressions:
        return Expressions(self._tokens, self._scope, line=not self._stats)

    def _command(self, command: Token) -> None:
        if command.word in _NOT_HERE:
            raise NotInSandbox(f"the command {command.text} of Logs Insights (StartQuery)")
        if self._deduplicated and command.word != "limit":
            raise self._tokens.unexpected(command)  # as AWS has it: only limit after dedup
        match command.word:
            case "fields":
                self._fields()
            case "display":
                self._display()
            case "filter":
                self._filter()
            case "parse":
                self._parse()
            case "stats":
                self._aggregate(command)
            case "sort":
                self._sort()
            case "limit":
                self._take(self._tokens.take_kind("number"))
            case "dedup":
                self._deduplicate()
            case _:
                raise self._tokens.unexpected(command)

    def _select(self, made: dict[str, Sql]) -> None:
        """Add columns, and let their names mean them from here on."""
        added = "".join(f", {sql.text} AS {quoted(name)}" for name, sql in made.items())
        self._sql = _over(self._sql, f"*{added}")
        self._scope |= {name: Sql(quoted(name), sql.kind) for name, sql in made.items()}
        if not (self._stats or self._limited):
            self._matched = self._sql

    def _new_name(self) -> str:
        """A name that the query gives: it may give each one once."""
        token = self._tokens.take_kind("name")
        if token.value in self._made or token.value.startswith("@"):
            raise self._tokens.wrong(f"{token.value} is defined already", token)
        self._made.add(token.value)
        return token.value

    def _item(self) -> tuple[str, Sql, bool]:
        """One of a list: its name, what it is, and whether a column has to be made for it."""
        start = self._tokens.peek()
        alone = self._tokens.peek(1).word in ("", ",", "|", "by") and start.kind == "name"
        sql = self._expressions().read()
        if self._tokens.accept("as"):
            return self._new_name(), sql, True
        return (start.value, sql, False) if alone else (self._tokens.source(start.start), sql, True)

    def _fields(self) -> None:
        made: dict[str, Sql] = {}
        while True:
            start = self._tokens.peek()
            name, sql, new = self._item()
            if sql.aggregate:
                raise self._tokens.wrong("aggregates belong into stats", start)
            if new and name not in self._scope:
                made[name] = sql
            if name not in self._shown and not self._displayed:
                self._shown.append(name)
            if not self._tokens.accept(","):
                break
        self._select(made)

    def _display(self) -> None:
        self._shown, self._displayed = [], False
        self._fields()
        self._displayed = True

    def _filter(self) -> None:
        start = self._tokens.peek()
        condition = self._expressions().read()
        if condition.aggregate or condition.kind != "boolean":
            raise self._tokens.wrong("filter needs a condition", start)
        self._sql = _over(self._sql, rest=f"WHERE {condition.text}")
        if not (self._stats or self._limited):
            self._matched = self._sql

    def _parse(self) -> None:
        source = EVENT["@message"]
        if self._tokens.peek().kind == "name":
            source = self._expressions().name(self._tokens.take())
        pattern = self._tokens.take_kind("text", "regex")
        if pattern.kind == "text":
            names = self._names_after_as()
            regex, groups = _glob(pattern.value), list(range(1, len(names) + 1))
            if pattern.value.count("*") != len(names):
                raise self._tokens.wrong("as many names as there are * in it are needed", pattern)
        else:
            regex, named = self._named_groups(pattern)
            groups = list(named.values())
            names = self._names_after_as() if self._tokens.at("as") else list(named)
            if len(names) != len(groups) or not names:
                raise self._tokens.wrong("it needs groups with names: (?<name>…)", pattern)
        subject, wanted = as_text(source), literal(regex)
        self._select(
            {
                name: Sql(
                    f"CASE WHEN regexp_matches({subject}, {wanted}) "
                    f"THEN regexp_extract({subject}, {wanted}, {group}) END",
                    "text",
                )
                for name, group in zip(names, groups, strict=True)
            }
        )

    def _names_after_as(self) -> list[str]:
        self._tokens.take("as")
        names = [self._new_name()]
        while self._tokens.accept(","):
            names.append(self._new_name())
        return names

    def _named_groups(self, token: Token) -> tuple[str, dict[str, int]]:
        regex = re.sub(r"\(\?<(?=\w+>)", "(?P<", self._expressions().pattern(token))
        try:
            return regex, dict(re.compile(regex).groupindex)
        except re.error as error:
            raise self._tokens.wrong(f"invalid regular expression: {error}", token) from error

    def _aggregate(self, command: Token) -> None:
        if self._stats == _MOST_STATS:
            raise self._tokens.unexpected(command)
        before = dict(self._scope)
        values: dict[str, Sql] = {}
        while True:
            start = self._tokens.peek()
            name, sql, _ = self._item()
            if not sql.aggregate:
                raise self._tokens.wrong("stats needs aggregates", start)
            values[name] = self._scope[name] = sql  # an earlier one may be named in a later one
            if not self._tokens.accept(","):
                break
        self._scope = before
        groups: dict[str, Sql] = {}
        times: list[str] = []
        if self._tokens.accept("by"):
            while True:
                start = self._tokens.peek()
                name, groups[name], _ = self._item()
                if groups[name].aggregate:
                    raise self._tokens.unexpected(start)
                times += [quoted(name)] if groups[name].kind == "time" else []
                if not self._tokens.accept(","):
                    break
        self._group(groups, values, times)

    def _group(self, groups: dict[str, Sql], values: dict[str, Sql], times: list[str]) -> None:
        made = groups | values
        chosen = ", ".join(f"{sql.text} AS {quoted(name)}" for name, sql in made.items())
        by = ", ".join(str(number) for number in range(1, len(groups) + 1))
        self._sql = _over(self._sql, chosen, f"GROUP BY {by}" if by else "")
        self._order = ", ".join(
            [f"{name} DESC" for name in times]
            + [quoted(name) for name in groups if quoted(name) not in times]
        )
        self._stats += 1
        self._shown, self._displayed = list(made), False
        self._made |= set(made)
        self._scope = {name: Sql(quoted(name), sql.kind) for name, sql in made.items()}

    def _sort(self) -> None:
        orders = []
        while True:
            text = self._tokens.item()
            if text in self._scope:  # a column named by its own text: count(*), bin(5m)
                value = self._scope[text]
                self._tokens.skip(text)
            else:
                value = self._expressions().read()
            descending = self._tokens.at("desc") and self._tokens.accept("desc")
            if not descending:
                self._tokens.accept("asc")
            orders += _ordered(value, "DESC" if descending else "ASC")
            if not self._tokens.accept(","):
                break
        self._order = ", ".join([*orders, *filter(None, [self._order])])  # equals stay as they were

    def _take(self, number: Token) -> None:
        rows = int(number.text) if number.text.isdecimal() else 0
        if not 1 <= rows <= MOST_ROWS:
            raise self._tokens.wrong(f"limit is from 1 to {MOST_ROWS}", number)
        self._sql = _over(self._sql, rest=f"{self._ordered_by()} LIMIT {rows}")
        self._limited, self._limit = True, MOST_ROWS

    def _deduplicate(self) -> None:
        values = [self._expressions().read()]
        while self._tokens.accept(","):
            values.append(self._expressions().read())
        keys = ", ".join(value.text for value in values)
        missing = " OR ".join(f"{value.text} IS NULL" for value in values)
        first = f"row_number() OVER (PARTITION BY {keys} {self._ordered_by()}) = 1"
        self._sql = _over(self._sql, rest=f"QUALIFY {first} OR {missing}")
        self._deduplicated = True


def _over(inner: str, chosen: str = "*", rest: str = "") -> str:
    """A SELECT over another one; texts and names in it were quoted where they were read."""
    return f"SELECT {chosen} FROM ({inner}) {rest}"  # noqa: S608


def _glob(text: str) -> str:
    """A pattern with `*` as a regular expression; the last one takes all that is left."""
    parts = [re.escape(part) for part in text.split("*")]
    return "(?s)" + "(.*?)".join(parts[:-1]) + ("(.*)" if not parts[-1] else "(.*?)") + parts[-1]


def _ordered(value: Sql, direction: str) -> list[str]:
    """Numbers by size, other texts before them, what is missing last."""
    if value.kind != "text":
        return [f"{value.text} {direction} NULLS LAST"]
    number = as_number(value)
    return [
        f"({value.text} IS NULL)",
        f"({number} IS NOT NULL) {direction}",
        f"{number} {direction} NULLS LAST",
        f"{value.text} {direction} NULLS LAST",
    ]


__all__ = ["Answer", "Event", "MalformedQuery", "Query", "compile_query"]
