"""The book of an incident: written by several at once, read by everybody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runbook.errors import BadInput
from runbook.incident import book
from runbook.incident.notify import Told, fit_to_tell
from runbook.record.store import FolderStore
from runbook.secret import Secret


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_an_incident_is_found_again_with_all_that_was_said_of_it(store: FolderStore) -> None:
    opened = book.open_incident(store, title="Videos do not start", severity="P1", by="sara")
    book.note(store, opened.id, "The gateway answers 502.", by="omar")
    book.note_told(store, opened.id, [Told("slack"), Told("mail", "over its quota")], by="sara")

    assert book.find(store, opened.id) == opened
    assert [each.id for each in book.incidents(store)] == [opened.id]
    assert [(each.by, each.kind, each.text) for each in book.events(store, opened.id)] == [
        ("omar", "note", "The gateway answers 502."),
        ("sara", "told", "slack: told; mail: over its quota"),
    ]


def test_two_engineers_who_write_at_once_lose_nothing(store: FolderStore) -> None:
    opened = book.open_incident(store, title="Slow", severity="P2")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: book.note(store, opened.id, f"note {n}"), range(64)))

    said = {each.text for each in book.events(store, opened.id)}
    assert said == {f"note {n}" for n in range(64)}


def test_secrets_and_personal_data_never_reach_the_book(store: FolderStore, tmp_path: Path) -> None:
    Secret("correct-horse-battery", name="AI_STUDIO_JWT_SECRET")
    opened = book.open_incident(store, title="leila@example.org cannot pay", severity="P1")
    book.note(store, opened.id, "Her key is correct-horse-battery, call +966 55 123 4567.")

    assert book.find(store, opened.id).title == "[mail address] cannot pay"
    (noted,) = book.events(store, opened.id)
    assert noted.text == "Her key is [secret AI_STUDIO_JWT_SECRET], call [telephone number]."
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "leila" not in kept
    assert "correct-horse" not in kept
    assert "4567" not in kept


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25T09:13:00+00:00",
        "arn:aws:ecs:eu-central-1:123456789012:task/ai-studio-cluster/0f1e",
        "ai-studio-gateway:42 at 99.95 %",
        "job 7f2c1a90-1111-4222-8333-444455556666",
    ],
)
def test_what_an_engineer_needs_is_told_as_it_is(text: str) -> None:
    assert fit_to_tell(text) == text


@pytest.mark.parametrize(
    ("title", "severity", "says"),
    [("Slow", "P9", "there are P0, P1, P2, P3"), ("  ", "P1", "needs a title")],
)
def test_an_incident_without_title_or_severity_is_refused(
    store: FolderStore, title: str, severity: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        book.open_incident(store, title=title, severity=severity)
    assert list(book.incidents(store)) == []


@pytest.mark.parametrize("name", ["INC-20260101-0000-0000", "../../etc/passwd", "plan-1"])
def test_an_unknown_incident_is_refused_by_its_name(store: FolderStore, name: str) -> None:
    with pytest.raises(BadInput, match=name.replace(".", r"\.")):
        book.note(store, name, "words")
