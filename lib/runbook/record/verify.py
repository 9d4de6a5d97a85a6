"""Verify: is the record as it was sealed? Every file and entry is read; findings are one line each.

The chain is followed from its newest entry back by the hashes, so that what was done to it can be
told apart: an entry that is not on the way was inserted, one that is missing was removed, one that
is there under another hash was changed. What lies at the end of the chain only an anchor can
vouch for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from runbook.record.ledger import GENESIS, GROWS, Anchor, Entry, Hashed, entries, is_entry
from runbook.record.runs import Run, running
from runbook.record.store import Store, batches, side_by_side

What = Literal["changed", "removed", "inserted", "reordered", "cut off", "rewritten", "unchained"]
_LOOKS = 3  # while others write, what looks wrong is looked at again


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was sealed."""

    what: What
    where: str  # a key in the record
    sentence: str

    def __str__(self) -> str:
        return f"{self.what:<10}{self.where}: {self.sentence}"


@dataclass
class Verified:
    """What verifying came to."""

    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    runs: int = 0
    files: int = 0
    running: list[str] = field(default_factory=list)
    anchors: int | None = None  # None: not compared
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.findings

    def summary(self) -> str:
        """One sentence: what was compared, and what came of it."""
        against = "no anchor" if self.anchors is None else f"{self.anchors} anchor(s)"
        came = "as they were sealed" if self.holds else f"{len(self.findings)} finding(s)"
        return (
            f"{self.runs:,} runs, {self.files:,} files, {self.entries:,} entries and {against} "
            f"in {self.seconds:.1f} s: {came}; {len(self.running)} not sealed yet"
        )

    def as_json(self) -> dict[str, Any]:
        findings = [vars(each) for each in self.findings]
        return {"holds": self.holds, **vars(self), "findings": findings}


def verify(store: Store, anchors: Sequence[Anchor] | None = None) -> Verified:
    """Compare the record with its ledger, and the ledger with the anchors when they are given."""
    began = time.monotonic()
    for _ in range(_LOOKS):
        before = _state(store)
        found = _look(store, anchors)
        if found.holds or _state(store) == before:
            break
    found.seconds = round(time.monotonic() - began, 3)
    return found


def _state(store: Store) -> tuple[list[str], list[str]]:
    """What moves when somebody seals a run or adds to one."""
    return list(store.keys("running")), list(store.keys("ledger"))


def _look(store: Store, anchors: Sequence[Anchor] | None) -> Verified:
    # in this order: a run that is sealed meanwhile is still marked, or chained already
    folders = store.names("runs")
    marked = {run.id for run in running(store)}
    found = Verified()
    chained: dict[str, list[Entry]] = {}
    for entry in _follow(entries(store), found):
        chained.setdefault(entry.run, []).append(entry)
    if anchors is not None:
        found.anchors = len(anchors)
        found.findings += _against(anchors, chained, found.entries)
    found.runs = len(folders)
    found.running = [name for name in folders if name in marked and name not in chained]
    for name in sorted({*folders, *chained}):
        if name not in chained and name not in marked:
            found.findings.append(
                Finding("unchained", f"runs/{name}", "the ledger does not know this run.")
            )

    def check(batch: Sequence[tuple[str, list[Entry]]]) -> tuple[int, list[Finding]]:
        files = 0
        findings: list[Finding] = []
        for name, known in batch:
            files += len(known[-1].files)
            findings += _check_run(Run(store, name), known, growing=name in marked)
        return files, findings

    for files, findings in side_by_side(check, batches(sorted(chained.items()))):
        found.files += files
        found.findings += findings
    return found


def _follow(all_entries: Sequence[Entry | str], found: Verified) -> list[Entry]:
    """The chain, oldest first; what is wrong with it goes into `found`."""
    read: list[Entry] = []
    for each in all_entries:
        if isinstance(each, str):
            what: What = "changed" if is_entry(each) else "inserted"
            found.findings.append(Finding(what, each, "this is no entry of a ledger."))
        else:
            read.append(each)
    way, findings = _way_back(read)
    on_it = {id(entry) for entry in way}
    findings += [
        Finding("inserted", _where(entry), f"no entry after it knows it (run {entry.run}).")
        for entry in read
        if id(entry) not in on_it
    ]
    findings += _out_of_order(way)
    found.entries = max((entry.sequence for entry in way), default=0)
    found.findings += findings
    return way


def _way_back(read: Sequence[Entry]) -> tuple[list[Entry], list[Finding]]:
    """From the newest entry to the first by the hashes, past what is broken; oldest first."""
    # of two that are the same, the one in its own place
    by_hash = {
        entry.sha256: entry for entry in sorted(read, key=lambda each: each.number == each.sequence)
    }
    by_sequence: dict[int, list[Entry]] = {}
    for entry in read:
        by_sequence.setdefault(entry.sequence, []).append(entry)
    way: list[Entry] = []
    findings: list[Finding] = []
    below = sorted(sequence for sequence in by_sequence if sequence > 0)
    if not below:
        return way, findings
    current = max(by_sequence[below[-1]], key=lambda entry: entry.number)
    while True:
        way.append(current)
        sequence, wanted = current.sequence - 1, by_hash.get(current.previous)
        if wanted and wanted.sequence == sequence > 0:
            current = wanted
            continue
        below = [each for each in below if each <= sequence]
        if below[-1:] != [sequence] and sequence > 0:
            findings.append(_missing(below[-1] + 1 if below else 1, sequence))
        elif sequence > 0:
            sentence = f"this is not what entry {current.sequence} was chained to."
            findings.append(Finding("changed", _where(by_sequence[sequence][0]), sentence))
        elif current.previous != GENESIS:
            findings.append(Finding("changed", _where(current), "the first has none before it."))
        if not below:
            return way[::-1], findings
        current = by_sequence[below[-1]][0]


def _missing(first: int, last: int) -> Finding:
    told = "the entry is missing." if first == last else f"missing from here to entry {last}."
    return Finding("removed", f"ledger/{first:08d}.json", told)


def _out_of_order(way: Sequence[Entry]) -> Iterator[Finding]:
    """Entries that lie in each other's places; not those that merely had to make room."""
    moved = [entry for entry in way if entry.number != entry.sequence]
    exchanged = {entry.number for entry in moved} == {entry.sequence for entry in moved}
    highest = 0
    for entry in moved:
        if exchanged or entry.number < highest:
            yield Finding("reordered", _where(entry), f"here lies entry {entry.sequence}.")
        highest = max(highest, entry.number)


def _against(
    anchors: Sequence[Anchor], chained: Mapping[str, Sequence[Entry]], last: int
) -> Iterator[Finding]:
    """What the anchors remember and the chain does not."""
    known = {entry.sequence: entry for entries in chained.values() for entry in entries}
    for each in anchors:
        entry = known.get(each.sequence)
        at = f"{each.at[:19].replace('T', ' ')} UTC"
        where = f"ledger/{each.sequence:08d}.json"
        if entry is None and each.sequence > last:
            yield Finding(
                "cut off",
                where,
                f"at {at} the ledger had {each.sequence} entries, now it has {last}.",
            )
        elif entry is not None and entry.sha256 != each.sha256:
            yield Finding(
                "rewritten", where, f"the entry is not the one that was anchored at {at}."
            )


def _check_run(run: Run, known: Sequence[Entry], *, growing: bool) -> Iterator[Finding]:
    """A sealed run's files against its entries: all there, all as they were, and none more."""
    folder = run.key("")
    sealed = known[-1].files
    there = {key.removeprefix(folder) for key in run.store.keys(f"runs/{run.id}")}
    if not there:
        yield Finding("removed", f"runs/{run.id}", "the whole run is missing.")
        return
    for name in sorted(there - sealed.keys()):
        yield Finding("inserted", run.key(name), "the run was sealed without this file.")
    for name, wanted in sealed.items():
        if name not in there:
            yield Finding("removed", run.key(name), "the file is missing.")
            continue
        earlier = {entry.files[name] for entry in known[:-1] if name in entry.files} - {wanted}
        yield from _check_file(run, name, wanted, earlier, growing=growing)


def _check_file(
    run: Run, name: str, wanted: Hashed, earlier: set[Hashed], *, growing: bool
) -> Iterator[Finding]:
    versions = sorted({*earlier, wanted}, key=lambda each: each.bytes) if name == GROWS else []
    digest = run.store.digest(run.key(name), beginnings=[each.bytes for each in versions])
    if digest is None:
        yield Finding("removed", run.key(name), "the file is missing.")
    elif name != GROWS:
        if earlier:
            yield Finding("changed", run.key(name), "two entries of its run know it differently.")
        elif (digest.size, digest.sha256) != (wanted.bytes, wanted.sha256):
            yield Finding("changed", run.key(name), "the file is not as it was sealed.")
    elif digest.beginnings != tuple(each.sha256 for each in versions):
        yield Finding("changed", run.key(name), "the file is not as it was sealed.")
    elif digest.size > wanted.bytes and not growing:
        yield Finding("inserted", run.key(name), "lines were added and never chained.")


def _where(entry: Entry) -> str:
    return f"ledger/{entry.number:08d}.json"
