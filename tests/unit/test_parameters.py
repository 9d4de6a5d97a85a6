"""Parameters are what the section's own cell says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import BadInput
from runbook.run import parameters, sections
from runbook.run.sections import Section

CELL = """
environment: str = "sandbox"   # where
minutes: int = 60              # a # in the help is kept
share: float = 0.5
loud: bool = False
label: str = "a # is no comment here"
"""


def section(tmp_path: Path, source: str = CELL) -> Section:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    path = tmp_path / "some-section.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# T"}, cell]}))
    return Section(path)


def test_names_types_defaults_and_help_are_read_as_python_reads_them(tmp_path: Path) -> None:
    found = parameters.declared(section(tmp_path))
    assert [(each.name, each.type, each.default) for each in found] == [
        ("environment", "str", "sandbox"),
        ("minutes", "int", 60),
        ("share", "float", 0.5),
        ("loud", "bool", False),
        ("label", "str", "a # is no comment here"),
    ]
    assert [each.help for each in found[:2]] == ["where", "a # in the help is kept"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("minutes", "45", 45),
        ("minutes", "-1", -1),
        ("share", "1", 1.0),
        ("share", "2.5e-3", 0.0025),
        ("loud", "true", True),
        ("loud", "false", False),
        ("label", "007", "007"),
        ("label", "", ""),
    ],
)
def test_what_was_typed_becomes_the_declared_type(
    tmp_path: Path, name: str, text: str, value: Any
) -> None:
    found = parameters.check(section(tmp_path), typed={name: text})[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minutes", "007"),
        ("minutes", "4.0"),
        ("minutes", " 4"),
        ("minutes", "4_0"),
        ("minutes", "four"),
        ("share", "nan"),
        ("share", "1."),
        ("loud", "False"),
        ("loud", "0"),
        ("minutes", "1; import os"),
    ],
)
def test_what_does_not_read_as_the_type_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(BadInput, match=f"{name}: expected .*found '{text}'"):
        parameters.check(section(tmp_path), typed={name: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minutes", True),
        ("minutes", 1.0),
        ("label", 7),
        ("loud", 1),
        ("label", None),
        ("label", []),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_retyped(
    tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(BadInput, match=f"{name}: expected"):
        parameters.check(section(tmp_path), given={name: value})


def test_all_errors_are_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as told:
        parameters.check(section(tmp_path), typed={"minute": "4", "share": "x"})
    assert "did you mean minutes?" in told.value.message
    assert "share: expected float" in told.value.message
    assert told.value.next == "See all of them: ./runbook show some-section"


@pytest.mark.parametrize("name", ["x = 1; import os", "__import__('os')", "minutes\nx", ""])
def test_a_name_that_is_code_is_just_an_unknown_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="There is no parameter"):
        parameters.check(section(tmp_path), typed={name: "1"})


@pytest.mark.parametrize(
    "line", ["x = 1", "x: int", "x: list = []", "x: int = '1'", "print('hello')", "x: int = 1.0"]
)
def test_a_parameters_cell_holds_typed_names_with_plain_values_only(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(BadInput):
        parameters.declared(section(tmp_path, line))


@pytest.mark.parametrize("value", ["AKIAIOSFODNN7EXAMPLE", "sk-proj-9f8e7d6c5b4a3928171605f4e3d2"])
def test_a_value_with_the_form_of_a_secret_is_refused_and_not_repeated(value: str) -> None:
    real = sections.find("clear-stuck-jobs")
    for typed in ({"outcome": value}, {"at_most": value}):
        with pytest.raises(BadInput, match="has the form of a secret") as refused:
            parameters.check(real, typed)
        assert value not in str(refused.value)
