"""What a search found, gathered while the lines stream by: memory holds a summary, never them all.

Errors are grouped by their shape: the message with its numbers and ids folded. Whether there are
too many of them is a share of each service's lines; from which on, the environment says.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from runbook import picture
from runbook.headline import Status, worst
from runbook.picture import Picture
from runbook.settings import ErrorShare, Logs
from runbook.studio.logs.lines import ERRORS, LEVELS, Event, Line, Lines, clock, moment, shape
from runbook.studio.logs.search import Window, groups_of, missing, search
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd

OTHER = "(any other shape)"
_MOST_SHAPES = 500  # each is kept: a message that never looks the same must not fill the memory
_BARS = 60  # of a plot
_PLOTTED = 5  # shapes with a colour of their own
_SAY_EVERY = 100_000  # lines
_LATELY_MS = 5 * 60_000  # the end of a search, where one who asks too much is looked for
_TOO_FEW = 100  # lines, to speak of anybody's share of them


@dataclass
class ErrorGroup:
    """Errors of one shape."""

    shape: str
    lines: int = 0
    first_ms: int = 0
    last_ms: int = 0
    services: set[str] = field(default_factory=set)
    trace_id: str = ""  # of the newest that has one
    by_bar: Counter[int] = field(default_factory=Counter)


class Loud(NamedTuple):
    """A user who asks much more than all others do."""

    user: str
    service: str
    lines: int
    percent: float

    @property
    def says(self) -> str:
        """In one sentence."""
        return (
            f"User {self.user} causes {self.percent:.0f} % of the {self.service}'s lines "
            f"of the last {_LATELY_MS // 60_000} minutes."
        )


@dataclass
class Found:
    """The lines of a search, counted and grouped. `missing`: services without a log group."""

    window: Window
    pattern: str
    limits: ErrorShare
    user_percent: float  # of a service's latest lines: more of one user's is worth a look
    services: tuple[str, ...]
    missing: tuple[str, ...] = ()
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by service and level
    groups: dict[str, ErrorGroup] = field(default_factory=dict)
    suspect: str = ""  # the trace of the newest error; without one, of what took longest
    _newest: deque[Event] = field(default_factory=deque)
    _lately: Counter[tuple[str, str]] = field(default_factory=Counter)  # by service and user
    _slowest: tuple[float, str] = (0.0, "")

    @property
    def lines(self) -> int:
        """How many lines there are in all."""
        return self.counts.total()

    @property
    def errors(self) -> int:
        """How many of them are errors."""
        return sum(count for (_, level), count in self.counts.items() if level in ERRORS)

    def newest(self) -> Lines:
        """The newest lines, oldest first, and how many are not shown."""
        return Lines(tuple(map(Line, self._newest)), self.lines - len(self._newest))

    def by_service(self) -> pd.DataFrame:
        """Lines by service. Columns: service, lines, one for each level, error_percent."""
        import pandas as pd

        rows = []
        for service in self.services:
            levels = {level: self.counts[service, level] for level in LEVELS}
            plain = self.counts[service, ""]
            lines = plain + sum(levels.values())
            share = self._share(service)
            rows.append(
                {"service": service, "lines": lines, **levels, "no level": plain,
                 "error_percent": round(share, 2)}
            )  # fmt: skip
        return pd.DataFrame(rows)

    def error_groups(self) -> pd.DataFrame:
        """Errors by shape, most first.

        Columns: lines, first_seen, last_seen (UTC, naive), services, shape, trace_id (the newest).
        """
        import pandas as pd

        rows = [
            {
                "lines": group.lines,
                "first_seen": _second(group.first_ms),
                "last_seen": _second(group.last_ms),
                "services": ", ".join(sorted(group.services)),
                "shape": group.shape,
                "trace_id": group.trace_id,
            }
            for group in self._ranked()
        ]
        columns = ["lines", "first_seen", "last_seen", "services", "shape", "trace_id"]
        return pd.DataFrame(rows, columns=columns)

    def error_table(self, *, rows: int = 20) -> Table:
        """The largest error groups, to be read."""
        return Table(self.error_groups().head(rows), empty="No line is an error.")

    def service_table(self) -> Table:
        """Lines by service and level, to be read."""
        return Table(self.by_service())

    def plot_errors(self) -> Picture:
        """Errors over time, stacked by shape: the rarer ones are one colour."""
        figure, axes = picture.strip()
        ranked = self._ranked()
        largest, rest = ranked[:_PLOTTED], ranked[_PLOTTED:]
        series = [(group.shape, group.by_bar) for group in largest]
        if rest:
            series.append((f"{len(rest)} other shapes", sum((g.by_bar for g in rest), Counter())))
        middles = (self.window.start_ms + (bar + 0.5) * self._bar_ms for bar in range(_BARS))
        times: Any = [moment(int(middle)) for middle in middles]
        below = [0] * _BARS
        for label, by_bar in series:
            heights = [by_bar[bar] for bar in range(_BARS)]
            shown = label if len(label) <= 60 else f"{label[:59]}…"
            axes.bar(times, heights, self._bar_ms / 86_400_000, bottom=below, label=shown)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        if series:
            axes.legend(frameon=False, fontsize="small")
        else:
            axes.text(0.5, 0.5, "no errors", ha="center", transform=axes.transAxes)
        axes.set(xlim=(self.window.start, self.window.end), ylabel="error lines")
        picture.clock_axis(axes)
        picture.count_axis(axes)
        return Picture(figure, says=f"{self.errors:,} error lines over time, stacked by shape")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": self.status,
            "says": self.says,
            "lines": self.lines,
            "errors": self.errors,
            "error_percent": {name: round(self._share(name), 2) for name in self.services},
            "error_groups": [
                {"shape": group.shape, "lines": group.lines, "services": sorted(group.services)}
                for group in self._ranked()[:20]
            ],
            "missing": list(self.missing),
            "loud": [one._asdict() for one in self.loud()],
        }

    def loud(self) -> list[Loud]:
        """Users with too much of a service's latest lines, the loudest first."""
        totals: Counter[str] = Counter()
        for (service, _), lines in self._lately.items():
            totals[service] += lines
        shares = [
            Loud(user, service, lines, round(100 * lines / totals[service], 1))
            for (service, user), lines in self._lately.items()
            if totals[service] >= _TOO_FEW
        ]
        found = [one for one in shares if one.percent >= self.user_percent]
        return sorted(found, key=lambda one: (-one.percent, one.user))

    @property
    def status(self) -> Status:
        """By the service with the largest share of errors.

        A pattern leaves lines out, so that no share can be told: what it finds is no verdict.
        """
        unseen: Status = "warning" if self.missing else "ok"
        if self.pattern:
            return unseen
        if self.loud():
            unseen = "warning"
        if not self.lines:
            return "warning"
        return worst(unseen, *(self._judge(service) for service in self.services))

    @property
    def says(self) -> str:
        """What was found, in one sentence or two."""
        where = f"the {self.window.minutes:.0f} minutes to {self.window.end:%Y-%m-%d %H:%M} UTC"
        lost = f" No log group for {', '.join(self.missing)}." if self.missing else ""
        if loud := self.loud():
            lost = f" {loud[0].says}{lost}"
        match = f" match {self.pattern}" if self.pattern else ""
        if not self.lines:
            return f"No line{match} in {where}.{lost}"
        told = f"{self.lines:,} lines{match} in {where}, {self.errors:,} of them errors"
        if not self.errors:
            return f"{told}.{lost}"
        if not self.pattern:
            service = max(self.services, key=self._share)
            told += f", at most {self._share(service):.1f} % of a service's ({service})"
        first = self._ranked()[0]
        return (
            f"{told}. Most often, {first.lines:,} times and last at {clock(first.last_ms)}: "
            f"{first.shape}.{lost}"
        )

    def take(self, event: Event) -> None:
        """Count one more line, in the order of time."""
        line = Line(event)
        level = line.level
        self.counts[event.service, level] += 1
        self._newest.append(event)
        user = line.fields.get("user_id")
        if user and event.time_ms >= self.window.end_ms - _LATELY_MS:
            self._lately[event.service, str(user)] += 1
        if level in ERRORS:
            self._take_error(line)
        elif line.took_ms and line.took_ms > self._slowest[0] and line.trace_id:
            self._slowest = (line.took_ms, line.trace_id)
            if not self.errors:
                self.suspect = line.trace_id

    def _take_error(self, line: Line) -> None:
        event = line.event
        name = shape(line.message)
        if name not in self.groups and len(self.groups) >= _MOST_SHAPES:
            name = OTHER
        group = self.groups.setdefault(name, ErrorGroup(name, first_ms=event.time_ms))
        group.lines += 1
        group.last_ms = event.time_ms
        group.services.add(event.service)
        group.trace_id = line.trace_id or group.trace_id
        bar = int((event.time_ms - self.window.start_ms) / self._bar_ms)
        group.by_bar[min(bar, _BARS - 1)] += 1
        self.suspect = line.trace_id or self.suspect

    def _ranked(self) -> list[ErrorGroup]:
        return sorted(self.groups.values(), key=lambda group: (-group.lines, group.shape))

    def _share(self, service: str) -> float:
        """Errors among a service's lines, in percent."""
        found = {level: count for (name, level), count in self.counts.items() if name == service}
        errors = sum(found.get(level, 0) for level in ERRORS)
        return 100 * errors / sum(found.values()) if found else 0.0

    def _judge(self, service: str) -> Status:
        share = self._share(service)
        if share >= self.limits.critical:
            return "critical"
        return "warning" if share >= self.limits.warning else "ok"

    @property
    def _bar_ms(self) -> float:
        return max(1.0, (self.window.end_ms - self.window.start_ms) / _BARS)


def find(
    logs: Any,
    settings: Logs,
    *,
    window: Window,
    services: str = "",
    pattern: str = "",
    newest: int = 50,
) -> Found:
    """Search and gather: all services, or those named (with commas between).

    Raises BadInput for an unknown service and a pattern that AWS cannot read.
    """
    groups = groups_of(settings, services)
    lost = missing(logs, groups)
    there = {name: group for name, group in groups.items() if name not in lost}
    found = empty(settings, groups, window=window, pattern=pattern, newest=newest, missing=lost)
    if there:
        events = search(logs, settings, groups=there, window=window, pattern=pattern)
        gather(found, events, say=lambda lines: print(f"{lines:,} lines so far", flush=True))
    return found


def empty(
    settings: Logs,
    groups: Mapping[str, str],
    *,
    window: Window,
    pattern: str = "",
    newest: int = 50,
    missing: Iterable[str] = (),
) -> Found:
    """A summary of no line yet."""
    return Found(
        window,
        pattern,
        settings.errors_percent,
        settings.user_percent,
        tuple(groups),
        tuple(missing),
        _newest=deque(maxlen=max(0, newest)),
    )


def gather(
    found: Found, events: Iterable[Event], *, say: Callable[[int], None] = lambda lines: None
) -> None:
    """Let all events pass, each taken into account and forgotten."""
    for number, event in enumerate(events, start=1):
        found.take(event)
        if number % _SAY_EVERY == 0:
            say(number)


def _second(time_ms: int) -> Any:
    return moment(time_ms).replace(tzinfo=None, microsecond=0)
