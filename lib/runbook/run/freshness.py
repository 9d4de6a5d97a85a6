"""Is the runbook itself fit for use? What a quarterly review asks, answered from the record.

found = freshness.read(rb.clients, store)
found.section_table()       each section: last reviewed, last run, last drill, how often it fails
found.drift_table()         where the runbook and the account tell two stories
found.contact_table()       who is called, and who is not known yet
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status, in_short
from runbook.record import redaction
from runbook.record.runs import last_drills, runs
from runbook.record.store import Store
from runbook.run.sections import Section, sections
from runbook.settings import Review, checkout, read_yaml
from runbook.studio import alarms, ecs, logs, secret_use
from runbook.table import Table
from runbook.table import section as link
from runbook.wait import SYSTEM_CLOCK

_BAD = ("failed", "unknown")  # a refusal is no failure: it did what it is for


@dataclass(frozen=True)
class Fresh:
    """One section as the record knows it. Times are aware; None: never."""

    section: Section
    reviewed: date | None
    ran: datetime | None
    drilled: datetime | None
    runs: int
    failed: int
    now: datetime
    limits: Review

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.runs if self.runs else 0.0

    def stale(self) -> list[str]:
        """What is overdue, in words. Nobody drills what only reads."""
        limits, days = self.limits, self._days
        found = []
        if self.reviewed is None or (self.now.date() - self.reviewed).days > limits.reviewed_days:
            found.append(f"not reviewed for {limits.reviewed_days} days")
        if days(self.ran) > limits.run_days:
            found.append("never run" if self.ran is None else f"not run for {days(self.ran):.0f} d")
        if self.section.risk != "read" and days(self.drilled) > limits.drilled_days:
            found.append(
                "never rehearsed" if self.drilled is None
                else f"not rehearsed for {days(self.drilled):.0f} d"
            )  # fmt: skip
        if self.runs >= limits.least_runs and self.failed_percent > limits.failed_percent:
            found.append(f"{self.failed} of {self.runs} runs failed")
        return found

    @property
    def status(self) -> Status:
        return "warning" if self.stale() else "ok"

    def _days(self, then: datetime | None) -> float:
        return (self.now - then).total_seconds() / 86400 if then else float("inf")


@dataclass(frozen=True)
class Drift:
    """One place where the runbook and the account differ, or where nobody could look."""

    about: str
    says: str
    section: str  # what to open


@dataclass(frozen=True)
class Reviewed:
    """Everything that a review has to talk about."""

    fresh: tuple[Fresh, ...]
    drift: tuple[Drift, ...]
    contacts: Mapping[str, Mapping[str, str]]

    def section_table(self) -> Table:
        """Each section, what is overdue first, to be read."""
        import pandas as pd

        rows = [
            {
                "status": one.status,
                "section": link(one.section.slug),
                "risk": one.section.risk,
                "reviewed": f"{one.reviewed}" if one.reviewed else "never",
                "last run": _day(one.ran),
                "last drill": _day(one.drilled) if one.section.risk != "read" else "",
                "runs": one.runs,
                "failed": one.failed,
                "overdue": ", ".join(one.stale()),
            }
            for one in sorted(self.fresh, key=lambda one: -len(one.stale()))
        ]
        return Table(pd.DataFrame(rows))

    def drift_table(self) -> Table:
        """Where runbook and account tell two stories, to be read."""
        import pandas as pd

        rows = [
            {"about": one.about, "what": one.says, "open": link(one.section)} for one in self.drift
        ]
        return Table(pd.DataFrame(rows), empty="The account is as the runbook says.")

    def contact_table(self) -> Table:
        """Who is called, and how, to be read."""
        import pandas as pd

        rows = [
            {"contact": about["what"], "reach": about["reach"] or "not known yet",
             "status": "ok" if about["reach"] else "warning"}
            for about in self.contacts.values()
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="parameters/contacts.yaml names nobody.")

    @property
    def unknown_contacts(self) -> list[str]:
        """Contacts that nobody has filled in."""
        return [about["what"] for about in self.contacts.values() if not about["reach"]]

    def findings(self) -> dict[str, Any]:
        """What a review has to talk about, as data, with `status` and the sentence `says`."""
        overdue = [one for one in self.fresh if one.stale()]
        told = []
        if self.unknown_contacts:
            told.append(f"{len(self.unknown_contacts)} contacts are not known")
        if self.drift:
            told.append(f"{len(self.drift)} things are not as the runbook says")
        if overdue:
            told.append(f"{len(overdue)} of {len(self.fresh)} sections are overdue")
        return {
            "status": "warning" if told else "ok",
            "says": in_short(told) if told else "The runbook is fit for use.",
            "contacts_missing": self.unknown_contacts,
            "drift": [vars(one) for one in self.drift],
            "overdue": {one.section.slug: one.stale() for one in overdue},
        }


def read(clients: Clients, store: Store) -> Reviewed:
    """Read the record, the account and the contacts. Raises BadInput for a file that is wrong."""
    limits, now = clients.environment.review, SYSTEM_CLOCK.now()
    contacts = read_yaml(checkout() / "parameters/contacts.yaml")
    drilled = {slug: _moment(at) for slug, at in last_drills(store).items()}
    return Reviewed(
        tuple(judged(sections(), runs(store), drilled, limits=limits, now=now)),
        tuple(_drift(clients)),
        contacts,
    )


def judged(
    known: Iterable[Section],
    recorded: Iterable[Mapping[str, Any]],
    drilled: Mapping[str, datetime],
    *,
    limits: Review,
    now: datetime,
) -> Iterable[Fresh]:
    """Each section by its runs of late: what was run long ago tells nothing of now. Pure."""
    ran: dict[str, datetime] = {}
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for about in recorded:  # newest first
        slug, began = about["section"], _moment(about["started_at"])
        if about["verdict"] not in ("refused", "running"):
            ran.setdefault(slug, began)
        if (now - began).days <= limits.run_days:
            counted[slug][about["verdict"]] += 1
    for section in known:
        verdicts = counted[section.slug]
        yield Fresh(
            section,
            reviewed_on(section.facts.get("last reviewed", "")),
            ran.get(section.slug),
            drilled.get(section.slug),
            verdicts.total(),
            sum(verdicts[verdict] for verdict in _BAD),
            now,
            limits,
        )


def reviewed_on(text: str) -> date | None:
    """The day in a section's table; None for no day. Pure."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def _drift(clients: Clients) -> Iterable[Drift]:
    """Ask each part of the account whether it is as the settings say, side by side."""
    looks: dict[str, tuple[Callable[[Clients], Iterable[str]], str]] = {
        "alarms": (_of_alarms, "create-alarms"),
        "services": (_of_services, "deploy"),
        "secrets": (_of_secrets, "check-secrets"),
        "log groups": (_of_logs, "search-logs"),
        "dashboards": (_of_dashboards, "show-dashboards"),
    }
    for service in ("cloudwatch", "ecs", "secretsmanager", "logs", "elbv2", "elasticache", "sns"):
        clients.aws(service)  # made before the threads, which share them
    with ThreadPoolExecutor(len(looks), thread_name_prefix="review") as pool:
        asked = {about: pool.submit(_asked, look, clients) for about, (look, _) in looks.items()}
        for about, answer in asked.items():
            for says in answer.result():
                yield Drift(about, says, looks[about][1])


def _asked(look: Callable[[Clients], Iterable[str]], clients: Clients) -> list[str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return list(look(clients))
    except (BotoCoreError, ClientError, RunbookError) as error:
        return [redaction.mask(f"could not be looked at: {type(error).__name__}: {error}")]


def _of_alarms(clients: Clients) -> Iterable[str]:
    frame = alarms.read(clients).drift_table().frame
    return [f"{row.alarm}: {row.drift}" for row in frame.itertuples()]


def _of_services(clients: Clients) -> Iterable[str]:
    settings = clients.environment.ecs
    there = {one.name for one in ecs.read_services(clients.aws("ecs"), cluster=settings.cluster)}
    yield from (f"{name} is deployed by the runbook, and is not there"
                for name in settings.order if name not in there)  # fmt: skip
    yield from (f"{name} runs, and has no place in the order of a deployment"
                for name in sorted(there - set(settings.order)))  # fmt: skip


def _of_secrets(clients: Clients) -> Iterable[str]:
    found = secret_use.read(clients).findings()
    yield from (f"{name} is critical, and is not there" for name in found["missing"])
    yield from (f"{name} is read, and is not there" for name in found["dangling"])


def _of_logs(clients: Clients) -> Iterable[str]:
    groups = logs.groups_of(clients.environment.logs)
    lost = logs.missing(clients.aws("logs"), groups)
    return [f"{groups[name]} of {name} is not there" for name in lost]


def _of_dashboards(clients: Clients) -> Iterable[str]:
    pages = clients.aws("cloudwatch").get_paginator("list_dashboards").paginate()
    there = {one["DashboardName"] for page in pages for one in page["DashboardEntries"]}
    return [f"{name} is not there" for name in clients.environment.dashboards if name not in there]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "never"
