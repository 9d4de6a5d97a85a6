"""One log group, read page by page: in the order of time, several stretches of it side by side.

A page of FilterLogEvents ends after 10,000 events or 1 MB, and the token to the next is known only
then: one after the other, each page costs a round trip. So the first request asks for the whole
time. Where its page ends, and one after the other is slower than the quota allows, what is left is
cut into pieces of a few pages each, by how dense the last pages were; each is read to its end by
its tokens. A piece that is much longer than thought is cut again; what a page has of the
millisecond that it ends in is not told twice. A search that fits one page costs one request.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

MOST_EVENTS, MOST_BYTES = 10_000, 2**20  # of a page
PIECE = 3  # pages that a piece is meant to have
_TOO_LONG = 1.5  # pieces: what is left of one is cut again
_PARTS = 8  # of a time of which the first page tells nothing

Raw = Mapping[str, Any]  # an event as AWS gives it


@dataclass(frozen=True)
class Piece:
    """A stretch of time to be asked for, in milliseconds since the epoch, both ends in."""

    start_ms: int
    end_ms: int
    token: str = ""  # goes on where a page ended
    told: frozenset[str] = frozenset()  # ids of events of its first millisecond that are known
    follows: bool = False  # an empty page's token is followed, and not cut once more

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms + 1


@dataclass(frozen=True)
class Page:
    """What a piece was answered: events in the order of time, and a token when there are more."""

    events: list[Raw]
    token: str = ""

    @cached_property
    def size(self) -> float:
        """How much of the most that a page may hold; about, since AWS adds to each event."""
        size = sum(map(len, map(itemgetter("message"), self.events)))
        return max(len(self.events) / MOST_EVENTS, size / MOST_BYTES)


Fetch = Callable[[Piece], Page]


class _Entry:
    """A piece in its place, asked for or not yet."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.answer: Future[Page] | None = None
        self.settled = False


def read(
    fetch: Fetch,
    pool: Executor,
    *,
    start_ms: int,
    end_ms: int,
    ahead: int,
    side_by_side: Callable[[], bool] = lambda: True,
) -> Iterator[list[Raw]]:
    """Events page by page, with at most `ahead` pages asked for or waiting to be taken.

    `side_by_side` is asked whether it is worth while to cut: it costs a few more requests.
    """
    reading = _Reading(fetch, pool, Piece(start_ms, end_ms), ahead, side_by_side)
    reading.ask()
    return reading.pages()


class _Reading:
    """Pieces in the order of time. All but `fetch` happens in the reader's own thread."""

    def __init__(
        self,
        fetch: Fetch,
        pool: Executor,
        whole: Piece,
        ahead: int,
        side_by_side: Callable[[], bool],
    ) -> None:
        self._fetch, self._pool, self._ahead = fetch, pool, ahead
        self._side_by_side = side_by_side
        self._entries = [_Entry(whole)]
        self._span_ms = whole.length_ms  # of time that should be a piece
        self._full = 1.0  # size of a page that had no room for more, or had looked through enough

    def pages(self) -> Iterator[list[Raw]]:
        while self._entries:
            first = self._entries[0]
            assert first.answer  # noqa: S101  the first is always asked for
            page = first.answer.result()
            self._settle()
            self._entries.pop(0)
            self.ask()
            told = first.piece.told
            if told:
                yield [event for event in page.events if event["eventId"] not in told]
            else:
                yield page.events

    def ask(self) -> None:
        """Ask for the pieces that come next, as many as may wait."""
        self._settle()
        asked = sum(entry.answer is not None for entry in self._entries)
        at = 0
        while asked < self._ahead and at < len(self._entries):
            entry = self._entries[at]
            if entry.answer is None:
                self._cut(at)
                entry.answer = self._pool.submit(self._fetch, entry.piece)
                asked += 1
            at += 1

    def _cut(self, at: int) -> None:
        """Cut off what goes beyond a piece of one that is about to be asked for."""
        piece = self._entries[at].piece
        if piece.token or piece.length_ms <= self._span_ms or not self._side_by_side():
            return
        last = piece.start_ms + self._span_ms - 1
        self._entries[at].piece = replace(piece, end_ms=last)
        rest = replace(piece, start_ms=last + 1, told=frozenset())
        self._entries.insert(at + 1, _Entry(rest))

    def _settle(self) -> None:
        """See to what has been answered: what is left of a piece comes right after it."""
        at = 0
        while at < len(self._entries):
            entry = self._entries[at]
            if not entry.settled and entry.answer and entry.answer.done():
                entry.settled = True
                rest = self._rest(entry.piece, entry.answer.result())
                if rest:
                    self._entries.insert(at + 1, _Entry(rest))
            at += 1

    def _rest(self, piece: Piece, page: Page) -> Piece | None:
        """What is left of a piece after its page; how long the next ones should be."""
        if page.token and not page.events:
            return self._after_nothing(piece, page.token)
        if page.events:
            self._learn(piece, page)
        if not page.token:
            return None
        last_ms = page.events[-1]["timestamp"]
        told = {event["eventId"] for event in page.events if event["timestamp"] == last_ms}
        if page.events[0]["timestamp"] == last_ms:  # more in one millisecond than fits a page
            told |= piece.told
        too_long = piece.end_ms - last_ms > _TOO_LONG * self._span_ms
        if too_long and last_ms > piece.start_ms and self._side_by_side():
            return Piece(last_ms, piece.end_ms, told=frozenset(told), follows=piece.follows)
        return replace(piece, token=page.token, told=frozenset(told))

    def _after_nothing(self, piece: Piece, token: str) -> Piece:
        """AWS looked through some of it and found nothing; how far it came, it does not say."""
        if piece.token or piece.follows or not self._side_by_side():
            return replace(piece, token=token)
        self._span_ms = max(1, piece.length_ms // _PARTS)
        return replace(piece, follows=True)

    def _learn(self, piece: Piece, page: Page) -> None:
        """How much time a piece should have, by how dense this page is."""
        first_ms = page.events[0]["timestamp"] if piece.token else piece.start_ms
        last_ms = page.events[-1]["timestamp"] if page.token else piece.end_ms
        covered_ms = last_ms - first_ms + 1
        if page.token:
            self._full = page.size
        fill = page.size / self._full
        if fill < 0.05:  # too little to go by
            self._span_ms = max(self._span_ms, 2 * covered_ms)
        else:
            self._span_ms = max(1, int(PIECE * covered_ms / fill))
