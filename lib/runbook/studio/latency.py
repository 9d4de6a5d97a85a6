"""How long requests take, lately against before, and what has it so: provider, database, or tasks.

    found = latency.read(rb.clients)
    found.findings(), found.table(), found.plot(), found.provider_table(), …

A percentile is of the requests themselves, from the log lines; CloudWatch's own would not tell
which model they were for. Slow is what takes so many times as long as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status, in_short
from runbook.picture import Picture
from runbook.settings import Slowness
from runbook.studio import aurora, ecs, metrics, outside
from runbook.studio.aurora import Activity
from runbook.studio.logs.query import query
from runbook.studio.logs.search import Window
from runbook.studio.metrics import Metric
from runbook.studio.outside import Said
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_BY_PATH = """
    filter ispresent(latency_ms) and ispresent(path)
    | stats count(*) as requests, avg(latency_ms) as avg_ms, max(latency_ms) as max_ms,
            pct(latency_ms, 95) as p95_ms by @log, path, model
    | limit 1000
"""
_BY_MINUTE = """
    filter ispresent(latency_ms) and ispresent(path)
    | stats avg(latency_ms) as avg_ms, pct(latency_ms, 95) as p95_ms, max(latency_ms) as max_ms
            by bin(1m)
"""
_SLOW_QUERIES = """
    filter @message like /slow query/
    | stats count(*) as lines, max(duration_ms) as longest_ms by message
    | limit 20
"""
_DEADLINE_S = 30.0
_LONG_S = 1.0  # since when a running query is worth its plan
_PLANNED = 3  # queries


@dataclass(frozen=True)
class Figures:
    """Requests of one kind in one stretch of time; in milliseconds."""

    requests: int
    avg_ms: float
    max_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Compared:
    """Requests for one path (and model) of one service, lately and before."""

    service: str
    path: str
    model: str
    lately: Figures
    before: Figures | None

    @property
    def times(self) -> float | None:
        """How many times as long as before the average request takes."""
        return (
            self.lately.avg_ms / self.before.avg_ms if self.before and self.before.avg_ms else None
        )

    def slow(self, limits: Slowness) -> bool:
        """Whether there are enough of them, and they are slow."""
        enough = self.lately.requests >= limits.least_requests
        longer = self.times is not None and self.times >= limits.times
        return enough and longer and self.lately.avg_ms >= limits.least_ms


@dataclass(frozen=True)
class OfProvider:
    """Calls of one provider, lately and before; seconds. What it says of itself is `said`."""

    name: str
    lately_s: float | None
    before_s: float | None
    said: Said | None = None

    @property
    def times(self) -> float | None:
        """How many times as long as before it takes."""
        return self.lately_s / self.before_s if self.lately_s and self.before_s else None

    def slow(self, limits: Slowness) -> bool:
        """Whether it takes so much longer than before."""
        return bool(
            self.times and self.times >= limits.times
            and 1000 * (self.lately_s or 0) >= limits.least_ms
        )  # fmt: skip


@dataclass(frozen=True)
class OfService:
    """A service's tasks: CPU lately in percent, when the youngest began, how many run."""

    name: str
    cpu_percent: float | None
    running: int
    youngest: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """One thing that makes requests slow, and the section to open."""

    cause: str
    says: str
    section: str


@dataclass(frozen=True)
class Latency:
    """What was found. `activity` is None where the database does not answer, `unseen` says why."""

    window: Window
    limits: Slowness
    compared: tuple[Compared, ...]
    by_minute: pd.DataFrame
    providers: tuple[OfProvider, ...] = ()
    services: tuple[OfService, ...] = ()
    activity: Activity | None = None
    queries: tuple[tuple[str, float], ...] = ()  # slow ones by their log lines, longest ms
    plans: Mapping[str, str] = field(default_factory=dict)  # of running queries
    unseen: tuple[str, ...] = ()

    @property
    def slow(self) -> list[Compared]:
        """What takes so much longer than before, the slowest first."""
        found = [one for one in self.compared if one.slow(self.limits)]
        return sorted(found, key=lambda one: -(one.times or 0) * one.lately.requests)

    def reasons(self) -> list[Reason]:
        """What has it so, as far as it can be told. Pure."""
        found = [
            Reason("provider", _of_provider(one), "switch-provider")
            for one in self.providers
            if one.slow(self.limits) or (one.said and one.said.troubled)
        ]
        waiting = [one for one in self.activity.chain if one.depth] if self.activity else []
        if waiting and self.activity:
            found.append(Reason("database", self.activity.doubts[0], "end-query"))
        for one in self.services:
            if (one.cpu_percent or 0) >= self.limits.busy_percent:
                says = f"{one.name} uses {one.cpu_percent:.0f} % of the CPU of {one.running} tasks."
                found.append(Reason("capacity", says, "scale-service"))
        if self.slow and not found:
            found += self._cold()
        return found

    def _cold(self) -> list[Reason]:
        """Tasks that began within the time that is slow."""
        begun = self.window.end - timedelta(minutes=self.limits.lately_minutes)
        return [
            Reason(
                "cold start",
                f"{one.name} has tasks of {one.youngest:%H:%M:%S} UTC.",
                "scale-service",
            )
            for one in self.services
            if one.youngest and one.youngest >= begun
        ]

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": self._status(),
            "says": self._sentence(),
            "slow": [
                {"service": one.service, "path": one.path, "model": one.model,
                 "p95_ms": round(one.lately.p95_ms), "times": round(one.times or 0, 1)}
                for one in self.slow
            ],
            "reasons": [{"cause": one.cause, "says": one.says, "section": one.section}
                        for one in self.reasons()],
            "unseen": list(self.unseen),
        }  # fmt: skip

    def table(self) -> Table:
        """Requests by service, path and model, the slowest first, to be read."""
        import pandas as pd

        ordered = sorted(
            self.compared, key=lambda one: (-(one in self.slow), one.service, one.path, one.model)
        )
        rows = [
            {
                "status": "warning" if one.slow(self.limits) else "ok",
                "service": one.service,
                "path": one.path,
                "model": one.model,
                "a minute": _about(one.lately.requests / self.limits.lately_minutes),
                "average": _ms(one.lately.avg_ms),
                "longest": _ms(one.lately.max_ms),
                "95 %": _ms(one.lately.p95_ms),
                "95 % before": _ms(one.before.p95_ms) if one.before else "",
                "times as long": _about(one.times),
            }
            for one in ordered
        ]
        return Table(pd.DataFrame(rows), empty="No request has a latency in its line.")

    def provider_table(self) -> Table:
        """Each provider's time, and what it says of itself, to be read."""
        import pandas as pd

        rows = [
            {
                "status": "warning" if one.slow(self.limits) else "ok",
                "provider": one.name,
                "average": _ms(1000 * one.lately_s) if one.lately_s else "",
                "before": _ms(1000 * one.before_s) if one.before_s else "",
                "times as long": _about(one.times),
                "its status page": one.said.says if one.said else "not asked",
            }
            for one in self.providers
        ]
        return Table(pd.DataFrame(rows), empty="The environment names no provider.")

    def query_table(self) -> Table:
        """Slow queries by the services' own lines, to be read."""
        import pandas as pd

        frame = pd.DataFrame(self.queries, columns=["line", "longest_ms"])
        return Table(frame, empty="No service has written of a slow query.")

    def plan_table(self) -> Table:
        """Queries that run for long now, with the server's plan, to be read."""
        import pandas as pd

        rows = [{"query": text, "plan": plan} for text, plan in self.plans.items()]
        return Table(pd.DataFrame(rows), empty=f"No query has run for {_LONG_S:g} s.")

    def service_table(self) -> Table:
        """CPU and age of each service's tasks, to be read."""
        import pandas as pd

        rows = [
            {
                "service": one.name,
                "tasks": one.running,
                "CPU, %": _about(one.cpu_percent),
                "youngest task": one.youngest.astimezone(UTC).replace(tzinfo=None)
                if one.youngest
                else None,
            }
            for one in self.services
        ]
        return Table(pd.DataFrame(rows), empty="The cluster has no service.")

    def plot(self) -> Picture:
        """Average, 95 % and longest, minute by minute."""
        figure, axes = picture.strip()
        if self.by_minute.empty:
            axes.text(0.5, 0.5, "no requests", ha="center", transform=axes.transAxes)
        else:
            times = (
                self.by_minute.iloc[:, 0]
                if "bin(1m)" not in self.by_minute
                else self.by_minute["bin(1m)"]
            )
            for name, label in (("avg_ms", "average"), ("p95_ms", "95 %"), ("max_ms", "longest")):
                axes.plot(times, self.by_minute[name], linewidth=1, label=label)
            axes.set_yscale("log")
            border: Any = self.window.end - timedelta(minutes=self.limits.lately_minutes)
            axes.axvline(border, color="#b26a00", linestyle="--", linewidth=1)
            axes.legend(frameon=False, fontsize="small")
            picture.clock_axis(axes)
        axes.set(ylabel="ms")
        return Picture(figure, says="how long requests take, minute by minute")

    def _status(self) -> Status:
        return "warning" if self.slow or self.reasons() else "ok"

    def _sentence(self) -> str:
        told = [one.says.rstrip(".") for one in self.reasons()]
        told += [_of_requests(one) for one in self.slow]
        if told:
            return in_short(told)
        if not self.compared:
            return "No request was served lately."
        slowest = max(self.compared, key=lambda one: one.lately.p95_ms)
        return (
            f"Requests take as long as before; the slowest are {slowest.path} "
            f"{slowest.model}".rstrip()
            + f", 95 % within {slowest.lately.p95_ms:,.0f} ms."
        )


def read(clients: Clients, *, until: datetime | None = None) -> Latency:
    """Ask the logs, CloudWatch, the database and the providers, side by side."""
    limits = clients.environment.slowness
    end = until or SYSTEM_CLOCK.now()
    border = end - timedelta(minutes=limits.lately_minutes)
    start = border - timedelta(minutes=limits.before_minutes)
    _make_clients(clients)
    with ThreadPoolExecutor(7, thread_name_prefix="latency") as pool:
        lately = pool.submit(_figures, clients, Window(border, end))
        before = pool.submit(_figures, clients, Window(start, border))
        minutes = pool.submit(_insights, clients, _BY_MINUTE, Window(start, end))
        slow = pool.submit(_insights, clients, _SLOW_QUERIES, Window(start, end))
        providers = pool.submit(read_providers, clients, start=start, border=border, end=end)
        tasks = pool.submit(read_services, clients, border=border, end=end)
        database = pool.submit(_database, clients)
    activity, plans, unseen = database.result()
    earlier = before.result()
    compared = [
        Compared(*key, figures, earlier.get(key)) for key, figures in lately.result().items()
    ]
    found = slow.result()
    return Latency(
        Window(start, end),
        limits,
        tuple(compared),
        minutes.result(),
        providers.result(),
        tasks.result(),
        activity,
        tuple(zip(found.message, found.longest_ms, strict=True)) if len(found) else (),
        plans,
        unseen,
    )


def compare(
    clients: Clients, *, start: datetime, border: datetime, end: datetime
) -> tuple[Compared, ...]:
    """Requests by service, path and model since `border`, beside those before it."""
    earlier = _figures(clients, Window(start, border))
    lately = _figures(clients, Window(border, end))
    return tuple(Compared(*key, figures, earlier.get(key)) for key, figures in lately.items())


def read_providers(
    clients: Clients, *, start: datetime, border: datetime, end: datetime
) -> tuple[OfProvider, ...]:
    """Each provider's average time before and since `border`, and its status page."""
    wanted = clients.environment.models
    if not wanted.metrics:
        return ()
    asked = {
        name: Metric(wanted.metrics, "ProviderLatency", {"Provider": name})
        for name in clients.environment.providers.known
    }
    points = metrics.read(clients.aws("cloudwatch"), asked, start=start, end=end)
    said = {one.provider: one for one in outside.read_status(clients)}
    return tuple(
        OfProvider(
            name,
            metrics.mean(metrics.since(points[name], border)),
            metrics.mean(metrics.until(points[name], border)),
            said.get(name),
        )
        for name in asked
    )


def read_services(clients: Clients, *, border: datetime, end: datetime) -> tuple[OfService, ...]:
    """CPU since `border`, tasks and the youngest of them, by service."""
    client, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    services = ecs.read_services(client, cluster=cluster)
    asked = {
        one.name: Metric(
            "AWS/ECS", "CPUUtilization", {"ClusterName": cluster, "ServiceName": one.name}
        )
        for one in services
    }
    points = metrics.read(clients.aws("cloudwatch"), asked, start=border, end=end)
    return tuple(
        OfService(
            one.name,
            metrics.mean(points[one.name]),
            one.running_count,
            max(ecs.read_started(client, cluster=cluster, service=one.name), default=None),
        )
        for one in services
    )


def _make_clients(clients: Clients) -> None:
    """Before the threads, which share them."""
    for service in ("ecs", "logs", "cloudwatch", "secretsmanager"):
        clients.aws(service)


def _insights(clients: Clients, text: str, window: Window) -> pd.DataFrame:
    environment = clients.environment
    return query(
        clients.aws("logs"),
        environment.logs,
        text,
        window=window,
        deadline_s=_DEADLINE_S,
        factor=environment.waits.factor,
    ).frame


def _figures(clients: Clients, window: Window) -> dict[tuple[str, str, str], Figures]:
    """By service, path and model."""
    names = {group: service for service, group in clients.environment.logs.groups.items()}
    return {
        (_service(row["@log"], names), row["path"], _text(row.get("model"))): Figures(
            int(row["requests"]), row["avg_ms"], row["max_ms"], row["p95_ms"]
        )
        for row in _insights(clients, _BY_PATH, window).to_dict("records")
    }


def _service(log: str, names: Mapping[str, str]) -> str:
    """AWS writes a group as ACCOUNT:NAME."""
    group = str(log).rpartition(":")[2]
    return names.get(group, group)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _database(clients: Clients) -> tuple[Activity | None, dict[str, str], tuple[str, ...]]:
    """Who waits now, and the plans of what has run for long."""
    import sqlalchemy

    try:
        activity = aurora.read_activity(clients.database, clients.environment.database)
    except (sqlalchemy.exc.SQLAlchemyError, RunbookError) as error:
        return None, {}, (f"the database: {type(error).__name__}",)
    running = activity.sessions[
        (activity.sessions.state == "active") & (activity.sessions.state_s >= _LONG_S)
    ]
    texts = list(dict.fromkeys(running["query"]))[:_PLANNED]
    return activity, {text: _plan(clients, text) for text in texts}, ()


def _plan(clients: Clients, text: str) -> str:
    try:
        frame = aurora.explain(clients.database, text).frame
    except RunbookError as error:
        return f"no plan: {error.message}"
    return "\n".join(str(value) for value in frame.iloc[:, 0])


def _of_provider(one: OfProvider) -> str:
    told = (
        f"{one.name} takes {one.lately_s:.1f} s" if one.lately_s else f"{one.name} is not heard of"
    )
    if one.times:
        told += f", {one.times:.0f} times as long as before"
    if one.said and one.said.troubled:
        told += f"; its status page says: {one.said.says}"
    return f"{told}."


def _of_requests(one: Compared) -> str:
    what = f"{one.service} {one.path} {one.model}".rstrip()
    return f"{what} takes {one.lately.avg_ms:,.0f} ms, {one.times:.0f} times as long as before"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms"


def _about(value: float | None) -> str:
    return "" if value is None else f"≈ {value:,.1f}"
