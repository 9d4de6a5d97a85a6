"""A static picture in a notebook: PNG, with a sentence for whoever cannot see it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Picture:
    """A figure as a cell's value, drawn when it is shown. `says` is what it shows, in words."""

    def __init__(self, figure: Figure, *, says: str) -> None:
        self._figure = figure
        self._says = says

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        # no software version in it: the same data is the same file
        self._figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
        return drawn.getvalue()

    def __repr__(self) -> str:
        return f"[picture: {self._says}]"


def strip(*, height_inches: float = 2.6) -> tuple[Figure, Axes]:
    """A wide, low figure without a frame: what fits under a sentence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height_inches), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def strips(count: int, *, columns: int, height_inches: float = 1.5) -> tuple[Figure, list[Axes]]:
    """So many small figures side by side, in rows of `columns`."""
    from matplotlib.figure import Figure

    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(8, height_inches * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize="x-small")
    for unused in found[count:]:
        unused.set_visible(False)
    return figure, found[:count]


def clock_axis(axes: Axes, *, labels: int = 8) -> None:
    """Hours and minutes in UTC below, with the date only where it changes."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=2, maxticks=labels)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))
    axes.xaxis.get_offset_text().set_fontsize("small")
    axes.set_xlabel("UTC", fontsize="small")


def count_axis(axes: Axes) -> None:
    """Whole numbers at the side: half a thing is never counted."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
