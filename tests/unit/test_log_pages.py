"""A log group is read whole, in order and without repeats, however AWS cuts its pages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.studio.logs import pages
from runbook.studio.logs.pages import Page, Piece


class Group:
    """A log group in memory that answers as FilterLogEvents does, with small pages."""

    def __init__(self, times: Sequence[int], *, page: int, barren: int = 0):
        text = "x" * (pages.MOST_BYTES // page)
        self.events: list[dict[str, Any]] = [
            {"timestamp": at, "eventId": str(number), "message": text}
            for number, at in enumerate(sorted(times))
        ]
        self._page, self._barren = page, barren
        self._lock = threading.Lock()
        self.requests = 0

    def fetch(self, piece: Piece) -> Page:
        with self._lock:
            self.requests += 1
        first, empties = map(int, piece.token.split("/")) if piece.token else (0, self._barren)
        mine = [e for e in self.events if piece.start_ms <= e["timestamp"] <= piece.end_ms]
        if empties:  # a page with nothing but a token, as AWS may send at any time
            return Page([], f"{first}/{empties - 1}")
        last = first + self._page
        token = f"{last}/{self._barren}" if last < len(mine) else ""
        return Page([*mine[first:last]], token)


def read(group: Group, *, start: int, end: int, ahead: int = 4) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(4) as pool:
        found = pages.read(group.fetch, pool, start_ms=start, end_ms=end, ahead=ahead)
        return [dict(event) for page in found for event in page]


@settings(max_examples=80, deadline=None)
@given(
    times=st.lists(st.integers(0, 300), max_size=120),
    page=st.integers(1, 40),
    barren=st.integers(0, 2),
    ahead=st.integers(1, 6),
)
def test_every_event_comes_once_and_in_the_order_of_the_group(
    times: list[int], page: int, barren: int, ahead: int
) -> None:
    group = Group(times, page=page, barren=barren)
    wanted = [event for event in group.events if 20 <= event["timestamp"] <= 280]
    assert read(group, start=20, end=280, ahead=ahead) == wanted


def test_what_fits_one_page_costs_one_request() -> None:
    group = Group(range(0, 1000, 10), page=100)
    assert len(read(group, start=0, end=999)) == 100
    assert group.requests == 1


def test_cutting_costs_little_more_than_one_page_after_the_other() -> None:
    group = Group(range(50_000), page=1000)
    assert len(read(group, start=0, end=49_999)) == 50_000
    assert group.requests <= 50 * 1.25


def test_a_burst_in_a_quiet_time_is_read_in_pieces_too() -> None:
    times = [*range(0, 100_000, 100), *range(50_000, 60_000)]
    group = Group(times, page=200)
    assert len(read(group, start=0, end=100_000)) == len(times)
    assert group.requests <= 2 * len(times) / 200


def test_empty_pages_are_followed_and_not_cut_for_ever() -> None:
    group = Group(range(0, 10_000, 1000), page=50, barren=3)
    assert len(read(group, start=0, end=9_999)) == 10
    assert group.requests <= 60


def test_no_more_than_agreed_is_held_in_memory() -> None:
    group = Group(range(10_000), page=100)
    with ThreadPoolExecutor(8) as pool:
        found: Iterator[Any] = pages.read(group.fetch, pool, start_ms=0, end_ms=9_999, ahead=5)
        taken = list(itertools.islice(found, 10))
        assert group.requests <= len(taken) + 5
        assert sum(len(page) for page in found) + sum(map(len, taken)) == 10_000


def test_an_error_of_one_page_reaches_the_reader() -> None:
    def fetch(piece: Piece) -> Page:
        raise ConnectionError("gone")

    with ThreadPoolExecutor(1) as pool, pytest.raises(ConnectionError):
        list(pages.read(fetch, pool, start_ms=0, end_ms=10, ahead=2))
