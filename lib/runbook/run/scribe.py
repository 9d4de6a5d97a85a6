"""Interactive sessions on record: each cell is written into the run as soon as it has ended.

The engineer's own copy belongs to JupyterLab; the record's is written here, by the kernel, from
what it sent: masked already, and past the same gate as a headless run's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import nbformat

from runbook.errors import RecordUnavailable
from runbook.record.outgoing import Outgoing
from runbook.record.runs import Run
from runbook.run.executed import ExecutedCopy

_OUTPUTS = ("stream", "display_data", "execute_result", "error")


class Scribe:
    """Writes `notebook.ipynb` of an interactive run, in the order in which cells were run."""

    def __init__(self, run: Run, outgoing: Outgoing, before: Sequence[str]) -> None:
        """`before`: the code of cells that ran before there was a run, this one's cell last."""
        self._run = run
        self._notebook = nbformat.v4.new_notebook(metadata={"papermill": {}})
        self._copy = ExecutedCopy(is_known=lambda: True)  # this process is the one that knows
        self._cells: dict[str, Any] = {}
        for code in before:
            self._notebook.cells.append(nbformat.v4.new_code_cell(code))
        self._current = self._notebook.cells[-1] if before else None
        outgoing.listeners.append(self._hear)
        self.write()

    def write(self) -> None:
        """Put the notebook on record as it stands. A full disk does not stop the engineer."""
        try:
            seen = self._copy.of(self._notebook)
            content = nbformat.writes(seen, version=nbformat.NO_CONVERT).encode()
            self._run.store.write(self._run.key("notebook.ipynb"), content)
        except (RecordUnavailable, nbformat.ValidationError) as error:
            print(f"This cell is not in the record's notebook: {error}")

    def _hear(self, kind: str, content: Mapping[str, Any], parent: str) -> None:
        if kind == "execute_input":
            cell = nbformat.v4.new_code_cell(content["code"])
            cell.execution_count = content["execution_count"]
            self._notebook.cells.append(cell)
            self._cells[parent] = cell
        elif kind in _OUTPUTS:
            cell = self._cells.setdefault(parent, self._current)
            if cell is not None:
                _add(cell, kind, content)
        elif content.get("execution_state") == "idle" and self._cells.pop(parent, None):
            self.write()


def _add(cell: Any, kind: str, content: Mapping[str, Any]) -> None:
    """One output, as nbformat has it; chunks of a stream are one text, as a reader sees it."""
    last = cell.outputs[-1] if cell.outputs else None
    if kind == "stream" and last and last.get("name") == content["name"]:
        last.text += content["text"]
        return
    message = {"header": {"msg_type": kind}, "content": _as_sent(content)}
    cell.outputs.append(nbformat.v4.output_from_msg(message))


def _as_sent(content: Any) -> Any:
    """The content as it goes over the wire: pictures are bytes until then."""
    if isinstance(content, bytes):
        return base64.b64encode(content).decode()
    if isinstance(content, Mapping):
        return {key: _as_sent(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_as_sent(value) for value in content]
    return content
