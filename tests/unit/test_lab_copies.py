"""The engineer's copies: brought up to date, and never overwritten once they were worked on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbook.lab import refresh_copies

Folders = tuple[Path, Path]


def write_notebook(file: Path, source: str, *, output: str = "") -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    count = 1 if output else None
    cell: dict[str, object] = {"cell_type": "code", "source": source, "metadata": {}, "id": "a"}
    cell |= {"outputs": outputs, "execution_count": count}
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    file.write_text(json.dumps(content))


def source(file: Path) -> str:
    text: str = json.loads(file.read_text())["cells"][0]["source"]
    return text


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    originals, copies = tmp_path / "notebooks", tmp_path / "lab" / "notebooks"
    write_notebook(originals / "2-operations" / "a.ipynb", "first", output="committed")
    (originals / "README.md").write_text("index")
    assert refresh_copies(originals, copies) == []
    return originals, copies


def test_a_copy_begins_without_the_outputs_of_its_original(folders: Folders) -> None:
    originals, copies = folders
    cell = json.loads((copies / "2-operations" / "a.ipynb").read_text())["cells"][0]
    assert (cell["source"], cell["outputs"], cell["execution_count"]) == ("first", [], None)
    assert (copies / "README.md").read_text() == "index"
    assert "committed" in (originals / "2-operations" / "a.ipynb").read_text()


def test_a_copy_that_was_worked_on_stays_while_its_original_does(folders: Folders) -> None:
    originals, copies = folders
    write_notebook(copies / "2-operations" / "a.ipynb", "first, edited", output="mine")
    assert refresh_copies(originals, copies) == []
    assert source(copies / "2-operations" / "a.ipynb") == "first, edited"


def test_an_untouched_copy_follows_its_original(folders: Folders) -> None:
    originals, copies = folders
    write_notebook(originals / "2-operations" / "a.ipynb", "second")
    assert refresh_copies(originals, copies) == []
    assert source(copies / "2-operations" / "a.ipynb") == "second"
    assert len(list((copies / "2-operations").iterdir())) == 1


def test_a_copy_that_was_worked_on_is_kept_beside_the_new_version(folders: Folders) -> None:
    originals, copies = folders
    write_notebook(copies / "2-operations" / "a.ipynb", "first", output="only run, not edited")
    write_notebook(originals / "2-operations" / "a.ipynb", "second")
    (note,) = refresh_copies(originals, copies)
    (kept,) = (copies / "2-operations").glob("a.kept-*.ipynb")
    assert kept.name in note
    assert "only run, not edited" in kept.read_text()
    assert source(copies / "2-operations" / "a.ipynb") == "second"
    assert refresh_copies(originals, copies) == []


def test_a_new_output_of_the_original_is_no_new_version(folders: Folders) -> None:
    originals, copies = folders
    write_notebook(copies / "2-operations" / "a.ipynb", "first, edited")
    write_notebook(originals / "2-operations" / "a.ipynb", "first", output="committed again")
    assert refresh_copies(originals, copies) == []


def test_a_copy_that_was_deleted_comes_back(folders: Folders) -> None:
    originals, copies = folders
    (copies / "2-operations" / "a.ipynb").unlink()
    refresh_copies(originals, copies)
    assert source(copies / "2-operations" / "a.ipynb") == "first"
