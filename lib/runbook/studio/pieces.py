"""Large sets, taken piece by piece, and told by their first few names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from runbook.change.kinds import Judgement

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


def judged(
    rows: Iterable[Mapping[str, Any]],
    states: Callable[[Sequence[Any]], Sequence[str]],
    *,
    chunk: int,
) -> Judgement:
    """To do while one key is as planned; in place when all of them are; else it has moved.

    `states` says of each row of a chunk whether its `key` is as `before`, as `after`, or `moved`.
    """
    moved: list[str] = []
    for piece in in_chunks(rows, chunk):
        found = states(piece)
        if "before" in found:
            return Judgement("to do")
        moved += [row["key"] for row, state in zip(piece, found, strict=True) if state == "moved"]
    if not moved:
        return Judgement("holds")
    return Judgement("moved", (f"none is as it was when this was planned; changed: {some(moved)}",))
