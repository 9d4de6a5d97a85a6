"""Planning a maintenance: when, who is told, what is noted so that it can be taken back.

    found = plan_maintenance.read(rb.clients, start="", minutes=60, what="…", rollback="…")
    found.notice_table(), found.version_table(), found.plan()

The window and the notice are the environment's. Users get one mail in Arabic and English, the
team one message; a snapshot is taken; versions, migration and the way back stand in one document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Maintenance, Weekly, checkout
from runbook.studio import aurora_backups, ecs, migrations, notices
from runbook.studio.aurora_backups import Snapshot, Window
from runbook.studio.ecs import Service
from runbook.studio.migrations import Head
from runbook.studio.notices import Quota
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_LEAST_WORDS = 10  # signs of what is done, and of the way back: a word is neither


@dataclass(frozen=True)
class Planned:
    """What was found for one maintenance; times are aware and in UTC."""

    start: datetime
    end: datetime
    what: str
    rollback: str
    wanted: Maintenance
    services: tuple[Service, ...]
    tags: dict[str, str]
    head: Head
    window: Window
    snapshots: tuple[Snapshot, ...]
    audience: tuple[str, ...]
    quota: Quota

    @property
    def name(self) -> str:
        """What it is called, and its snapshot and notice with it."""
        return f"maintenance-{self.start:%Y%m%d-%H%M}"

    def plan(self) -> Plan:
        """The plan that takes the snapshot and sends the notice. Pure.

        Raises BadInput when there are more mails than SES lets the account send today.
        """
        self.quota.refuse_unless_enough(len(self.audience))
        subject, text = self.notice()
        snapshot = aurora_backups.plan_snapshot(
            self.window, name=f"{self.wanted.snapshot_name}-{self.name}", known=self.snapshots
        )
        notice = notices.change_of(
            self.name,
            sender=self.wanted.sender,
            subject=subject,
            text=text,
            audience=self.audience,
        )
        seconds = len(self.audience) / self.quota.each_second
        return Plan(
            title=f"Maintenance at {self.start:%a %Y-%m-%d %H:%M} UTC: a snapshot, and notice to "
            f"{len(self.audience):,} users",
            risk="low",
            changes=(*snapshot.changes, notice),
            way_back="none: a mail that was sent cannot be taken back. Call it off by another one, "
            "and delete the snapshot by hand.",
            warnings=(
                f"The mails take about {max(1, round(seconds / 60))} minutes, "
                f"{self.quota.each_second:g} a second; {self.quota.left:,} are left of today.",
                "The snapshot is of today: to go back to the last moment before the maintenance, "
                "restore to that point in time.",
            ),
        )

    def notice(self) -> tuple[str, str]:
        """Subject and text of the mail, as the environment's template has it."""
        subject, _, text = self._filled(self.wanted.notice).partition("\n")
        return subject.strip(), text.strip() + "\n"

    def banner(self) -> str:
        """What the app shows above everything from now on: Arabic and English."""
        return self._filled(self.wanted.banner)

    def document(self) -> str:
        """When, what, which versions, and the way back, as Markdown."""
        versions = "\n".join(
            f"- {one.name}: {one.task_definition} ({self.tags.get(one.name, '?')[:12]}), "
            f"{one.desired_count} tasks"
            for one in self.services
        )
        return (
            f"# Maintenance {self.start:%Y-%m-%d %H:%M}-{self.end:%H:%M} UTC\n\n"
            f"{self.what}\n\n"
            f"## Versions before\n\n{versions}\n- schema: {', '.join(self.head.revisions) or '?'}\n"
            f"- snapshot: {self.wanted.snapshot_name}-{self.name}\n\n"
            f"## Way back\n\n{self.rollback}\n\n"
            "1. Code: roll-back, to the revisions above.\n"
            "2. Data: restore to the moment before the maintenance, or the snapshot.\n\n"
            f"## Banner\n\n{self.banner()}\n"
        )

    def message(self) -> str:
        """What the team is told."""
        return (
            f"{self.start:%a %Y-%m-%d %H:%M}-{self.end:%H:%M} UTC: {self.what} "
            f"{len(self.audience):,} users get notice by mail. Way back: {self.rollback}"
        )

    def notice_table(self) -> Table:
        """When it is, how long before that, and who is told, to be read."""
        import pandas as pd

        zone = ZoneInfo(self.wanted.local)
        rows = [
            ("from", f"{self.start:%a %Y-%m-%d %H:%M} UTC"),
            ("until", f"{self.end:%a %Y-%m-%d %H:%M} UTC"),
            ("for users", f"{self.start.astimezone(zone):%H:%M} in {self.wanted.local}"),
            ("users to tell", f"{len(self.audience):,}"),
            ("mails left of today", f"{self.quota.left:,}"),
        ]
        return Table(pd.DataFrame(rows, columns=["what", "is"]))

    def mail_table(self) -> Table:
        """The mail and the banner, each language in its own direction, to be read."""
        import pandas as pd

        subject, text = self.notice()
        parts = [("subject", subject), *(("text", one) for one in text.strip().split("\n\n"))]
        rows = [*parts, ("banner", self.banner())]
        return Table(pd.DataFrame(rows, columns=["what", "says"]))

    def version_table(self) -> Table:
        """What runs now: the way back leads there, to be read."""
        import pandas as pd

        rows = [
            {"service": one.name, "revision": one.task_definition,
             "commit": self.tags.get(one.name, "?")[:12], "tasks": one.desired_count}
            for one in self.services
        ]  # fmt: skip
        return Table(pd.DataFrame(rows))

    def findings(self, *, told: int) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": "ok",
            "says": f"Maintenance at {self.start:%a %Y-%m-%d %H:%M} UTC; {told:,} of "
            f"{len(self.audience):,} users have notice.",
            "name": self.name,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "told": told,
            "versions": {one.name: one.task_definition for one in self.services},
            "banner": self.banner(),
        }

    def _filled(self, template: str) -> str:
        path = checkout() / "parameters" / template
        if not template or not path.is_file():
            raise BadInput(f"maintenance: there is no parameters/{template or '…'}.")
        zone = ZoneInfo(self.wanted.local)
        values = {
            "{day}": f"{self.start:%Y-%m-%d}",
            "{start}": f"{self.start:%H:%M}",
            "{end}": f"{self.end:%H:%M}",
            "{local_day}": f"{self.start.astimezone(zone):%Y-%m-%d}",
            "{local_start}": f"{self.start.astimezone(zone):%H:%M}",
            "{local_end}": f"{self.end.astimezone(zone):%H:%M}",
        }
        text = path.read_text(encoding="utf-8").strip()
        for name, value in values.items():
            text = text.replace(name, value)
        return text


def read(clients: Clients, *, start: str, minutes: int, what: str, rollback: str) -> Planned:
    """What a maintenance needs, for the time that was named or the next window with enough notice.

    Raises BadInput: outside of the window, too soon, too long, or without a way back.
    """
    wanted, cluster = clients.environment.maintenance, clients.environment.ecs.cluster
    for name, text in (("what", what), ("rollback", rollback)):
        if len(text.strip()) < _LEAST_WORDS:
            raise BadInput(f"{name}: expected a sentence, found {text!r}.")
    now, client = SYSTEM_CLOCK.now(), clients.aws("ecs")
    begin = parse(start) if start else next_start(wanted, now)
    refuse_outside(wanted, begin, minutes=minutes)
    refuse_short_notice(wanted, begin, now)
    services = ecs.in_order(
        ecs.read_services(client, cluster=cluster), clients.environment.ecs.order
    )
    rds, database = clients.aws("rds"), clients.environment.database.cluster
    return Planned(
        begin,
        begin + timedelta(minutes=minutes),
        what.strip(),
        rollback.strip(),
        wanted,
        services,
        ecs.read_tags(client, services),
        migrations.read_head(clients),
        aurora_backups.read_window(rds, cluster=database),
        aurora_backups.read_snapshots(rds, cluster=database),
        notices.read_audience(clients),
        notices.read_quota(clients.aws("sesv2")),
    )


def parse(start: str) -> datetime:
    """A start as a person types it: `2026-12-06 02:00`, in UTC. Raises BadInput."""
    try:
        return datetime.strptime(start.strip(), "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(
            f"start: expected a time such as 2026-12-06 02:00, found {start!r}."
        ) from None


def next_start(wanted: Maintenance, now: datetime) -> datetime:
    """The beginning of the next window that leaves time for notice. Pure."""
    earliest = now + timedelta(hours=wanted.notice_hours)
    for days in range(15):
        begin, _ = window_of(wanted.window, earliest + timedelta(days=days))
        if begin >= earliest and f"{begin:%a}" == wanted.window.day:
            return begin
    raise BadInput("maintenance.window: no such day comes within two weeks.")


def refuse_outside(wanted: Maintenance, start: datetime, *, minutes: int) -> None:
    """Raise BadInput unless a time of so many minutes is within one window. Pure."""
    window = wanted.window
    begin, end = window_of(window, start)
    over = start + timedelta(minutes=minutes)
    if minutes < 1 or f"{start:%a}" != window.day or not (begin <= start and over <= end):
        raise BadInput(
            f"Maintenance is for {window.day} {window.start}-{window.end} UTC; this is "
            f"{start:%a %Y-%m-%d %H:%M} for {minutes} minutes.",
            next="Choose a start within the window; in an incident use maintenance-mode.",
        )


def refuse_short_notice(wanted: Maintenance, start: datetime, now: datetime) -> None:
    """Raise BadInput when it begins before users have had their notice. Pure."""
    hours = (start - now).total_seconds() / 3600
    if hours < wanted.notice_hours:
        raise BadInput(
            f"start: users get notice {wanted.notice_hours:g} hours before; this begins in "
            f"{hours:,.1f}.",
            next=f"The next one: {next_start(wanted, now):%Y-%m-%d %H:%M}",
        )


def window_of(window: Weekly, moment: datetime) -> tuple[datetime, datetime]:
    """Beginning and end of the window's hours on that moment's day. Pure."""
    hours = (datetime.strptime(one, "%H:%M") for one in (window.start, window.end))  # noqa: DTZ007
    begin, end = (
        moment.replace(hour=one.hour, minute=one.minute, second=0, microsecond=0) for one in hours
    )
    return begin, end
