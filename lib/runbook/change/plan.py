"""A change and a plan as data: frozen, JSON only, with a digest that names exactly this plan.

Nothing here touches the world. What a plan says is what is reviewed, and what is reviewed is
what `door` applies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from math import isfinite
from typing import Any, Final, Literal

import rfc8785

from runbook.errors import BadInput, Refused
from runbook.record import redaction

Json = Any
Risk = Literal["low", "high", "destructive"]
OnFailure = Literal["stop", "inverse"]

KNOWN_AFTER_APPLY: Final = {"$known": "after apply"}
"""Stands for a value that the world gives when the change is applied, such as an id or a time."""

DIGEST_PREFIX = "plan-"
_UNDO = "Undo: "
_LARGEST_EXACT = 2**53 - 1  # RFC 8785: beyond it JSON readers disagree
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
SHORTEST_NAME = 6  # hex characters that are enough to name a plan


@dataclass(frozen=True)
class RowSet:
    """A large set beside the plan: JSON lines in a file that the plan names by its hash.

    The first line is a header that the kind reads; each other line is one row with its `key`,
    `before` and `after`. What they all have in common may stand in the header once, as `every`.
    `swapped` exchanges the two for every row: that is the inverse.
    """

    name: str
    sha256: str
    count: int
    swapped: bool = False
    data: bytes = field(default=b"", repr=False, compare=False)  # until the plan is saved

    @classmethod
    def of(
        cls,
        header: Mapping[str, Json],
        rows: Iterable[Mapping[str, Json]],
        *,
        every: Mapping[str, Json] | None = None,
    ) -> RowSet:
        """The set of these rows, with its hash; `data` is written beside the plan on saving.

        `every` has a `before` and an `after` of which each row gives only the rest. Raises
        BadInput for anything but JSON, and for a value that is known to be a secret.
        """
        first = {**header, "every": every} if every else header
        lines = [_line(row) for row in chain((first,), rows)]
        text = "\n".join(lines) + "\n"
        _refuse_secrets(text, "rows")
        data = text.encode()
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(f"rows-{sha256[:12]}.jsonl", sha256, len(lines) - 1, data=data)

    def as_json(self) -> dict[str, Json]:
        return {key: getattr(self, key) for key in ("name", "sha256", "count", "swapped")}


@dataclass(frozen=True)
class Change:
    """One change of one target: what is there, and what is to be there.

    `kind` names the pair of functions that read and apply it; `target` is what is locked and
    guarded (`ecs:CLUSTER/SERVICE`). `before` and `after` have the same keys.
    Raises BadInput for anything but JSON, and for a value that is known to be a secret.
    """

    kind: str
    target: str
    before: Json
    after: Json
    reversible: bool = True
    rows: RowSet | None = None

    def __post_init__(self) -> None:
        plain([self.kind, self.target], "kind and target")
        for side in ("before", "after"):
            object.__setattr__(self, side, plain(getattr(self, side), f"{self.target}: {side}"))

    def inverse(self) -> Change:
        """The change back."""
        rows = self.rows and replace(self.rows, swapped=not self.rows.swapped)
        return replace(self, before=self.after, after=self.before, rows=rows)

    def as_json(self) -> dict[str, Json]:
        content = {
            "kind": self.kind,
            "target": self.target,
            "before": self.before,
            "after": self.after,
            "reversible": self.reversible,
        }
        if self.rows:
            content["rows"] = self.rows.as_json()
        return content


@dataclass(frozen=True)
class Origin:
    """Where a plan comes from; its digest covers all of it."""

    environment: str
    account: str
    section: str
    notebook_sha256: str
    parameters: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", plain(self.parameters, "parameters"))


@dataclass(frozen=True)
class Plan:
    """Changes in the order in which they will be applied, and what a reviewer has to know.

    `way_back` says how to go back and what that costs, in one sentence. `on_failure` is what
    happens to the changes already made when a later one fails: `stop` leaves them, `inverse`
    takes them back. `origin` is added when a section makes the plan its own. Raises BadInput for
    a value that is known to be a secret.
    """

    title: str
    risk: Risk
    changes: tuple[Change, ...]
    way_back: str
    warnings: tuple[str, ...] = ()
    on_failure: OnFailure = "stop"
    undoes: bool = False
    origin: Origin | None = None

    def __post_init__(self) -> None:
        plain([self.title, self.way_back, *self.warnings], "title, way back and warnings")

    @property
    def digest(self) -> str:
        """`plan-` and the SHA-256 of the canonical JSON (RFC 8785) of all that the plan says."""
        return DIGEST_PREFIX + hashlib.sha256(rfc8785.dumps(self.as_json())).hexdigest()

    @property
    def short(self) -> str:
        """The digest as a person types it: six hex characters."""
        return self.digest.removeprefix(DIGEST_PREFIX)[:SHORTEST_NAME]

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target once, sorted: the order in which locks are taken."""
        return tuple(sorted({change.target for change in self.changes}))

    @property
    def reversible(self) -> bool:
        return all(change.reversible for change in self.changes)

    def inverse(self) -> Plan:
        """The plan that takes all of it back, last change first; its inverse is this plan.

        Raises Refused when a change cannot be taken back, naming it.
        """
        stuck = [change.target for change in self.changes if not change.reversible]
        if stuck:
            raise Refused(f"{self.title!r} cannot be undone: {', '.join(stuck)}. {self.way_back}")
        changes = tuple(change.inverse() for change in reversed(self.changes))
        title = undo_title(self.title)
        return replace(self, title=title, changes=changes, undoes=not self.undoes)

    def as_json(self) -> dict[str, Json]:
        """All that the digest covers, as plain JSON."""
        return {
            "title": self.title,
            "risk": self.risk,
            "changes": [change.as_json() for change in self.changes],
            "way_back": self.way_back,
            "warnings": list(self.warnings),
            "on_failure": self.on_failure,
            "undoes": self.undoes,
            "origin": plain(self.origin.__dict__, "origin") if self.origin else None,
        }

    def on_record(self) -> dict[str, Json]:
        """What `plan.json` holds: the digest, then all that it covers."""
        return {"digest": self.digest, **self.as_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> Plan:
        """The plan that `as_json` gave."""
        changes = tuple(
            Change(**{**change, "rows": RowSet(**change["rows"]) if "rows" in change else None})
            for change in content["changes"]
        )
        return cls(
            **{
                **content,
                "changes": changes,
                "warnings": tuple(content["warnings"]),
                "origin": Origin(**content["origin"]) if content["origin"] else None,
            }
        )


def undo_title(title: str) -> str:
    """The title of the way back; of an undo, that is the first title again."""
    return title.removeprefix(_UNDO) if title.startswith(_UNDO) else _UNDO + title


def plain(value: Json, where: str) -> Json:
    """A copy of `value` that is JSON and nothing else. Raises BadInput, naming `where`."""
    try:
        canonical = rfc8785.dumps(value).decode()
        copied = json.loads(canonical, parse_int=_exact)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{where}: a plan holds plain JSON, found {_offender(value)}.") from error
    _refuse_secrets(canonical, where)
    return copied


def matches(expected: Json, found: Json) -> bool:
    """Whether the world is as expected: equal, where `found` may know more keys.

    A value that is known only after apply matches anything.
    """
    if expected == KNOWN_AFTER_APPLY:
        return True
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and matches(expected[key], found[key]) for key in expected)
    return bool(expected == found)


def restrict(found: Json, like: Json) -> Json:
    """Of what was found, the keys that the plan speaks of."""
    if isinstance(found, dict) and isinstance(like, dict) and like != KNOWN_AFTER_APPLY:
        return {key: restrict(found.get(key), value) for key, value in like.items()}
    return found


def differences(expected: Json, found: Json, path: str = "") -> list[str]:
    """What moved, one sentence a value: `desired_count: expected 4, found 6`."""
    if matches(expected, found):
        return []
    if isinstance(expected, dict) and isinstance(found, dict):
        moved: list[str] = []
        for key in expected:
            below = f"{path}.{key}" if path else key
            moved += differences(expected[key], found.get(key), below)
        return moved
    return [f"{path or 'value'}: expected {expected!r}, found {found!r}"]


def _line(row: Mapping[str, Json]) -> str:
    """One line of a set's file. Raises BadInput for anything but JSON."""
    try:
        line = _encode(row)
        line.encode()
    except (ValueError, TypeError) as error:
        raise BadInput(f"rows: a plan holds plain JSON, found {_offender(row)}.") from error
    return line


def _refuse_secrets(text: str, where: str) -> None:
    """Raise BadInput when a text holds the value of a known secret, in whatever encoding."""
    leaked = redaction.held_in(text)
    if leaked:
        raise BadInput(
            f"{where}: the value of {', '.join(leaked)} must not enter a plan.",
            next="Plan with its version id instead.",
        )


def _exact(digits: str) -> int:
    """The integer, unless it is too large: a float can be, that is written without a fraction."""
    if abs(int(digits)) > _LARGEST_EXACT:
        raise ValueError(digits)
    return int(digits)


def _offender(value: Json) -> str:
    """The first value in there that is not JSON, by its type."""
    if isinstance(value, dict):
        inside = (_bad_key(key) or _offender(item) for key, item in value.items())
        found = next(filter(None, inside), "")
    elif isinstance(value, list | tuple):
        found = next(filter(None, map(_offender, value)), "")
    elif isinstance(value, str):
        found = _bad_text(value)
    elif isinstance(value, int | float) and _LARGEST_EXACT < abs(value) < float("inf"):
        found = f"{value}, too large to be exact everywhere (write it as text)"
    elif value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        found = ""
    else:
        found = f"{type(value).__name__} {value!r}"
    return found


def _bad_key(key: object) -> str:
    return _bad_text(key) if isinstance(key, str) else f"the key {key!r}, which is not a text"


def _bad_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{text!r}, which is not valid Unicode"
    return ""
