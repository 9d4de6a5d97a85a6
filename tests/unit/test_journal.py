"""The journal: durable before anything is done, readable whatever a crash left of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runbook.errors import RecordUnavailable
from runbook.record.journal import Journal
from runbook.record.store import AlreadyThere, FolderStore, Moved


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "record")


@pytest.fixture
def journal(store: FolderStore) -> Journal:
    return Journal(store, "a-run")


def file_of(store: FolderStore) -> Path:
    return store.root / "runs/a-run/journal.jsonl"


def test_an_intent_is_open_until_its_result(journal: Journal) -> None:
    one = journal.intent(0, "k", "t", {"xid": "7"})
    two = journal.intent(1, "k", "u")
    assert journal.unresolved() == [one, two]

    journal.result(one, "done", {"found": 1})
    journal.result(two, "failed")
    assert journal.unresolved() == []
    assert journal.done() == [(one, {"found": 1})]


def test_a_result_that_is_unknown_leaves_the_intent_open(journal: Journal) -> None:
    intent = journal.intent(0, "k", "t")
    journal.result(intent, "unknown")

    assert journal.unresolved() == [intent]


def test_an_intent_is_on_the_disk_with_its_folder_when_it_is_given(
    store: FolderStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    intent = journal.intent(0, "k", "t")

    assert intent.id in file_of(store).read_text()
    assert synced == [str(file_of(store).resolve()), str(file_of(store).parent.resolve())]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_last_line_that_is_torn_is_passed_over_and_takes_nothing_with_it(
    store: FolderStore, journal: Journal, cut: int
) -> None:
    first = journal.intent(0, "k", "ü" * 20)
    journal.intent(1, "k", "ü" * 20)
    file = file_of(store)
    file.write_bytes(file.read_bytes()[:-cut])
    kept = {intent.change for intent in journal.unresolved()}

    third = journal.intent(2, "k", "t")
    assert {intent.change for intent in journal.unresolved()} == kept | {2}
    assert journal.unresolved()[0] == first
    assert json.loads(file.read_bytes().splitlines()[-1])["id"] == third.id


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[1]", b"7", b"", b"\0\0\0\0", b'{"half": 1}'])
def test_lines_that_are_no_entries_are_passed_over(
    store: FolderStore, journal: Journal, line: bytes
) -> None:
    intent = journal.intent(0, "k", "t")
    store.append("runs/a-run/journal.jsonl", line)

    assert journal.unresolved() == [intent]
    assert journal.done() == []


def test_an_intent_that_cannot_be_written_is_not_given(store: FolderStore) -> None:
    store.write("runs/a-run", b"a file where the folder should be")

    with pytest.raises(RecordUnavailable, match="cannot be written"):
        Journal(store, "a-run").intent(0, "k", "t")


def test_a_full_disk_is_told_by_its_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "runs/a-run").mkdir(parents=True)
    (tmp_path / "runs/a-run/journal.jsonl").symlink_to("/dev/full")

    with pytest.raises(RecordUnavailable, match="No space left"):
        Journal(store, "a-run").intent(0, "k", "t")


def test_create_gives_a_key_away_once_and_replace_wants_the_version(store: FolderStore) -> None:
    version = store.create("a/key", b"1")
    with pytest.raises(AlreadyThere):
        store.create("a/key", b"2")
    second = store.replace("a/key", b"3", version=version)
    with pytest.raises(Moved):
        store.replace("a/key", b"4", version=version)

    found = store.read("a/key")
    assert found
    assert (found.data, found.version) == (b"3", second)
    assert list(store.keys("a")) == ["a/key"]
