"""One request through all services: what each of them wrote of it, and how long each took."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.errors import BadInput
from runbook.picture import Picture
from runbook.settings import Logs
from runbook.studio.logs.lines import ERRORS, Line, parsed
from runbook.studio.logs.search import Window, groups_of, missing, search
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"[A-Za-z0-9._:/=-]{4,128}")
_XRAY = re.compile(r"1-([0-9a-f]{8})-[0-9a-f]{24}")  # with the second that it began in
_BEFORE, _AFTER = timedelta(minutes=1), timedelta(hours=1)
_ROWS = 40


@dataclass(frozen=True)
class Trace:
    """The lines of one request, in the order of time."""

    id: str
    lines: tuple[Line, ...]

    def hops(self) -> pd.DataFrame:
        """Every line as a hop, by when it began.

        Columns: service, began_ms (since the first began), took_ms (missing where the line does
        not say), level, message. A line is written when what it tells of is over.
        """
        import pandas as pd

        columns = ["service", "began_ms", "took_ms", "level", "message"]
        began = [line.event.time_ms - (line.took_ms or 0) for line in self.lines]
        rows = [
            (line.event.service, at - min(began), line.took_ms, line.level, line.message)
            for at, line in sorted(zip(began, self.lines, strict=True), key=lambda pair: pair[0])
        ]
        frame = pd.DataFrame(rows, columns=columns)
        return frame.astype({"began_ms": "float", "took_ms": "float"})

    def table(self) -> Table:
        """The hops, to be read."""
        return Table(self.hops(), empty="No line of any service has it.")

    def plot(self) -> Picture:
        """When each hop began and how long it took; a dot where a line does not say how long."""
        hops = self.hops().head(_ROWS)
        figure, axes = picture.strip(height_inches=1.0 + 0.28 * max(2, len(hops)))
        for row, hop in enumerate(hops.itertuples()):
            colour = "#b3261e" if hop.level in ERRORS else "#1f5fa8"
            if hop.took_ms > 0:
                axes.barh(row, hop.took_ms, left=hop.began_ms, height=0.6, color=colour)
                told = f"{hop.took_ms:,.0f} ms"
                axes.annotate(
                    told, (hop.began_ms + hop.took_ms, row), (4, 0), va="center",
                    textcoords="offset points", fontsize="small",
                )  # fmt: skip
            else:
                axes.plot(hop.began_ms, row, "o", color=colour, markersize=4)
        axes.set_yticks(range(len(hops)), list(hops.service))
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set(xlabel="ms since it began")
        longest = (
            f", the longest {hops.took_ms.max():,.0f} ms" if hops.took_ms.notna().any() else ""
        )
        return Picture(figure, says=f"{len(hops)} hops of {self.id}{longest}")


def trace(logs: Any, settings: Logs, *, trace_id: str, window: Window) -> Trace:
    """All lines of all services that hold this id, JSON or not. Empty for an empty id.

    An X-Ray id says when its request began: there it is looked for, whatever the window. Raises
    BadInput for an id that is none.
    """
    if not trace_id:
        return Trace("", ())
    if not _ID.fullmatch(trace_id):
        raise BadInput(f"trace_id: expected letters, digits and dashes, found {trace_id!r}.")
    groups = groups_of(settings)
    there = {name: groups[name] for name in groups if name not in missing(logs, groups)}
    where = _window(trace_id, window)
    events = search(logs, settings, groups=there, window=where, pattern=f'"{trace_id}"')
    return Trace(trace_id, parsed(events))


def _window(trace_id: str, window: Window) -> Window:
    found = _XRAY.fullmatch(trace_id)
    if not found:
        return window
    began = datetime.fromtimestamp(int(found[1], 16), UTC)
    return Window(began - _BEFORE, began + _AFTER)
