"""Logs Insights: a query's text as tokens, and what is wrong with it, where.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<space>\s+|#[^\n]*)"
    r"|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<period>\d+[A-Za-z]+)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>`[^`]+`|[@A-Za-z_][\w@.]*)"
    r"|(?P<sign>=~|!=|<=|>=|[-+*/^%=<>(),\[\]|])",
    re.DOTALL,
)
_REGEX = re.compile(r"/(?:[^/\\\n]|\\.)+/")


class MalformedQuery(ValueError):
    """A query that AWS refuses: from `start` to `end` (offsets in its text) stands what it is."""

    def __init__(self, message: str, *, start: int, end: int) -> None:
        super().__init__(message)
        self.start, self.end = start, end


@dataclass(frozen=True)
class Token:
    """A piece of a query; `word` is its text in lower case, empty for quoted ones."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        return "" if self.kind in ("text", "regex") else self.text.lower()

    @property
    def value(self) -> str:
        """A text without its quotes, a name without its backticks, a pattern without slashes."""
        if self.kind == "text":
            return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL)
        if self.kind == "regex":
            return self.text[1:-1].replace("\\/", "/")
        return self.text.strip("`")


class Tokens:
    """The tokens of a query, read from left to right. All errors are MalformedQuery."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = list(self._read(query))
        self._next = 0

    def _read(self, query: str) -> Iterator[Token]:
        position, parsing, patterns = 0, False, False
        while position < len(query):
            found = (patterns and _REGEX.match(query, position)) or _TOKEN.match(query, position)
            if not found:
                raise self._unexpected(query[position], position)
            kind = found.lastgroup or "regex"
            token = Token(kind, found[0], position)
            position = found.end()
            if kind == "space":
                continue
            yield token
            # a slash divides, but not after `like` and `=~`, nor anywhere in `parse`
            parsing = token.word == "parse" or (parsing and token.word != "|")
            patterns = parsing or token.word in ("like", "=~")

    def peek(self, ahead: int = 0) -> Token:
        """The next token; one without text at the end."""
        at = self._next + ahead
        if at < len(self._tokens):
            return self._tokens[at]
        return Token("end", "", len(self._query))

    def at(self, *words: str) -> bool:
        """Whether the next token is one of these words or signs."""
        return self.peek().word in words

    def take(self, *words: str) -> Token:
        """The next token, which must be one of these words or signs, or any at all."""
        token = self.peek()
        if words and token.word not in words:
            raise self.unexpected()
        self._next += 1
        return token

    def take_kind(self, *kinds: str) -> Token:
        """The next token, which must be of one of these kinds."""
        if self.peek().kind not in kinds:
            raise self.unexpected()
        return self.take()

    def accept(self, *words: str) -> bool:
        """Take the next token if it is one of these."""
        found = self.at(*words)
        self._next += found
        return found

    def source(self, start: int) -> str:
        """The text from `start` to the end of what was taken last, spaces as they are."""
        return self._query[start : self._tokens[self._next - 1].end]

    def item(self) -> str:
        """The text of the list's item that begins here: to its comma, its pipe or its order."""
        depth, ahead = 0, 0
        while self.peek(ahead).kind != "end":
            token = self.peek(ahead)
            depth += (token.word == "(") - (token.word == ")")
            if depth <= 0 and token.word in (",", "|", "asc", "desc", "by"):
                break
            ahead += 1
        return self._query[self.peek().start : self.peek(ahead - 1).end] if ahead else ""

    def skip(self, text: str) -> None:
        """Take all tokens of `text`, which begins here."""
        end = self.peek().start + len(text)
        while self.peek().kind != "end" and self.peek().start < end:
            self.take()

    def unexpected(self, token: Token | None = None) -> MalformedQuery:
        """The error that says that a token is not what may stand there."""
        token = token or self.peek()
        return self._unexpected(token.text or "<EOF>", token.start)

    def wrong(self, message: str, token: Token) -> MalformedQuery:
        """An error about a token that may stand there, and is wrong."""
        return MalformedQuery(message, start=token.start, end=token.end)

    def _unexpected(self, text: str, start: int) -> MalformedQuery:
        line = self._query.count("\n", 0, start) + 1
        column = start - (self._query.rfind("\n", 0, start) + 1)
        message = f"unexpected symbol found {text} at line {line} and position {column}"
        end = min(start + len(text), len(self._query))
        return MalformedQuery(message, start=start, end=end)
