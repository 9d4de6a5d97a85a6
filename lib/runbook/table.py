"""A DataFrame as a reader wants it: text whole, Arabic in its own direction, nothing that acts.

pandas cuts text off at 50 characters and lets a line in Arabic turn its cell around.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from runbook.headline import COLOURS
from runbook.settings import checkout

if TYPE_CHECKING:
    import pandas as pd

_DIRECTION = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = str.maketrans(
    {chr(code): chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
    | {"\x7f": "␡", "\t": "    "}
    | {chr(code): f"⟨U+{code:04X}⟩" for code in _DIRECTION}
)


def visible(text: str) -> str:
    """The text with nothing in it that acts: control characters and direction marks are shown."""
    return text.translate(_VISIBLE).rstrip("\n")


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere."""

    text: str
    href: str

    def __str__(self) -> str:
        return self.text


def section(slug: str) -> Link | str:
    """A link to a section from another's output; the bare name of one that is not there."""
    found = next((checkout() / "notebooks").glob(f"*/{slug}.ipynb"), None)
    return Link(slug, f"../{found.parent.name}/{found.name}") if found else slug


class Table:
    """A DataFrame as a cell's value. `empty` is what stands there when it has no row.

    Numbers are rounded and grouped, unless they are `plain`: a year is not 2,026.
    """

    def __init__(
        self, frame: pd.DataFrame, *, empty: str = "Nothing.", plain: bool = False
    ) -> None:
        self.frame = frame
        self._empty = empty
        self._plain = plain

    def records(self) -> list[dict[str, Any]]:
        """Its rows as data that JSON can hold: times as text, what is missing as null."""
        found: list[dict[str, Any]] = json.loads(
            self.frame.to_json(orient="records", date_format="iso")
        )
        return found

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return f"<p>{escape(self._empty)}</p>"
        kept = 'style="text-align:left;vertical-align:top;white-space:pre-wrap"'
        right = 'style="text-align:right;vertical-align:top"'
        styles = [right if _is_number(self.frame[name]) else kept for name in self.frame]
        head = "".join(
            f"<th {style}>{escape(str(name))}</th>"
            for name, style in zip(self.frame, styles, strict=True)
        )
        rows = "".join(
            "<tr>"
            + "".join(
                f'<td {style}><span dir="auto"{_colour(value)}>{_html(value, text)}</span></td>'
                for value, text, style in zip(values, texts, styles, strict=True)
            )
            + "</tr>"
            for values, texts in zip(
                self.frame.itertuples(index=False),
                self._texts().itertuples(index=False),
                strict=True,
            )
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        if self.frame.empty:
            return self._empty
        shown = self._texts()
        widths = [max(len(str(name)), shown[name].str.len().max()) for name in shown]
        right = [_is_number(self.frame[name]) for name in self.frame]
        rows = [[str(name) for name in shown], *shown.itertuples(index=False)]
        return "\n".join(
            "  ".join(
                cell.replace("\n", "⏎").rjust(width) if at_right else
                cell.replace("\n", "⏎").ljust(width)
                for cell, width, at_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in rows
        )  # fmt: skip

    def _texts(self) -> pd.DataFrame:
        """Every value as it is shown; the numbers of a column with as many decimals."""
        texts = self.frame.astype(object)
        for name in texts:
            whole = _is_number(self.frame[name]) and not (self.frame[name].dropna() % 1).any()
            if self._plain and _is_number(self.frame[name]):
                texts[name] = texts[name].astype(str)
            texts[name] = [_shown(value, whole=whole) for value in texts[name]]
        return texts


def _is_number(column: Any) -> bool:
    return bool(column.dtype.kind in "iuf")


def _html(value: object, text: str) -> str:
    shown = escape(text)
    return f'<a href="{escape(value.href)}">{shown}</a>' if isinstance(value, Link) else shown


def _colour(value: object) -> str:
    """A status that is not ok stands out, wherever it stands."""
    if not isinstance(value, str) or value not in COLOURS or value == "ok":
        return ""
    return f' style="color:white;background-color:{COLOURS[value]};padding:0 4px"'


def _shown(value: Any, *, whole: bool) -> str:
    if value is None or value != value:  # a missing number is unlike itself
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if whole else f"{value:,.1f}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return visible(str(value))
