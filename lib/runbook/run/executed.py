"""The executed copy as it may be seen: each cell masked, then passed by the second gate.

    copy = ExecutedCopy(is_known=lambda: True)
    copy.of(notebook)        the notebook that is written, whole
    copy.withheld            what the gate has held back: the cell, its hash and the reason

The gate fails closed: of a cell in which a secret is left, or of every cell while nobody has said
which secrets there are, only the hash is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import nbformat

from runbook import secret
from runbook.record import gate, redaction

_NOT_TOLD = "the kernel never said which secrets it holds"


class ExecutedCopy:
    """Makes copies of one notebook as it grows; a cell that has not changed is not read again."""

    def __init__(self, *, is_known: Callable[[], bool]) -> None:
        self._is_known = is_known
        self._seen: dict[tuple[str, int, bool], tuple[str, str]] = {}
        self.withheld: list[dict[str, Any]] = []

    def of(self, notebook: Any) -> Any:
        """The copy as it may be written. `notebook` itself is left as it is."""
        told = self._is_known()  # asked first: all that came before is known from here on
        self.withheld = []
        copy = nbformat.from_dict({**notebook, "cells": [], "metadata": {}})
        copy.metadata = nbformat.from_dict(self._checked("notebook", notebook.metadata, told))
        for index, cell in enumerate(notebook.cells):
            copy.cells.append(nbformat.from_dict(self._checked(index, cell, told)))
        return copy

    def _checked(self, where: int | str, part: Any, told: bool) -> Any:
        """One cell, or the metadata, masked; or what stands in its place."""
        text = json.dumps(part)
        key = (text, len(secret.known()), told)
        if key not in self._seen:
            masked = redaction.mask_all(json.loads(text))
            self._seen[key] = (json.dumps(masked), self._reason(masked, told))
        shown, reason = self._seen[key]
        if not reason:
            return json.loads(shown)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.withheld.append({"cell": where, "sha256": digest, "reason": reason})
        return _in_its_place(part, digest, reason)

    def _reason(self, masked: Any, told: bool) -> str:
        if not told and masked.get("outputs"):
            return _NOT_TOLD
        # per kind of text too: what is cut into pieces by something else in between is found
        outputs = masked.get("outputs", ())
        streams = ["".join(each.get("text", "")) for each in outputs]
        name = gate.leaked([*gate.texts_of(masked), "".join(streams)], secret.known())
        return f"the secret {name} was left in it" if name else ""


def joined(outputs: Sequence[Any]) -> list[Any]:
    """A cell's outputs with each stream in one piece, as a terminal shows it in the end.

    nbclient's `coalesce_streams` does the same in a time that grows with the square of a line.
    """
    streams: dict[str, Any] = {}
    kept = []
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else ""
        if name in streams:
            streams[name].append(output["text"])
            continue
        kept.append(output)
        if name:
            streams[name] = [output["text"]]
    for output in kept:
        if output["output_type"] == "stream":
            output["text"] = _as_shown("".join(streams[output["name"]]))
    return kept


def _as_shown(text: str) -> str:
    """What is left to see of each line when a carriage return has gone back to its beginning."""
    if "\r" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _in_its_place(part: Any, digest: str, reason: str) -> dict[str, Any]:
    """A cell of the same place and kind that says what it had to say, and why it does not."""
    if "cell_type" not in part:
        return {}
    note = f"Withheld: {reason}. SHA-256 of the cell: {digest}"
    kept: dict[str, Any] = {
        "cell_type": part["cell_type"],
        "metadata": {"papermill": part["metadata"].get("papermill", {})},
        "source": note if part["cell_type"] == "markdown" else f"# {note}",
    }
    if "id" in part:
        kept["id"] = part["id"]
    if part["cell_type"] == "code":
        said = {"output_type": "stream", "name": "stderr", "text": f"{note}\n"}
        kept |= {"execution_count": part.get("execution_count"), "outputs": [said]}
    return kept
