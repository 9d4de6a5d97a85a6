"""The review site shows every run, and nothing of a notebook's can act in it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tests.support import begin, environment_in

from runbook.incident import book
from runbook.record import review

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "<iframe src='https://example.com'></iframe>",
    "<svg onload=alert(1)></svg>",
    "<div style=\"background:url('https://example.com/x')\">x</div>",
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    run = begin(environment_in(tmp_path / "record"), section="clear-stuck-jobs")
    run.update(verdict="failed", operator="user/<b>oncall</b>")
    cells = [new_markdown_cell(f"## Look\n\n{text}") for text in HOSTILE]
    for text in HOSTILE:
        output = new_output("display_data", data={"text/html": text, "text/plain": "x"})
        cells.append(new_code_cell("show()", outputs=[output]))
    notebook = new_notebook(cells=cells)
    run.store.write(run.key("notebook.ipynb"), nbformat.writes(notebook).encode())
    assert review.build(run.store, tmp_path / "site") == 1
    return tmp_path / "site"


def test_no_script_of_a_notebook_survives(site: Path) -> None:
    (page,) = (site / "runs").iterdir()
    text = page.read_text()
    for word in ("<script", "onerror", "javascript:", "<iframe", "onload", "example.com"):
        assert word not in text, word
    assert "<h2" in text
    assert "default-src 'none'" in text
    assert "&lt;b&gt;oncall" in text


def test_the_index_links_each_run_and_allows_its_own_search_alone(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert text.count('href="runs/') == 1
    assert "script-src 'sha256-" in text
    assert "http://" not in text
    assert "https://" not in text


def test_a_run_that_was_removed_from_the_record_is_removed_from_the_site(
    site: Path, tmp_path: Path
) -> None:
    store = begin(environment_in(tmp_path / "another")).store
    review.build(store, site)
    assert [
        page.name for page in (site / "runs").iterdir() if "clear-stuck-jobs" in page.name
    ] == []


def test_an_incident_has_a_page_of_its_own_with_its_words_and_its_runs_in_order(
    tmp_path: Path,
) -> None:
    environment = environment_in(tmp_path / "record")
    store = begin(environment, section="check-health").store
    opened = book.open_incident(store, title="Videos <b>fail</b>", severity="P1", by="sara")
    run = begin(environment, section="assess")
    run.update(
        verdict="succeeded", incident=opened.id, result={"status": "ok", "says": "a new revision"}
    )
    book.note(store, opened.id, "It is the <i>worker</i>.", by="omar")

    review.build(store, tmp_path / "site")

    text = (tmp_path / f"site/incidents/{opened.id}.html").read_text()
    assert "Videos &lt;b&gt;fail&lt;/b&gt;" in text
    assert "It is the &lt;i&gt;worker&lt;/i&gt;." in text
    assert f'href="../runs/{run.id}.html"' in text
    assert "a new revision" in text
    assert "check-health" not in text
    index = (tmp_path / "site/index.html").read_text()
    assert f'href="incidents/{opened.id}.html"' in index
