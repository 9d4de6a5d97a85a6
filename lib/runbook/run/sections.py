"""The catalogue of sections: each notebook says in its first cell what it is.

# Clear stuck jobs
| | |
|---|---|
| Section | 2.6 |
| Risk | low |
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook.errors import BadInput
from runbook.settings import checkout

RISKS = ("read", "low", "high", "destructive")
_ROW = re.compile(r"^\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One notebook of the runbook."""

    path: Path

    @property
    def slug(self) -> str:
        """Its name on the command line and in the record: the file's."""
        return self.path.stem

    @property
    def group(self) -> str:
        """The chapter: the folder's name."""
        return self.path.parent.name

    @cached_property
    def content(self) -> dict[str, Any]:
        """The notebook's JSON."""
        content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return content

    @property
    def title(self) -> str:
        """Its heading: a sentence that begins with a verb."""
        return self._first.splitlines()[0].removeprefix("# ").strip()

    @property
    def purpose(self) -> str:
        """The first paragraph below the heading."""
        paragraphs = [part.strip() for part in self._first.split("\n\n")[1:]]
        return next((part for part in paragraphs if part and not part.startswith("|")), "")

    @cached_property
    def facts(self) -> dict[str, str]:
        """The table of the first cell: section, owner, last reviewed, duration, risk, and so on."""
        return {key.lower(): value for key, value in _ROW.findall(self._first)}

    @property
    def number(self) -> str:
        """Its place in the runbook that it came from, such as 2.6."""
        return self.facts.get("section", "")

    @property
    def risk(self) -> str:
        """`read`, `low`, `high` or `destructive`. Raises BadInput when the table says neither."""
        risk = self.facts.get("risk", "").split(",")[0].split(" ")[0]
        if risk not in RISKS:
            raise BadInput(
                f"{self.path.name}: expected a risk of {', '.join(RISKS)}, found {risk!r}."
            )
        return risk

    @property
    def may_spool(self) -> bool:
        """Whether it may run while the record does not answer, without breaking the glass."""
        return self.risk in ("read", "low")

    @property
    def _first(self) -> str:
        return source_of(self.content["cells"][0])


def sections() -> list[Section]:
    """Every section, in the order of the runbook."""
    found = [Section(path) for path in sorted((checkout() / "notebooks").glob("*/*.ipynb"))]
    return sorted(found, key=lambda section: (section.group, _order(section.number), section.slug))


def find(slug: str) -> Section:
    """The section of that name. Raises BadInput with the nearest names."""
    path = next((checkout() / "notebooks").glob(f"*/{slug}.ipynb"), None) if _plain(slug) else None
    if path:
        return Section(path)
    known = [section.slug for section in sections()]
    near = difflib.get_close_matches(slug, known, n=3, cutoff=0.4) or known[:5]
    raise BadInput(
        f"There is no section {slug!r}; nearest: {', '.join(near)}.",
        next="See all of them: ./runbook list",
    )


def code_sha256(notebook: dict[str, Any]) -> str:
    """The hash of a notebook's own code: no outputs, no prose, no parameters' values.

    What a plan's digest covers. Values of parameters stand in the plan by themselves.
    """
    code = [
        source_of(cell)
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and not {"parameters", "injected-parameters"} & tags_of(cell)
    ]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def source_of(cell: dict[str, Any]) -> str:
    """A cell's text: the file format allows a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def tags_of(cell: dict[str, Any]) -> set[str]:
    """A cell's tags."""
    return set(cell.get("metadata", {}).get("tags", ()))


def _plain(slug: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9-]+", slug))


def _order(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split(".") if part.isdigit())
