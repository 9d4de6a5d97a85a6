"""A checkout of its own, for notebooks that misbehave: this library, and sections made for a proof.

Nothing of it is beside the real sections: a section that kills its kernel has no place in a list
that an engineer reads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from runbook import settings

_HEAD = """# {title}

Made for a proof.

| | |
|---|---|
| Section | 9.9 |
| Risk | {risk} |
"""
_PARAMETERS = 'environment: str = "sandbox"  # where\nnote: str = ""  # anything'


@dataclass(frozen=True)
class Workshop:
    """A folder with `lib`, `parameters`, `notebooks` and a state folder of its own."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, **changed: Mapping[str, Any]) -> Workshop:
        """A new one; `changed` replaces parts of the sandbox's settings."""
        original = settings.checkout()
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(original / "lib", folder / "lib", ignore=skip)
        shutil.copytree(original / "parameters", folder / "parameters")
        (folder / "notebooks" / "9-proofs").mkdir(parents=True)
        file = folder / "parameters/environments/sandbox.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        file.write_text(yaml.safe_dump({**content, **changed}), encoding="utf-8")
        return cls(folder)

    def section(self, slug: str, *cells: str, risk: str = "read") -> Path:
        """A section of these code cells, after one for its parameters; its notebook's path."""
        notebook = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell(_HEAD.format(title=slug, risk=risk)),
                nbformat.v4.new_code_cell(_PARAMETERS, metadata={"tags": ["parameters"]}),
                *map(nbformat.v4.new_code_cell, cells),
            ],
            metadata={
                "kernelspec": {
                    "name": "python3",
                    "display_name": "Python 3",
                    "language": "python",
                }
            },
        )
        path = self.folder / "notebooks" / "9-proofs" / f"{slug}.ipynb"
        nbformat.write(notebook, path)
        return path

    def start(
        self, *command: str, state: Path | None = None, **settings: Any
    ) -> subprocess.Popen[str]:
        """A program of this checkout: `runbook …` or `papermill …`, with its own state folder."""
        program = [sys.executable, "-P", "-m", *command]
        variables = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "lib"),
            "RUNBOOK_HOME": str(state or self.folder / "var"),
        }
        return subprocess.Popen(
            program,
            env=variables,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **settings,
        )

    def runbook(self, *arguments: str, state: Path | None = None) -> subprocess.Popen[str]:
        return self.start("runbook", *arguments, state=state)

    def papermill(self, *arguments: str, state: Path | None = None) -> subprocess.Popen[str]:
        return self.start("papermill", "--engine", "runbook", *arguments, state=state)

    def run_folders(self, slug: str, state: Path | None = None) -> list[Path]:
        """The run folders of a section, oldest first."""
        root = (state or self.folder / "var") / "record" / "sandbox" / "runs"
        return sorted(root.glob(f"*-{slug}-*"))


def read_json(path: Path) -> Any:
    """A file's JSON; None where there is none. Raises ValueError for half a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def labels(notebook: Path) -> Sequence[str]:
    """What papermill's metadata says of each code cell, in order."""
    read = nbformat.read(notebook, nbformat.NO_CONVERT)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    return [cell.metadata.papermill["status"] for cell in code]
