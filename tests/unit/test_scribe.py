"""An interactive session is written into its run, cell by cell, as the kernel sends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from tests.support import begin, environment_in

from runbook import secret
from runbook.record import outgoing
from runbook.run.scribe import Scribe

VALUE = "scribe-0nly-secret-value"


class Session:
    """Sends nowhere."""

    def send(self, *_given: Any, **_more: Any) -> None:
        return None


def test_each_cell_is_on_record_when_it_has_ended_masked_and_with_its_pictures(
    tmp_path: Path,
) -> None:
    secret.remember(VALUE, name="SCRIBED")
    run, session = begin(environment_in(tmp_path)), Session()
    Scribe(run, outgoing.guard(session), before=["x = 1", "rb = Runbook(...)"])
    parent = {"header": {"msg_id": "third"}}
    for kind, content in (
        ("execute_input", {"code": "show()", "execution_count": 3}),
        ("stream", {"name": "stdout", "text": f"it is {VALUE}\n"}),
        ("display_data", {"data": {"image/png": b"\x89PNG", "text/plain": "p"}, "metadata": {}}),
        ("status", {"execution_state": "idle"}),
    ):
        session.send(None, kind, content, parent=parent)
    stored = run.store.read(run.key("notebook.ipynb"))
    assert stored is not None
    notebook = nbformat.reads(stored.data.decode(), as_version=4)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells] == ["x = 1", "rb = Runbook(...)", "show()"]
    said, picture = notebook.cells[2].outputs
    assert said.text == "it is [secret SCRIBED]\n"
    assert picture.data["image/png"].strip() == "iVBORw=="
