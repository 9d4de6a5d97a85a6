"""Attack copies of a record in eleven ways, and see which of them `verify` finds.

The attacker may write everything in the record, has the library's own means to chain anew what
they changed, and cannot write where the anchors are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from runbook import settings
from runbook.record import ledger
from runbook.record.ledger import Anchor
from runbook.record.runs import Run
from runbook.record.store import FolderStore, digest_of
from runbook.record.verify import Finding, verify
from runbook.run.verdict import seal
from runbook.settings import Environment
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.proofs.proof import Asked

FORGED = "20261124T084512Z-forged-000000"
_RUNS, _ATTACKED, _EMPTY = 11, 4, b"{}"


class Record:
    """A record of sealed runs in a folder, its anchors beside it, and how to tamper with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FolderStore(folder / "record")
        self.anchors = FolderStore(folder / "anchors")
        content = settings.load("sandbox").model_dump()
        content["record"] = {"store": str(self.store.root), "single_machine": True}
        self.environment = Environment.model_validate(content)

    def seal_one(self) -> Run:
        """One more run, sealed."""
        run = Run.begin(
            self.environment,
            section="prove-ledger",
            notebook_sha256="0" * 64,
            parameters={},
            mode="headless",
        )
        run.store.write(run.key("notebook.ipynb"), _EMPTY)
        run.journal.write("note", run=run.id)
        seal(run, None)
        return run

    def anchor(self) -> None:
        """Anchor the head."""
        ledger.anchor(self.store, self.anchors, environment="sandbox", clock=SYSTEM_CLOCK)

    def copy(self, folder: Path) -> Record:
        """The same in another folder, to be attacked."""
        shutil.copytree(self.folder, folder)
        return Record(folder)

    def entry(self, number: int) -> Path:
        """An entry's file."""
        return self.store.root / f"ledger/{number:08d}.json"

    def content(self, number: int) -> dict[str, Any]:
        """What an entry says."""
        content: dict[str, Any] = json.loads(self.entry(number).read_bytes())
        return content

    def file(self, number: int, name: str = "run.json") -> Path:
        """A file of the run that an entry chains."""
        return self.store.root / f"runs/{self.content(number)['run']}/{name}"

    def found(self, *, anchored: bool = False) -> list[Finding]:
        """What verify finds."""
        anchors: list[Anchor] | None = ledger.all_anchors(self.anchors) if anchored else None
        return verify(self.store, anchors).findings

    def chain_anew(self, number: int) -> None:
        """Rewrite the chain from an entry on, over the files as they now are."""
        while self.entry(number).exists():
            content = self.content(number)
            folder = self.store.root / "runs" / content["run"]
            content["files"] = {path.name: hashed(path.read_bytes()) for path in folder.iterdir()}
            before = digest_of([self.entry(number - 1).read_bytes()]) if number > 1 else None
            content |= {
                "previous": before.sha256 if before else ledger.GENESIS,
                "sequence": number,
            }
            self.entry(number).write_bytes(rfc8785.dumps(content))
            number += 1


def hashed(data: bytes) -> dict[str, Any]:
    """A file's data as an entry names it."""
    digest = digest_of([data])
    return {"bytes": digest.size, "sha256": digest.sha256}


def edit_file(record: Record) -> None:
    record.file(_ATTACKED).write_bytes(_EMPTY)


def edit_file_and_entry(record: Record) -> None:
    edit_file(record)
    content = record.content(_ATTACKED)
    content["files"]["run.json"] = hashed(_EMPTY)
    record.entry(_ATTACKED).write_bytes(rfc8785.dumps(content))


def delete_entry(record: Record) -> None:
    record.entry(_ATTACKED).unlink()


def delete_file(record: Record) -> None:
    record.file(_ATTACKED, "journal.jsonl").unlink()


def reorder(record: Record) -> None:
    one, other = record.entry(_ATTACKED), record.entry(_ATTACKED + 1)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def insert(record: Record) -> None:
    forged = {**record.content(_ATTACKED), "run": FORGED, "files": {"run.json": hashed(_EMPTY)}}
    for number in range(_RUNS, _ATTACKED - 1, -1):
        record.entry(number).rename(record.entry(number + 1))
    record.entry(_ATTACKED).write_bytes(rfc8785.dumps(forged))
    record.store.write(f"runs/{FORGED}/run.json", _EMPTY)


def cut_the_tail(record: Record) -> None:
    for number in (_RUNS - 1, _RUNS):
        shutil.rmtree(record.file(number).parent)
        record.entry(number).unlink()


def rewrite_the_chain(record: Record) -> None:
    edit_file(record)
    record.chain_anew(_ATTACKED)


def delete_and_rewrite(record: Record) -> None:
    shutil.rmtree(record.file(_ATTACKED).parent)
    for number in range(_ATTACKED, _RUNS):
        record.entry(number + 1).replace(record.entry(number))
    record.chain_anew(_ATTACKED)


def delete_all(record: Record) -> None:
    shutil.rmtree(record.store.root)


def rewrite_the_newest(record: Record) -> None:
    record.file(_RUNS).write_bytes(_EMPTY)
    record.chain_anew(_RUNS)


ATTACKS: Mapping[str, Callable[[Record], None]] = {
    "edit a file": edit_file,
    "edit a file and its entry": edit_file_and_entry,
    "delete an entry": delete_entry,
    "delete a file": delete_file,
    "reorder two entries": reorder,
    "insert an entry and its run": insert,
    "cut off the tail": cut_the_tail,
    "rewrite the chain": rewrite_the_chain,
    "delete a run and rewrite": delete_and_rewrite,
    "delete all": delete_all,
    "rewrite the newest entry": rewrite_the_newest,
}


@dataclass(frozen=True)
class LedgerProof:
    """What was found of each attack: without an anchor, with one of earlier, with one at head."""

    found: Mapping[str, tuple[list[Finding], list[Finding], list[Finding]]]

    @property
    def holds(self) -> bool:
        untouched, *attacked = self.found.values()
        return not any(untouched) and all(at_head for _, _, at_head in attacked)

    def table(self) -> str:
        lines = [
            "| attack | no anchor | anchored two runs before | anchored at head |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {' | '.join(map(_told, found))} |" for name, found in self.found.items()
        ]
        return "\n".join(lines)


def prove(asked: Asked) -> LedgerProof:
    """`./runbook prove ledger`: every attack, on copies of a record of eleven runs."""
    late = make(asked.home / "late", anchored_at=_RUNS)
    early = make(asked.home / "early", anchored_at=_RUNS - 2)
    found = {}
    for name, attack in {"none": lambda record: None, **ATTACKS}.items():
        folder = asked.home / name.replace(" ", "-")
        copies = [each.copy(folder / each.folder.name) for each in (early, late)]
        for copy in copies:
            attack(copy)
        earlier, at_head = (copy.found(anchored=True) for copy in copies)
        found[name] = copies[1].found(), earlier, at_head
    return LedgerProof(found)


def make(folder: Path, *, anchored_at: int = _RUNS) -> Record:
    """A record of eleven sealed runs, anchored after one of them."""
    record = Record(folder)
    for number in range(1, _RUNS + 1):
        record.seal_one()
        if number == anchored_at:
            record.anchor()
    return record


def _told(findings: list[Finding]) -> str:
    return ", ".join(sorted({each.what for each in findings})) or "-"
