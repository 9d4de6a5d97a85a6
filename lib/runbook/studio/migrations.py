"""The database's schema: at which migration it is, what would bring it on, and bringing it there.

    head = migrations.read_head(rb.clients)
    ahead = migrations.preview(rb.clients, head, target="head")
    ahead.steps, ahead.sql, ahead.back      what the image has to run, and its way back
    migrations.plan_migration(…)

Alembic runs where the product runs it: in a task of its own with the service's task definition.

Kind of change: `migration`; target `database:CLUSTER`, before and after are alembic's revisions.

Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html (alembic_version) and
https://alembic.sqlalchemy.org/en/latest/offline.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runbook.change.kinds import register
from runbook.change.plan import Change, Json
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable, RunbookError
from runbook.record.journal import Intent
from runbook.settings import Migrations
from runbook.studio import one_off
from runbook.studio.one_off import Ended

KIND = "migration"
_WHOLE = "COMMIT;"  # how the SQL of a stretch ends
_HEAD = "SELECT version_num FROM alembic_version ORDER BY version_num"
_STEP = re.compile(r"Running upgrade (?P<from>\w*) -> (?P<to>\w+), (?P<title>.*)")
_LOGGED = re.compile(r"\s*(INFO|WARN|WARNI|DEBUG|ERROR)\s+\[")


@dataclass(frozen=True)
class Head:
    """Where the schema is. `revisions` is empty where that is not known, and `why` says why."""

    revisions: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Step:
    """One migration."""

    revision: str
    title: str


@dataclass(frozen=True)
class Ahead:
    """What an image has to run from where the schema is, in order; and the way back.

    `back` is empty where the image has none, and `why_no_way_back` says why.
    """

    steps: tuple[Step, ...]
    sql: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    why_no_way_back: str = ""

    @property
    def target(self) -> str:
        """The revision that it comes to; empty when there is nothing to run."""
        return self.steps[-1].revision if self.steps else ""


def read_head(clients: Clients) -> Head:
    """Ask the database. That it does not answer is part of what is found: services go on."""
    import sqlalchemy

    try:
        with clients.database.connect() as connection:
            found = connection.execute(sqlalchemy.text(_HEAD)).scalars().all()
    except (sqlalchemy.exc.SQLAlchemyError, RunbookError) as error:
        return Head((), why=type(error).__name__)
    return Head(tuple(found), why="" if found else "no migration was ever applied")


def preview(clients: Clients, head: Head, *, target: str) -> Ahead:
    """Ask the service's image what it would run: alembic writes the SQL and connects to nothing.

    Two tasks of their own. Raises BadInput: the schema is at no single migration, or the image
    does not know it or the target, in alembic's own words.
    """
    if len(head.revisions) != 1:
        raise BadInput(f"The schema is at no single migration: {head.why or head.revisions}.")
    (now,) = head.revisions
    ended = _written(clients, "upgrade", f"{now}:{target}")
    if ended.exit_code:
        raise BadInput(
            f"The image cannot come from {now} to {target}: {ended.telling}",
            next="Deploy the image that has this migration, or name another target.",
        )
    found = [step for line in ended.lines if (step := _STEP.search(line))]
    steps = tuple(Step(one["to"], one["title"]) for one in found)
    if not steps:
        return Ahead(())
    last = steps[-1].revision
    back = _written(clients, "downgrade", f"{last}:{now}")
    if back.exit_code:
        return Ahead(steps, statements(ended.lines), why_no_way_back=back.telling)
    return Ahead(steps, statements(ended.lines), statements(back.lines))


def statements(lines: Sequence[str]) -> tuple[str, ...]:
    """Of what alembic writes the SQL, without comments, its own log and its own table. Pure."""
    text = "\n".join(
        line for line in lines if not _LOGGED.match(line) and not line.startswith("--")
    )
    found = (" ".join(one.split()) for one in text.split(";"))
    return tuple(
        one
        for one in found
        if one and one not in ("BEGIN", "COMMIT") and not re.search(r"\balembic_version\b", one)
    )


def plan_migration(cluster: str, head: Head, ahead: Ahead) -> Change:
    """The change that brings the schema to where the image is. Pure."""
    return Change(
        KIND,
        f"database:{cluster}",
        before={"migration": ", ".join(head.revisions)},
        after={"migration": ahead.target},
        reversible=not ahead.why_no_way_back,
    )


def settings_of(clients: Clients) -> Migrations:
    """How this environment migrates. Raises BadInput when it does not say."""
    found = clients.environment.migrations
    if found is None:
        raise BadInput(f"{clients.environment.name} does not say how it migrates (migrations: …).")
    return found


def _written(clients: Clients, command: str, way: str) -> Ended:
    """The SQL that alembic writes for a stretch, whole: it ends in a line of its own."""
    settings = settings_of(clients)
    return one_off.run(
        clients,
        service=settings.service,
        command=[*settings.command, command, way, "--sql"],
        last_line=_WHOLE,
    )


def _say(line: str) -> None:
    print(line, flush=True)


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    """Raises NotReachable: whether it was migrated is only known when the database answers."""
    head = read_head(clients)
    if not head.revisions:
        raise NotReachable(f"At which migration the schema is, is not known ({head.why}).")
    return {"migration": ", ".join(head.revisions)}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Upgrade; where that is nothing, the way leads back: downgrade. Raises Failed."""
    wanted, settings = change.after["migration"], settings_of(clients)
    for command in ("upgrade", "downgrade"):
        ended = one_off.run(
            clients,
            service=settings.service,
            command=[*settings.command, command, wanted],
            token=_token(intent, command),
            say=_say,
        )
        if ended.exit_code:
            raise Failed(
                f"alembic {command} {wanted} ended with {ended.exit_code}: {ended.telling}",
                next="It ran in one transaction: look whether the schema is where it was.",
            )
        if _read(clients, change.target)["migration"] == wanted:
            return


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """Not known while its task still runs; then the database says."""
    if any(one_off.is_running(clients, _token(intent, one)) for one in ("upgrade", "downgrade")):
        return None
    return bool(_read(clients, change.target)["migration"] == change.after["migration"])


def _token(intent: Intent, command: str) -> str:
    """One task for one intent, however often it is asked for."""
    return f"{intent.id}-{command}"


register(KIND, read=_read, apply=_apply, settled=_settled)
