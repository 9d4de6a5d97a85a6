"""A database's history, on a server of its own: what is sealed can be restored, and disk is bound.

The sandbox's control plane keeps one for each cluster; here it is driven by hand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from studio_sandbox import folder as folders
from studio_sandbox import postgres
from studio_sandbox.control_plane.databases import history as module
from studio_sandbox.control_plane.databases.database import Database
from studio_sandbox.control_plane.databases.history import History
from studio_sandbox.control_plane.databases.programs import ProgramFailed, Programs


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="runbook-history-")).resolve()
    place.chmod(0o711)  # root's servers run as another user, who has to pass through
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def programs(place: Path) -> Iterator[Programs]:
    (place / "logs").mkdir()
    made = Programs(place, place / "logs", None)
    yield made
    made.end_all()


@pytest.fixture(scope="module")
def database(place: Path, programs: Programs) -> Database:
    """A new server with an empty database of the product's name."""
    made = Database(programs, place / "source", folders.passwords(place))
    programs.own(made.folder)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
    postgres.Data(made.folder, programs.folder, programs.who, environment).make(made.passwords)
    made.start()
    run(made, f"CREATE DATABASE {postgres.DATABASE}", name="postgres")
    run(made, "CREATE TABLE notes (text text)")
    return made


@pytest.fixture
def history(database: Database) -> Iterator[History]:
    """A history that begins now."""
    made = History(database)
    made.begin()
    yield made
    made.close()
    for kept in (made.wal, *database.folder.glob("base-*")):
        shutil.rmtree(kept)


def run(database: Database, command: str, *values: object, name: str = postgres.DATABASE) -> None:
    with closing(database.connect(name)) as connection, connection.cursor() as cursor:
        cursor.execute(command, values)


def notes(database: Database) -> Any:
    query = "SELECT coalesce(string_agg(text, ' ' ORDER BY text), '') FROM notes"
    return database.ask(query, database=postgres.DATABASE)[0]


def told(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment


def restored(place: Path, source: Database, history: History, moment: datetime, name: str) -> str:
    """What a database holds that is made of the source's history up to a moment."""
    made = Database(source.programs, place / name, source.passwords)
    made.make_from(history.base_for(moment).folder, wal=history.wal, until=moment)
    assert not made.alive
    made.start()
    found = notes(made)
    made.remove()
    return str(found)


def test_history_is_kept_in_bounds_and_all_of_it_can_be_restored(
    place: Path, database: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_SEGMENTS", 6)
    moments = []
    for number in range(20):
        run(database, "INSERT INTO notes VALUES (%s)", f"{number:02}")
        history.look()
        moments.append(told(history.latest))
    assert len(list(history.wal.iterdir())) < 20
    assert len(list(database.folder.glob("base-*"))) == 3  # the first one, and two to start from
    kept = [n for n, moment in enumerate(moments) if told(history.earliest) <= moment]
    assert 0 < kept[0] < 16
    for number in (kept[0], kept[-1]):
        expected = " ".join(f"{n:02}" for n in range(number + 1))
        assert restored(place, database, history, moments[number], f"at-{number}") == expected
    with pytest.raises(LookupError, match="before the earliest"):
        history.base_for(moments[0])


def test_what_was_under_way_at_a_seal_is_sealed_once_it_is_committed(
    place: Path, database: Database, history: History
) -> None:
    with closing(database.connect(postgres.DATABASE)) as slow, slow.cursor() as cursor:
        cursor.execute("BEGIN; INSERT INTO notes VALUES ('slow')")
        before = history.seal()
        cursor.execute("COMMIT")
    history.look()
    sealed = told(history.latest)
    assert sealed > before
    assert "slow" not in restored(place, database, history, before, "before")
    assert "slow" in restored(place, database, history, sealed, "after")
    history.look()
    segments = set(history.wal.iterdir())
    history.look()
    assert set(history.wal.iterdir()) == segments  # nothing was written: nothing is archived
    assert told(history.latest) > sealed  # and all up to now can be restored


def test_programs_that_were_ended_start_nothing_more(place: Path) -> None:
    ended = Programs(place, place / "logs", None)
    ended.end_all()
    with pytest.raises(ProgramFailed, match="all was ended"):
        ended.run(["true"], place)
