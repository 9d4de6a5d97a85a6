"""Finding who asks too much of the gateway, and blocking that user for a while.

    found = throttle.read(rb.clients, user="", minutes=5)
    found.table(), found.plot()
    found.plan(seconds=3600)

The evidence is the gateway's own lines (how many requests, what share of all, how many refused) and
the rate limit's counters in Redis. Somebody stands out who still asks, with more requests than the
limit allows and a share of all that the environment finds worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.picture import Picture
from runbook.settings import Environment
from runbook.studio import logs, users
from runbook.studio.users import Block, User
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_MOST = 10  # users that are shown
_MISSED = 10  # requests that one who still asks may not have sent: chance, and the log's delay
_DRAWN = 4  # users with a line of their own
_BIN = "bin(30s)"
_BY_USER = (
    "filter ispresent(status) and ispresent(user_id)"
    " | stats count(*) as requests, sum(status >= 400) as refused,"
    " latest(timestamp) as last by user_id"
    f" | sort requests desc | limit {_MOST}"
)
_OVER_TIME = (
    "filter ispresent(status) and user_id in [{users}]"
    f" | stats count(*) as requests by user_id, {_BIN}"
)


@dataclass(frozen=True)
class Evidence:
    """Who asked how much of late, and who of them is to be blocked."""

    frame: pd.DataFrame  # user_id, requests, share, refused, last, running
    over_time: pd.DataFrame  # user_id, time, requests
    total: int
    minutes: int
    standing_out: tuple[str, ...]
    chosen: str  # the user named, or the one who stands out most; empty: nobody
    user: User | None
    block: Block | None
    now: datetime
    environment: Environment

    def table(self) -> Table:
        """Users with the most requests, to be read. `share` is in per cent of all requests."""
        shown = self.frame.rename(columns={"running": "in this window"})
        return Table(shown, empty="Nobody has asked anything.")

    def plot(self) -> Picture:
        """Requests of those who ask most, over time."""
        figure, axes = picture.strip()
        for user, mine in self.over_time.groupby("user_id", sort=False):
            axes.plot(mine.time, mine.requests, marker=".", label=f"{str(user)[:8]}…")
        if len(self.over_time):
            axes.legend(frameon=False, fontsize="small")
            picture.clock_axis(axes)
        else:
            axes.text(0.5, 0.5, "nobody asks", ha="center", transform=axes.transAxes)
        axes.set(ylabel="requests in 30 s")
        picture.count_axis(axes)
        return Picture(figure, says="requests over time of the users who ask most")

    def plan(self, *, seconds: int) -> Plan:
        """The plan that blocks the chosen user for so long from now. Pure.

        Without changes when nobody is named and nobody stands out, and where a block, a ban's for
        one, lasts longer already. Raises BadInput for a time below a second, or longer than the
        environment lets a temporary block be.
        """
        longest = self.environment.users.longest_block_hours * 3600
        if not 1 <= seconds <= longest:
            raise BadInput(
                f"seconds: expected 1 to {longest:,.0f}, found {seconds:,}.",
                next="For good is a ban: ban-user",
            )
        if self.block is None:
            return Plan("Nobody stands out: nobody is blocked", "low", (), "Nothing is changed.")
        until = users.later(self.now, seconds=seconds)
        if self.block.lasts_until(until):
            title = f"User {self.chosen} is {self.block.says} already, and stays so"
            return Plan(title, "low", (), "Nothing is changed.")
        return Plan(
            title=f"Block user {self.chosen} at the gateway for {seconds:,} s",
            risk="low",
            changes=(users.block_change(self.block, until=until),),
            way_back="undo lifts the block, or puts back the one that there was; or it ends by "
            "itself.",
            warnings=(f"The time runs from now: it ends at {until:%H:%M:%S} UTC.", *self._doubts()),
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        out = self.standing_out
        return {
            "status": "warning" if out and not self._is_blocked(out[0]) else "ok",
            "says": f"{self._share_of(out[0])}{self._standing}"
            if out
            else f"Nobody stands out among {self.total:,} requests of {self.minutes} minutes.",
            "user": self.chosen,
            "standing_out": out,
            "requests": self.total,
        }

    def _share_of(self, user: str) -> str:
        (row,) = self.frame[self.frame.user_id == user].itertuples()
        return (
            f"User {user} sent {row.requests:,} of {self.total:,} requests of the last "
            f"{self.minutes} minutes ({row.share:.0f} %)."
        )

    @property
    def _standing(self) -> str:
        """How the chosen user stands with the gateway, as a sentence of its own."""
        return f" User {self.chosen[:8]}… is {self.block.says}." if self.block else ""

    def _is_blocked(self, user: str) -> bool:
        return bool(self.block and self.block.user == user and self.block.value is not None)

    def _doubts(self) -> list[str]:
        doubts = []
        if self.chosen in set(self.frame.user_id):
            doubts.append(self._share_of(self.chosen))
        else:
            doubts.append("There is no evidence against this user: nothing was asked of late.")
        if self.user and not self.user.is_active:
            doubts.append("The user is banned already.")
        others = [one for one in self.standing_out if one != self.chosen]
        if others:
            doubts.append(f"Others stand out too: {', '.join(others)}. One at a time.")
        return doubts


def read(clients: Clients, *, user: str, minutes: int) -> Evidence:
    """Who asked how much in the last minutes; `user` empty: whoever stands out.

    Raises BadInput for a user that is not there.
    """
    settings = clients.environment
    named = users.checked(user) if user.strip() else ""
    found, total = _ask(clients, _BY_USER, minutes)
    frame = _counted(found, total, users.read_counters(clients.redis))
    out = standing_out(frame, settings)
    chosen = named or next(iter(out), "")
    return Evidence(
        frame,
        _over_time(clients, list(frame.user_id[:_DRAWN]), minutes),
        total,
        minutes,
        tuple(out),
        chosen,
        users.read_user(clients.database, chosen) if chosen else None,
        users.read_block(clients.redis, chosen) if chosen else None,
        SYSTEM_CLOCK.now(),
        settings,
    )


def standing_out(frame: pd.DataFrame, environment: Environment) -> list[str]:
    """Users who ask more than is allowed, much of all that is asked, and still; most first. Pure.

    Still: who is over the limit asks more often than once in so long as it is, divided by it.
    """
    allowed, share = environment.users.requests, environment.logs.user_percent
    quiet = timedelta(seconds=_MISSED * environment.users.in_seconds / allowed)
    over = frame[
        (frame.requests > allowed)
        & (frame.share >= share)
        & (frame["last"] >= frame["last"].max() - quiet)
    ]
    return [str(user) for user in over.user_id]


def _counted(found: pd.DataFrame, total: int, counters: Mapping[str, int]) -> pd.DataFrame:
    """The users of a query's answer, with their share and what Redis counts at this moment."""
    import pandas as pd

    frame = found.reindex(columns=["user_id", "requests", "refused", "last"])
    frame.insert(2, "share", 100 * frame.requests / max(total, 1))
    frame["last"] = pd.to_datetime(frame["last"], utc=True).dt.tz_localize(None)
    return frame.assign(running=[counters.get(str(user), 0) for user in frame.user_id])


def _over_time(clients: Clients, top: list[str], minutes: int) -> pd.DataFrame:
    """Requests of these users in each half minute."""
    quoted = ", ".join(f'"{users.checked(one)}"' for one in top)
    found, _ = _ask(clients, _OVER_TIME.format(users=quoted or '""'), minutes)
    timed = found.reindex(columns=["user_id", _BIN, "requests"]).rename(columns={_BIN: "time"})
    return timed.sort_values("time")


def _ask(clients: Clients, query: str, minutes: int) -> tuple[pd.DataFrame, int]:
    """What the gateway's lines answer, and how many lines that is about."""
    environment = clients.environment
    answer = logs.query(
        clients.aws("logs"),
        environment.logs,
        query,
        window=logs.window(minutes=minutes),
        services=environment.users.gateway,
        factor=environment.waits.factor,
    )
    return answer.frame, int(answer.matched_records)
