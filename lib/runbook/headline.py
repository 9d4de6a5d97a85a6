"""What was found, in one sentence: the first thing that a tired reader sees of a section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Status = Literal["ok", "warning", "critical"]

COLOURS = {"ok": "#2e7d32", "warning": "#b26a00", "critical": "#b3261e"}
_RANKS: tuple[Status, ...] = ("ok", "warning", "critical")


@dataclass(frozen=True)
class Headline:
    """A status and the sentence that says why."""

    status: Status
    says: str

    def _repr_html_(self) -> str:
        badge = f"color:white;background-color:{COLOURS[self.status]};font-weight:bold"
        return (
            f'<div style="font-size:large"><span style="{badge}">&nbsp;{self.status}&nbsp;</span> '
            f'<span dir="auto">{escape(self.says)}</span></div>'
        )

    def __repr__(self) -> str:
        return f"[{self.status}] {self.says}"


def worst(*statuses: Status) -> Status:
    """The worst of several; `ok` of none."""
    return max(statuses, key=_RANKS.index, default="ok")


def in_short(told: Sequence[str], *, most: int = 3) -> str:
    """The first few of what there is to tell, and how many more there are: one sentence or two."""
    more = f" And {len(told) - most} more." if len(told) > most else ""
    return f"{'; '.join(told[:most])}.{more}"
