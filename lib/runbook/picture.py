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
