"""Large sets, taken piece by piece, and told by their first few names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
_NAMED = 3


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of so many items; the last one may be shorter."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
