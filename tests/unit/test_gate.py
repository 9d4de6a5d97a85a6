"""The second gate finds a secret by undoing what hides it, and leaves the rest alone."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook import secret
from runbook.record import gate
from runbook.run.executed import ExecutedCopy
from studio_sandbox.proofs.redaction import ENCODINGS, SECRETS

VALUE = "gate-0nly/secret value"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_gate_finds_every_secret_in_every_encoding(encoding: str) -> None:
    for name, value in SECRETS.items():
        written = ENCODINGS[encoding](value)
        assert gate.leaked([f"before {written} after"], {value: name}) == name, name


def test_the_gate_finds_a_secret_that_is_cut_into_pieces() -> None:
    for name, value in SECRETS.items():
        pieces = [value[n : n + 3] for n in range(0, len(value), 3)]
        assert gate.leaked(pieces, {value: name}) == name


def test_a_value_under_eight_characters_is_not_looked_for() -> None:
    assert gate.leaked(["the word pass"], {"pass": "SHORT"}) == ""


def test_a_cell_that_the_mask_overlooks_is_withheld_and_the_others_are_kept() -> None:
    secret.remember(VALUE, name="GATED")
    hidden = json.dumps(VALUE.encode("utf-16-le").decode("utf-16-le")[::1]).encode().hex()
    nested = " ".join(hidden[n : n + 2] for n in range(0, len(hidden), 2))  # no form of the mask's
    notebook = new_notebook(
        cells=[
            new_markdown_cell("prose"),
            _code(f"print('{nested}')", new_output("stream", name="stdout", text=nested)),
            _code("1 + 1", new_output("execute_result", data={"text/plain": "2"})),
        ]
    )
    copy = ExecutedCopy(is_known=lambda: True)
    seen = copy.of(notebook)
    nbformat.validate(seen)
    assert nested not in json.dumps(seen)
    assert [held["cell"] for held in copy.withheld] == [1]
    assert copy.withheld[0]["reason"] == "the secret GATED was left in it"
    assert seen.cells[2].outputs[0].data == {"text/plain": "2"}
    assert notebook.cells[1].outputs[0].text == nested, "the notebook at work is not touched"


def test_what_is_shown_before_anybody_has_said_what_is_secret_is_withheld() -> None:
    notebook = new_notebook(cells=[_code("x", new_output("stream", name="stdout", text="x\n"))])
    copy = ExecutedCopy(is_known=lambda: False)
    assert "never said" in copy.of(notebook).cells[0].outputs[0].text
    assert copy.withheld


def _code(source: str, output: Any) -> Any:
    return new_code_cell(source, outputs=[output], execution_count=1)
