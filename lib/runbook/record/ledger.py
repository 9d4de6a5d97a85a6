"""The ledger: each sealed run is chained to the one before it, so that nobody can change the past.

ledger/00000042.json    one entry, in canonical JSON, never written again

    {"at": …, "files": {"run.json": {"bytes": 1204, "sha256": …}, …},
     "previous": the SHA-256 of entry 41, "run": …, "sequence": 42}

An entry's hash is the SHA-256 of the object itself. Entries are created only if absent: where two
runs are sealed at once the store lets one have the number, and the other takes the next.

A run that is sealed stays as it is, but for its journal: an approval, a takeover or what
`reconcile` found later is a line more. A second entry of the same run then names the journal as it
is now, and that it begins with what was there before is checked, here and by `verify`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from runbook.errors import BadInput
from runbook.record.journal import Journal
from runbook.record.runs import Run
from runbook.record.store import AlreadyThere, Store, batches, side_by_side
from runbook.wait import SYSTEM_CLOCK, Clock

FOLDER = "ledger"
GENESIS = "0" * 64  # what the first entry names as the one before it
GROWS = "journal.jsonl"  # the one file of a sealed run that may have lines added
_CLOCKS_DIFFER_BY = timedelta(hours=1)  # at most, between machines that share a record


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file as an entry names it."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `number` is its object's, `sequence` what it says of itself."""

    number: int
    sequence: int
    previous: str
    run: str
    at: datetime
    files: Mapping[str, Hashed]
    sha256: str


@dataclass(frozen=True)
class Anchor:
    """The ledger's head as it was at one time, kept in another place."""

    environment: str
    sequence: int
    sha256: str
    at: str


def chain(run: Run, *, clock: Clock = SYSTEM_CLOCK) -> None:
    """Put the files of a run into the ledger, once; later, what was added to its journal.

    A sealed run in which anything else has changed is left as it is, for `verify` to find.
    """
    while (entry := _due(run, clock)) is not None:
        sequence = entry["sequence"]
        # somebody else may have had the number, or a line have been added: then there is more due
        try:
            run.store.create(_key(sequence), rfc8785.dumps(entry))
        except AlreadyThere:
            continue
        for key in (_key(sequence), *map(run.key, entry["files"])):
            run.store.keep(key)


def is_chained(run: Run) -> bool:
    """Whether the ledger has the run."""
    return _last_of(run) is not None


@contextmanager
def later(run: Run) -> Iterator[Journal]:
    """The journal of a run that may be sealed, for somebody else to add what they know.

    What was added is chained, or, after a crash in between, by the next command.
    """
    run.mark()
    yield run.journal
    if is_chained(run):
        chain(run)
        run.ended()


def entries(store: Store) -> list[Entry | str]:
    """All entries by their numbers; of an object that is no entry, its key."""

    def read(batch: Sequence[str]) -> list[Entry | str]:
        return [_read(store, key) or key for key in batch]

    return [each for found in side_by_side(read, batches([*store.keys(FOLDER)])) for each in found]


def is_entry(key: str) -> bool:
    """Whether an object of this name would be an entry."""
    return _number(key) > 0


def anchor(store: Store, anchors: Store, *, environment: str, clock: Clock) -> Anchor:
    """Put the ledger's head where `verify --anchor` finds it. Raises BadInput without a head."""
    numbers = _numbers(store)
    head = _read(store, _key(numbers[-1])) if numbers else None
    if head is None:
        raise BadInput(
            "The ledger has no entry to anchor.", next="See whether that can be: ./runbook verify"
        )
    made = Anchor(environment, head.sequence, head.sha256, clock.now().isoformat())
    content: dict[str, Any] = {
        "environment": made.environment,
        "sequence": made.sequence,
        "sha256": made.sha256,
        "at": made.at,
    }
    key = f"{made.sequence:08d}-{made.sha256[:16]}.json"
    try:
        anchors.create(key, rfc8785.dumps(content))
    except AlreadyThere:
        return next(each for each in all_anchors(anchors) if each.sha256 == made.sha256)
    anchors.keep(key)
    return made


def all_anchors(anchors: Store) -> list[Anchor]:
    """Every anchor, oldest first."""
    read = side_by_side(anchors.read, list(anchors.keys("")))
    return [Anchor(**json.loads(stored.data)) for stored in read if stored]


def _due(run: Run, clock: Clock) -> dict[str, Any] | None:
    """The entry that is still missing for a run, or None."""
    numbers = _numbers(run.store)
    files: dict[str, Any] = _files(run)
    last = _last_of(run, numbers)
    if last and not _only_grew(run, last.files, files):
        return None
    head = run.store.digest(_key(numbers[-1])) if numbers else None
    return {
        "at": clock.now().isoformat(),
        "files": files,
        "previous": head.sha256 if head else GENESIS,
        "run": run.id,
        "sequence": numbers[-1] + 1 if numbers else 1,
    }


def _files(run: Run) -> dict[str, dict[str, Any]]:
    folder = run.key("")
    keys = list(run.store.keys(folder.rstrip("/")))
    digests = side_by_side(run.store.digest, keys)
    return {
        key.removeprefix(folder): {"bytes": digest.size, "sha256": digest.sha256}
        for key, digest in zip(keys, digests, strict=True)
        if digest
    }


def _only_grew(run: Run, before: Mapping[str, Hashed], now: Mapping[str, Any]) -> bool:
    """Whether the journal has become longer and nothing else is different."""
    old, new = before.get(GROWS), now.get(GROWS)
    if old is None or new is None or new["bytes"] <= old.bytes:
        return False
    rest = {name: (each.bytes, each.sha256) for name, each in before.items() if name != GROWS}
    if rest != {n: (each["bytes"], each["sha256"]) for n, each in now.items() if n != GROWS}:
        return False
    digest = run.store.digest(run.key(GROWS), beginnings=[old.bytes])
    return digest is not None and digest.beginnings == (old.sha256,)


def _last_of(run: Run, numbers: list[int] | None = None) -> Entry | None:
    """The run's newest entry: it cannot be older than the run itself."""
    earliest = run.began() - _CLOCKS_DIFFER_BY
    for number in reversed(_numbers(run.store) if numbers is None else numbers):
        entry = _read(run.store, _key(number))
        if entry and entry.run == run.id:
            return entry
        if entry and entry.at < earliest:
            return None
    return None


def _numbers(store: Store) -> list[int]:
    return sorted(number for key in store.keys(FOLDER) if (number := _number(key)))


def _read(store: Store, key: str) -> Entry | None:
    stored = store.read(key)
    if stored is None or not is_entry(key):
        return None
    try:
        content = json.loads(stored.data)
        at = datetime.fromisoformat(content["at"])
        if at.tzinfo is None:
            return None
        return Entry(
            number=_number(key),
            sequence=int(content["sequence"]),
            previous=content["previous"],
            run=content["run"],
            at=at,
            files={name: Hashed(**each) for name, each in content["files"].items()},
            sha256=hashlib.sha256(stored.data).hexdigest(),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _key(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"


def _number(key: str) -> int:
    """The number in an entry's key; 0 for a key that is no entry's."""
    name = key.removeprefix(f"{FOLDER}/").removesuffix(".json")
    return int(name) if name.isdecimal() and key == _key(int(name)) else 0
