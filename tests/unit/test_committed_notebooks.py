"""What every committed section keeps to, so that it can be found, run, read and compared."""

from __future__ import annotations

import ast
import re

import pytest

from runbook.run import parameters
from runbook.run.sections import Section, find, sections, source_of, tags_of
from runbook.settings import checkout

EVERY = pytest.mark.parametrize("section", sections(), ids=lambda section: section.slug)
SPOKEN_OF = ("owner", "last reviewed", "duration", "risk", "reversible", "permissions")


def code(section: Section) -> list[str]:
    cells = section.content["cells"]
    return [source_of(cell) for cell in cells if cell["cell_type"] == "code"]


@EVERY
def test_the_first_cell_says_what_it_is(section: Section) -> None:
    assert section.title
    assert section.purpose
    assert section.risk
    assert [fact for fact in SPOKEN_OF if not section.facts.get(fact)] == []
    assert section.number == "(new)" or re.fullmatch(r"\d(\.\d+)?", section.number)


@EVERY
def test_it_calls_itself_by_its_own_name(section: Section) -> None:
    calls = [
        node.args[0].value
        for source in code(section)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Runbook"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert calls == [section.slug]


@EVERY
def test_a_section_that_changes_something_plans_applies_and_says_how_to_go_back(
    section: Section,
) -> None:
    names = [parameter.name for parameter in parameters.declared(section)]
    assert names[0] == "environment"
    if section.risk == "read" or "on the record only" in section.facts["risk"]:
        assert "apply" not in names
        return
    assert names[-1] == "apply"
    text = "\n".join(source_of(cell) for cell in section.content["cells"])
    assert "rb.plan(" in text
    assert "rb.apply(plan, apply)" in text
    assert "## Go back" in text


@EVERY
def test_cells_are_short_and_define_nothing(section: Section) -> None:
    for cell in section.content["cells"]:
        source = source_of(cell)
        if cell["cell_type"] != "code" or "parameters" in tags_of(cell):
            continue
        assert len(source.splitlines()) <= 6, source
        kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


@EVERY
def test_every_code_cell_was_run_in_order_for_the_outputs_that_are_shown(section: Section) -> None:
    # nbval compares nothing, and passes, where there is no count
    cells = [cell for cell in section.content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if "ename" in output]


@EVERY
def test_its_outputs_hold_nothing_of_the_machine_they_were_made_on(section: Section) -> None:
    text = section.path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)


def test_the_index_names_every_section() -> None:
    index = (checkout() / "notebooks/README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)]+\.ipynb)\)", index))
    assert linked == {f"{section.group}/{section.path.name}" for section in sections()}


def test_an_unknown_section_is_refused_with_the_nearest() -> None:
    with pytest.raises(Exception, match="clear-stuck-jobs"):
        find("clear-stuk-jobs")
    with pytest.raises(Exception, match="no section"):
        find("../2-operations/clear-stuck-jobs")
