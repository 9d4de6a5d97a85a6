"""Kinds of change. Each costs its author two functions, `read` and `apply`; the rest is derived.

From `read` alone come the stale check (`read == before`), the no-op (`read == after`), what a
resumed run may skip, verification, and what an interrupted intent came to. A kind overrides what
does not fit a world that moves by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal, Protocol

from runbook.change.plan import Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent

State = Literal["to do", "holds", "moved"]


@dataclass(frozen=True)
class Judgement:
    """What a change finds: to be done, in place already, or based on what has moved."""

    state: State
    moved: tuple[str, ...] = ()


class Rows(Protocol):
    """The rows of a change's set, as they are applied (a swapped set is swapped already)."""

    @property
    def header(self) -> Mapping[str, Json]: ...
    def __iter__(self) -> Iterator[dict[str, Json]]: ...


@dataclass(frozen=True)
class Step:
    """One mutation on record: its intent, and what will be written with its result."""

    intent: Intent
    left: dict[str, Json]


class Steps(Protocol):
    """What a kind that works in pieces is given: each piece is an intent, then a result."""

    def step(self, detail: Mapping[str, Json]) -> AbstractContextManager[Step]:
        """Intent on entering, result on leaving. Checks the lock first; raises LockLost.

        Steps of one change may be taken side by side, from threads.
        """
        ...

    def progress(self, done: int, total: int) -> None:
        """Tell whoever watches how far it is."""
        ...


Read = Callable[[Clients, str], Json]
Apply = Callable[[Clients, Change, Intent], None]
ApplyPieces = Callable[[Clients, Change, Rows, Steps], Mapping[str, Json]]
Judge = Callable[[Clients, Change, Rows | None], Judgement]
Settled = Callable[[Clients, Change, Intent], bool | None]
Measure = Callable[[Change], Mapping[str, float]]
TakeBack = Callable[[Change, Rows | None, list[tuple[Intent, Json]]], Change | None]


@dataclass(frozen=True)
class Kind:
    """How one kind of change is read, applied and judged.

    `apply` makes a change in one step. A large set has `apply_pieces` instead, which makes its
    own steps and returns what it did. `settled` says of an interrupted intent whether it
    happened (None: cannot be told yet). `measure` gives the numbers that guardrails compare with
    their limits. `take_back` builds the change that undoes just what was done. `trails`: it
    carries out what was changed before it (a restart), so it comes last on the way back too.
    """

    name: str
    read: Read
    apply: Apply | None
    apply_pieces: ApplyPieces | None
    judge: Judge
    settled: Settled
    measure: Measure
    take_back: TakeBack
    trails: bool = False


_kinds: dict[str, Kind] = {}


def register(
    name: str,
    *,
    read: Read,
    apply: Apply | None = None,
    apply_pieces: ApplyPieces | None = None,
    judge: Judge | None = None,
    settled: Settled | None = None,
    measure: Measure | None = None,
    take_back: TakeBack | None = None,
    trails: bool = False,
    regional: bool = False,
    parted: bool = False,
) -> Kind:
    """Make a kind known; the module that owns the thing calls this once, on import.

    `parted`: each key of it is set by a call of its own, to just its value; whoever is cut off
    leaves some set and others not, and whoever takes it up again sets the rest.
    `regional`: a target that ends with `@REGION` is read and applied with clients of that region,
    and its functions see the target without it.
    """
    if regional:
        read, apply, judge, settled = (_there(one) for one in (read, apply, judge, settled))
    if (apply is None) == (apply_pieces is None):
        raise TypeError(f"{name}: give either apply or apply_pieces")
    if name in _kinds and _kinds[name].read.__module__ != read.__module__:
        owner = _kinds[name].read.__module__
        raise TypeError(f"{name}: {owner} and {read.__module__} both own it; it would be applied "
                        "by whichever was imported last")  # fmt: skip
    judge_by, settled_by = (
        (_judge_parts_by, _parts_settled_by) if parted else (_judge_by, _settled_by)
    )
    kind = Kind(
        name=name,
        read=read,
        apply=apply,
        apply_pieces=apply_pieces,
        judge=judge or judge_by(read),
        settled=settled or settled_by(read),
        measure=measure or (lambda change: {}),
        take_back=take_back or _take_back,
        trails=trails,
    )
    _kinds[name] = kind
    return kind


def kind_of(change: Change) -> Kind:
    """The kind of a change. Raises BadInput: what cannot be read and applied is not planned."""
    if change.kind not in _kinds:
        import runbook.studio  # noqa: F401  every module there registers its own kinds

    if change.kind not in _kinds:
        raise BadInput(
            f"Nothing here knows how to apply a change of the kind {change.kind!r} "
            f"({change.target}); known are: {', '.join(sorted(_kinds))}.",
        )
    return _kinds[change.kind]


def at(region: str, changes: Iterable[Change]) -> tuple[Change, ...]:
    """The same changes of regional kinds, in another region than the active one."""
    return tuple(replace(one, target=f"{one.target}@{region}") for one in changes)


def _there(function: Any) -> Any:
    """A kind's function that goes to the region that its target names."""
    if function is None:
        return None

    @wraps(function)
    def call(clients: Clients, about: Change | str, *rest: Any) -> Any:
        target, _, region = (about if isinstance(about, str) else about.target).partition("@")
        if not region:
            return function(clients, about, *rest)
        bare = target if isinstance(about, str) else replace(about, target=target)
        return function(clients.within(region), bare, *rest)

    return call


def _judge_by(read: Read) -> Judge:
    def judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
        found = read(clients, change.target)
        if change.before == change.after and matches(change.before, found):
            return Judgement("holds")
        if matches(change.before, found):
            return Judgement("to do")
        if matches(change.after, found):
            return Judgement("holds")
        return Judgement("moved", tuple(differences(change.before, found)))

    return judge


def _settled_by(read: Read) -> Settled:
    def settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
        found = read(clients, change.target)
        if matches(change.before, found):
            return False
        return True if matches(change.after, found) else None

    return settled


def _judge_parts_by(read: Read) -> Judge:
    def judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
        """Each part is compared as a whole: it is written as one, over what somebody has added."""
        found, before, after = read(clients, change.target), change.before, change.after
        moved = [key for key in after if found.get(key) not in (before[key], after[key])]
        if moved:
            told = (_part_told(key, before[key], found.get(key)) for key in moved)
            return Judgement("moved", tuple(told))
        holds = all(found.get(key) == after[key] for key in after)
        return Judgement("holds" if holds else "to do")

    return judge


def _part_told(key: str, expected: Json, found: Json) -> str:
    """A sentence; what is large is not told whole."""
    if isinstance(expected, dict):
        return f"{key}: is not as it was"
    return f"{key}: expected {expected!r}, found {found!r}"


def _parts_settled_by(read: Read) -> Settled:
    def settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
        """It happened once a part of it has: what was found then is what will be taken back."""
        found = read(clients, change.target)
        parts = [key for key in change.after if change.after[key] != change.before[key]]
        if any(found.get(key) == change.after[key] for key in parts):
            return True
        return False if all(found.get(key) == change.before[key] for key in parts) else None

    return settled


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """The inverse of what was left: values known only after apply are filled in from the result."""
    if not done:
        return None
    _, left = done[-1]
    inverse = change.inverse()
    return Change(inverse.kind, inverse.target, before=left["found"], after=inverse.after)
