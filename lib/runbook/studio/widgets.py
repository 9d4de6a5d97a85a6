"""Widgets of a dashboard, drawn: a static picture for each, and a table for whoever cannot see it.

Numbers in the tables are cut to what fits a glance; the pictures have them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.picture import Picture
from runbook.studio.dashboards import Dashboard, Line, Widget
from runbook.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 12  # of a log query that are shown
_LONGEST = 60  # signs of a label in a legend
_NUMBERS = ("singleValue", "gauge")


class Html:
    """A piece of a page as a cell's value, and the same in plain words."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def show(board: Dashboard, chosen: Iterable[Widget]) -> None:
    """Display a dashboard's widgets below each other, in the cell that asks."""
    from IPython.display import display

    if not board.there:
        display(Html(f"<p>There is no dashboard {escape(board.name)}.</p>",
                     f"There is no dashboard {board.name}."))  # fmt: skip
        return
    link = f'<a href="{escape(board.url)}">{escape(board.name)} in the console</a>'
    display(Html(f"<p>{link}</p>", f"{board.name}: {board.url}"))
    for widget in chosen:
        for part in parts(widget):
            display(part)


def parts(widget: Widget) -> list[Any]:
    """What is displayed of one widget: its title, a picture where there is one, a table."""
    if widget.type == "text":
        return [text_of(str(widget.properties.get("markdown", "")))]
    head = Html(f"<h4>{escape(widget.title)}</h4>", widget.title)
    if widget.cannot:
        return [head, Html(f"<p>{escape(widget.cannot)}</p>", widget.cannot)]
    if widget.type == "alarm":
        return [head, alarm_table(widget)]
    if widget.type == "log":
        return [head, log_table(widget)]
    return [head, plot(widget), line_table(widget)]


def line_table(widget: Widget) -> Table:
    """A row for each series: what it is, how many points, and the last, lowest and highest."""
    import pandas as pd

    rows = [{"series": line.label, "of": line.of, "values": _values(line)} for line in widget.lines]
    return Table(pd.DataFrame(rows), empty="It shows no series.")


def alarm_table(widget: Widget) -> Table:
    """The alarms that it names, those that are raised first."""
    import pandas as pd

    colours = {"OK": "ok", "ALARM": "critical"}
    rows = [
        {
            "status": colours.get(alarm.state, "warning"),
            "alarm": alarm.name,
            "state": alarm.state,
            "since": alarm.state_since.astimezone(UTC).replace(tzinfo=None)
            if alarm.state_since else None,
        }
        for alarm in sorted(widget.alarms, key=lambda one: (one.state != "ALARM", one.name))
    ]  # fmt: skip
    rows += [{"status": "warning", "alarm": name, "state": "there is none", "since": None}
             for name in widget.empty]  # fmt: skip
    return Table(pd.DataFrame(rows), empty="It names no alarm.")


def log_table(widget: Widget) -> Table:
    """The first rows of its query."""
    import pandas as pd

    frame = pd.DataFrame(list(widget.rows[:_ROWS]), columns=list(widget.columns))
    return Table(frame, empty="The query finds nothing.")


def plot(widget: Widget) -> Picture:
    """The picture of a metric widget: lines, areas, bars, a pie or numbers, as it says itself."""
    view = widget.properties.get("view", "timeSeries")
    figure, axes = picture.strip(height_inches=2.2)
    drawn = [line for line in widget.lines if line.points]
    if not drawn:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
    elif view in _NUMBERS:
        _numbers(axes, drawn)
    elif view == "bar":
        axes.barh([_short(line.label) for line in drawn], [line.points[-1][1] for line in drawn],
                  color=_colours(drawn))  # fmt: skip
    elif view == "pie":
        axes.pie([max(line.points[-1][1], 0) for line in drawn],
                 labels=[_short(line.label) for line in drawn], colors=_colours(drawn))  # fmt: skip
    else:
        _over_time(axes, widget, drawn)
    kind = "stacked" if widget.properties.get("stacked") else str(view)
    return Picture(figure, says=f"{widget.title}, {len(drawn)} series, {kind}")


def bounds(annotation: Any) -> list[Mapping[str, Any]]:
    """The ends of an annotation: one for a line, two for a band. Pure."""
    return list(annotation) if isinstance(annotation, list) else [annotation]


def text_of(markdown: str) -> Html:
    """A text widget: headings, stars, code and links; everything else as it is written. Pure."""
    lines = []
    for line in escape(markdown, quote=False).splitlines():
        heading = re.match(r"#+\s+", line)
        line = line[heading.end() :] if heading else line
        line = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", line)
        line = re.sub(r"\*(.+?)\*", r"<i>\1</i>", line)
        line = re.sub(r"`(.+?)`", r"<code>\1</code>", line)
        line = re.sub(r"\[([^\]]+)\]\((https?://[^\s)\"]+)\)", r'<a href="\2">\1</a>', line)
        lines.append(f"<h4>{line}</h4>" if heading else f"<p>{line}</p>" if line.strip() else "")
    return Html("".join(lines), markdown)


def _over_time(axes: Axes, widget: Widget, lines: list[Line]) -> None:
    """Lines or stacked areas over time, on one or two axes, with the widget's annotations."""
    right = axes.twinx() if any(line.axis == "right" for line in lines) else None
    for number, line in enumerate(lines):
        line_axes = right if right is not None and line.axis == "right" else axes
        colour = line.color or f"C{number}"
        times, values = zip(*line.points, strict=True)
        if not widget.properties.get("stacked"):
            line_axes.plot(times, values, linewidth=1.2, color=colour, label=_short(line.label))
    if widget.properties.get("stacked"):
        _stack(axes, lines)
    _annotate(axes, right, widget.properties.get("annotations", {}))
    for name, each in (("left", axes), ("right", right)):
        limits = widget.properties.get("yAxis", {}).get(name, {})
        if each is not None and limits:
            each.set_ylim(
                limits.get("min", each.get_ylim()[0]), limits.get("max", each.get_ylim()[1])
            )
            each.set_ylabel(limits.get("label", ""))
    axes.set_xlim(widget.start, widget.end)  # type: ignore[arg-type]  # dates are its own
    handles = [h for each in (axes, right) if each is not None
               for h in each.get_legend_handles_labels()[0]]  # fmt: skip
    axes.legend(handles=handles, frameon=False, fontsize="x-small", loc="upper left",
                bbox_to_anchor=(1.02 if right is None else 1.1, 1))  # fmt: skip
    picture.clock_axis(axes)


def _stack(axes: Axes, lines: list[Line]) -> None:
    """Areas on top of each other; a series without a value at a time adds nothing then."""
    times = sorted({time for line in lines for time, _ in line.points})
    values = [[dict(line.points).get(time, 0.0) for time in times] for line in lines]
    labels = [_short(line.label) for line in lines]
    axes.stackplot(times, values, labels=labels, colors=_colours(lines), alpha=0.8)  # type: ignore[arg-type]


def _annotate(axes: Axes, right: Axes | None, annotations: Mapping[str, Any]) -> None:
    """Lines and bands that the widget draws over its data: thresholds across, moments down."""
    for annotation in annotations.get("horizontal", ()):
        ends = bounds(annotation)
        first = ends[0]
        mine = right if right is not None and first.get("yAxis") == "right" else axes
        colour, values = first.get("color", "#d62728"), [float(end["value"]) for end in ends]
        if len(values) == 2:
            mine.axhspan(*values, color=colour, alpha=0.15)
        elif first.get("fill") in ("above", "below"):
            top, bottom = mine.get_ylim()[1], mine.get_ylim()[0]
            edge = max(top, values[0]) if first["fill"] == "above" else min(bottom, values[0])
            mine.axhspan(values[0], edge, color=colour, alpha=0.15)
        mine.axhline(values[0], color=colour, linestyle="--", linewidth=1,
                     label=_short(f"{first.get('label', '')} {values[0]:g}".strip()))  # fmt: skip
    for annotation in annotations.get("vertical", ()):
        ends = bounds(annotation)
        times = [datetime.fromisoformat(str(end["value"])) for end in ends]
        colour = ends[0].get("color", "#7f7f7f")
        if len(times) == 2:
            axes.axvspan(times[0], times[1], color=colour, alpha=0.15)  # type: ignore[arg-type]
        axes.axvline(times[0], color=colour, linestyle=":",  # type: ignore[arg-type]
                     label=_short(str(ends[0].get("label", ""))))  # fmt: skip


def _numbers(axes: Axes, lines: list[Line]) -> None:
    """The last value of each series, large."""
    axes.axis("off")
    for number, line in enumerate(lines):
        x = (number + 0.5) / len(lines)
        axes.text(x, 0.55, _number(line.points[-1][1]), ha="center", fontsize=22,
                  color=line.color or "black", transform=axes.transAxes)  # fmt: skip
        axes.text(x, 0.25, _short(line.label), ha="center", fontsize="small",
                  transform=axes.transAxes)  # fmt: skip


def _colours(lines: list[Line]) -> list[str]:
    return [line.color or f"C{number}" for number, line in enumerate(lines)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _values(line: Line) -> str:
    """`≈ 31.4 now, 28 to 34`: rounded, since a look is all that it is for."""
    if not line.points:
        return "no data"
    values = [value for _, value in line.points]
    last, least, most = map(_number, (values[-1], min(values), max(values)))
    return f"≈ {last} now, {least} to {most}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
