"""Whatever assess asks for can be typed: the section exists, and has these parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from runbook.run import parameters
from runbook.run.sections import find
from runbook.settings import checkout

RULES = sorted((checkout() / "lib/runbook/procedure/assess/rules").glob("*.py"))


def steps() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every `Step("slug", {"name": …})` in the rules, as far as it is written out."""
    for path in RULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Step":
                continue
            if not isinstance(node.args[0], ast.Constant):
                continue
            given = node.args[1] if len(node.args) > 1 else None
            keys = given.keys if isinstance(given, ast.Dict) else []
            names = tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
            yield str(node.args[0].value), names


@pytest.mark.parametrize(("slug", "names"), sorted(set(steps())))
def test_a_step_names_a_section_and_parameters_that_it_has(
    slug: str, names: tuple[str, ...]
) -> None:
    known = {parameter.name for parameter in parameters.declared(find(slug))}
    assert set(names) <= known
