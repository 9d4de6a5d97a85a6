"""Failed requests: how many, whose, and in which minutes. What an incident cost its users.

found = read(logs, settings, window=…)
found.failed, found.users, found.bad_minutes
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook.settings import Logs
from runbook.studio.logs.query import query
from runbook.studio.logs.search import Window

if TYPE_CHECKING:
    import pandas as pd

    from runbook.picture import Picture

_MINUTE = timedelta(minutes=1)
_REQUESTS = """
    filter ispresent(status)
    | stats count(*) as requests by bin(1m) as minute
    | limit 10000
"""
_FAILED = """
    filter status >= 500
    | stats count(*) as failed by bin(1m) as minute
    | limit 10000
"""
_USERS = """
    filter status >= 500 and ispresent(user_id)
    | stats count_distinct(user_id) as users
"""


@dataclass(frozen=True)
class Failures:
    """Requests of a stretch of time, and those of them that were answered 5xx.

    `minutes` has a row a minute: minute (aware), requests, failed, percent. A minute is bad from
    `bad_percent` on.
    """

    window: Window
    requests: int
    failed: int
    users: int
    minutes: pd.DataFrame
    bad_percent: float

    @property
    def percent(self) -> float:
        """Of all requests, how many failed."""
        return 100 * self.failed / self.requests if self.requests else 0.0

    @property
    def bad_minutes(self) -> int:
        """Minutes in which so many failed that it counts."""
        return int((self.minutes["percent"] >= self.bad_percent).sum())

    def bad_since(self, noticed: datetime, *, apart: timedelta) -> datetime | None:
        """The first bad minute of the trouble that was noticed then.

        What was over for longer than `apart` before something else went wrong is left out.
        """
        bad = self.minutes[self.minutes["percent"] >= self.bad_percent]
        found: datetime | None = None
        for minute in (each.to_pydatetime() for each in bad["minute"][::-1]):
            if minute + _MINUTE + apart < min(found or noticed, noticed):
                break
            found = minute
        return found

    def of(self, start: datetime, end: datetime) -> Failures:
        """Those of a part of the time, in whole minutes; whose they were is not told of a part."""
        since = start.replace(second=0, microsecond=0)
        minutes = self.minutes[(self.minutes["minute"] >= since) & (self.minutes["minute"] <= end)]
        requests, failed = int(minutes["requests"].sum()), int(minutes["failed"].sum())
        return replace(
            self, window=Window(since, end), requests=requests, failed=failed, minutes=minutes
        )

    @property
    def says(self) -> str:
        """What it cost, in one sentence."""
        bad = {0: "no minute was bad", 1: "one minute was bad"}.get(
            self.bad_minutes, f"{self.bad_minutes} minutes were bad"
        )
        return (
            f"from {self.window.start:%H:%M} to {self.window.end:%H:%M} UTC {self.failed:,} of "
            f"{self.requests:,} requests failed ({self.percent:.1f} %), of {self.users:,} users; "
            f"{bad} ({self.bad_percent:g} % or more)"
        )

    def plot(self) -> Picture:
        """Failed requests in per cent, minute by minute."""
        from runbook.headline import COLOURS
        from runbook.picture import Picture, clock_axis, strip

        figure, axes = strip()
        bad = self.minutes["percent"] >= self.bad_percent
        colours = [COLOURS["critical"] if each else "#9bb7d4" for each in bad]
        axes.bar(self.minutes["minute"], self.minutes["percent"], width=0.0006, color=colours)
        axes.axhline(self.bad_percent, color="#888888", linestyle=":")
        axes.set_ylabel("failed, %", fontsize="small")
        clock_axis(axes)
        return Picture(figure, says=self.says)


def read(logs: Any, settings: Logs, *, window: Window, factor: float = 1.0) -> Failures:
    """Ask Logs Insights; three queries over all services. Raises as `query` does."""
    requests, failed, users = (
        query(logs, settings, text, window=window, factor=factor).frame
        for text in (_REQUESTS, _FAILED, _USERS)
    )
    minutes = by_minute(requests, failed)
    return Failures(
        window,
        int(minutes["requests"].sum()),
        int(minutes["failed"].sum()),
        int(users["users"].iloc[0]) if len(users) else 0,
        minutes,
        settings.errors_percent.warning,
    )


def by_minute(requests: pd.DataFrame, failed: pd.DataFrame) -> pd.DataFrame:
    """Both counts minute by minute, with the per cent that failed. Pure."""
    import pandas as pd

    empty = pd.DataFrame({"minute": [], "requests": [], "failed": []})
    found = requests if len(requests) else empty[["minute", "requests"]]
    bad = failed if len(failed) else empty[["minute", "failed"]]
    both = found.merge(bad, on="minute", how="outer").fillna({"requests": 0, "failed": 0})
    both["minute"] = pd.to_datetime(both["minute"], utc=True)
    both = both.sort_values("minute", ignore_index=True)
    both["percent"] = (100 * both["failed"] / both["requests"]).fillna(0.0)
    return both
