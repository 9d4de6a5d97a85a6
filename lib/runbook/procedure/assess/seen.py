"""What was gathered, as data: the only thing that rules look at.

None is what was not seen; `not_seen` says why. Nothing here asks anybody again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runbook.settings import Environment
from runbook.studio.alarms import Alarms
from runbook.studio.alb import Target
from runbook.studio.aurora import Activity, Cluster
from runbook.studio.changes import Changed
from runbook.studio.ecs import Service
from runbook.studio.endpoints import Answer
from runbook.studio.latency import Compared, OfProvider
from runbook.studio.logs.lines import Line
from runbook.studio.metrics import Points
from runbook.studio.payments import Unactivated
from runbook.studio.redis_health import RedisHealth
from runbook.studio.s3 import Copied
from runbook.studio.ses import Account
from runbook.studio.usage import Apart
from runbook.studio.wont_start import WontStart


@dataclass(frozen=True)
class NotSeen:
    """What could not be looked at, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Errors:
    """Error lines of one message of one service, lately and before; `first` is of the hour."""

    service: str
    message: str
    provider: str
    lately: int
    before: int
    first: datetime | None = None


@dataclass(frozen=True)
class Load:
    """One service's load: CPU by minute, requests and 5xx by minute, and the range it scales in."""

    service: str
    cpu: Points = field(default_factory=list)
    requests: Points = field(default_factory=list)
    failed: Points = field(default_factory=list)
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Calls:
    """A provider's calls lately and before: how many, and how many failed."""

    provider: str
    calls: float
    failed: float
    calls_before: float
    failed_before: float

    @property
    def percent(self) -> float:
        """That failed lately."""
        return 100 * self.failed / self.calls if self.calls else 0.0


@dataclass(frozen=True)
class Share:
    """One user's requests to a service lately, of all of them."""

    user: str
    service: str
    requests: int
    of: int

    @property
    def percent(self) -> float:
        """Of all requests to the service."""
        return 100 * self.requests / self.of if self.of else 0.0


@dataclass(frozen=True)
class Stuck:
    """Jobs that nobody works on any more, by kind."""

    kinds: Mapping[str, int]
    oldest_minutes: float

    @property
    def jobs(self) -> int:
        """How many in all."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Rows:
    """What does not fit in the tables: rows of before, in short."""

    unlike_plan: int  # payments of nothing or for another plan
    unreachable: int  # users whose address cannot exist
    deleted_percent: Mapping[str, float]  # of a table's rows, since statistics began


@dataclass(frozen=True)
class Database:
    """The database as it answers; `why` is empty where it does."""

    activity: Activity | None = None
    why: str = ""


@dataclass(frozen=True)
class Secret:
    """When a secret's current value was stored."""

    name: str
    changed_at: datetime


@dataclass(frozen=True)
class Seen:
    """Everything, as of `now`."""

    environment: Environment
    now: datetime
    regions: Mapping[str, str] = field(default_factory=dict)  # by region; empty: it answers
    alarms: Alarms | None = None
    services: tuple[Service, ...] | None = None
    commits: Mapping[str, str] | None = None  # by service
    wont_start: WontStart | None = None
    targets: tuple[Target, ...] | None = None
    answers: tuple[Answer, ...] | None = None
    trail: tuple[Changed, ...] | None = None
    activity: tuple[Changed, ...] | None = None
    errors: tuple[Errors, ...] | None = None
    latency: tuple[Compared, ...] | None = None
    shares: tuple[Share, ...] | None = None
    strangers: tuple[Line, ...] | None = None
    loads: tuple[Load, ...] | None = None
    providers: tuple[OfProvider, ...] | None = None
    calls: tuple[Calls, ...] | None = None
    cluster: Cluster | None = None
    database: Database | None = None
    redis: RedisHealth | None = None
    secrets: tuple[Secret, ...] | None = None
    stuck: Stuck | None = None
    rows: Rows | None = None
    unactivated: tuple[Unactivated, ...] | None = None
    apart: tuple[Apart, ...] | None = None
    counters: int | None = None
    mail: Account | None = None
    files: Copied | None = None
    not_seen: tuple[NotSeen, ...] = ()

    @property
    def lately(self) -> datetime:
        """Since when something is of late: what was before is compared with it."""
        return self.now - timedelta(minutes=self.environment.slowness.lately_minutes)

    def changes(self) -> list[Changed]:
        """Everything that was changed within the hour, the newest first."""
        return sorted(
            (*(self.trail or ()), *(self.activity or ())), key=lambda one: one.at, reverse=True
        )

    def changed(self, name: str, *whats: str) -> Changed | None:
        """The newest change that names a thing, by one of these calls where some are given."""
        return next(
            (
                one
                for one in self.changes()
                if one.concerns(name) and (not whats or one.what in whats)
            ),
            None,
        )

    def ago(self, moment: datetime) -> str:
        """How long ago that was, in words."""
        minutes = (self.now - moment).total_seconds() / 60
        if minutes < 2:
            return "a minute ago" if minutes >= 1 else "less than a minute ago"
        return f"{minutes:,.0f} minutes ago" if minutes < 120 else f"{minutes / 60:,.0f} hours ago"
