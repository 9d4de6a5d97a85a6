"""What customers rely on: things that hold in a whole Studio and are seen in no CPU or status code.

    kept = promises.read(rb.clients)
    kept.table()      a row for each: status, what was found, the section that mends it

Each is asked by itself, side by side; what cannot be asked is `critical` with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from runbook import table
from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status
from runbook.studio import ecs, jobs, payments, s3, ses, usage, users
from runbook.table import Table

Answer = tuple[Status, str]


@dataclass(frozen=True)
class Promise:
    """One of them. `section` is what to open when it is broken."""

    name: str
    status: Status
    says: str
    section: str


@dataclass(frozen=True)
class Kept:
    """All of them, as they were found."""

    promises: tuple[Promise, ...]

    @property
    def broken(self) -> tuple[Promise, ...]:
        """Those that are not kept."""
        return tuple(one for one in self.promises if one.status != "ok")

    def table(self) -> Table:
        """A row for each. Columns: status, promise, says, open."""
        import pandas as pd

        rows = [
            {"status": one.status, "promise": one.name, "says": one.says,
             "open": table.section(one.section) if one.status != "ok" else ""}
            for one in self.promises
        ]  # fmt: skip
        return Table(pd.DataFrame(rows))


def read(clients: Clients) -> Kept:
    """Ask for each of them at once."""
    asked: dict[str, tuple[Callable[[Clients], Answer], str]] = {
        "all services run one commit": (_release, "roll-back"),
        "jobs are finished": (_jobs, "clear-stuck-jobs"),
        "who has paid has a subscription": (_activated, "payment-webhook"),
        "payments fit their plans": (_priced, "recover-database"),
        "users can be reached": (_reachable, "recover-database"),
        "usage is written down": (_usage, "usage-not-updating"),
        "mail goes out": (_mail, "email-not-sending"),
        "files are there": (_files, "recover-bucket"),
    }
    _make_clients(clients)
    with ThreadPoolExecutor(len(asked), thread_name_prefix="promises") as pool:
        answers = pool.map(lambda ask: _asked(clients, ask[0]), asked.values())
        found = [
            Promise(name, status, says, section)
            for (name, (_, section)), (status, says) in zip(asked.items(), answers, strict=True)
        ]
    return Kept(tuple(found))


def _make_clients(clients: Clients) -> None:
    """Before the threads, which share them. What fails fails again for who asks."""
    for service in ("ecs", "secretsmanager", "sesv2", "s3"):
        clients.aws(service)
    clients.aws("s3", region=clients.environment.regions.backup)
    with suppress(*unanswered()):
        _ = clients.database
    with suppress(*unanswered()):
        _ = clients.redis


def _asked(clients: Clients, ask: Callable[[Clients], Answer]) -> Answer:
    try:
        return ask(clients)
    except unanswered() as error:
        return "critical", f"cannot be asked: {type(error).__name__}"


def unanswered() -> tuple[type[Exception], ...]:
    """How AWS, PostgreSQL and Redis say that they do not answer."""
    from botocore.exceptions import BotoCoreError, ClientError
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    return BotoCoreError, ClientError, RedisError, SQLAlchemyError, RunbookError


def _release(clients: Clients) -> Answer:
    client, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    tags = ecs.read_tags(client, ecs.read_services(client, cluster=cluster))
    if len(set(tags.values())) <= 1:
        return "ok", f"{next(iter(tags.values()), 'none')} in all {len(tags)}"
    ((most, _),) = Counter(tags.values()).most_common(1)
    others = [f"{service} runs {tag}" for service, tag in tags.items() if tag != most]
    return "warning", f"{', '.join(others)}; the others {most}"


def _jobs(clients: Clients) -> Answer:
    minutes = clients.environment.promises.stuck_after_minutes
    stuck = len(jobs.find_stuck(clients.database, older_than_minutes=minutes))
    if stuck:
        return "warning", f"{stuck:,} jobs are in processing for more than {minutes} minutes"
    return "ok", f"none is in processing for more than {minutes} minutes"


def _activated(clients: Clients) -> Answer:
    minutes = clients.environment.promises.unactivated_after_minutes
    waiting = payments.count_unactivated(clients.database, older_than_minutes=minutes)
    if waiting:
        return "critical", f"{waiting:,} were paid for, and are not active after {minutes} minutes"
    return "ok", f"none waits for more than {minutes} minutes"


def _priced(clients: Clients) -> Answer:
    unlike = payments.count_unlike_plan(clients.database)
    if unlike:
        return "critical", f"{unlike:,} are of nothing, or for another plan than the subscription"
    return "ok", "all have a sum, and the plan of their subscription"


def _reachable(clients: Clients) -> Answer:
    lost = users.count_unreachable(clients.database)
    if lost:
        return "critical", f"{lost:,} have an address that cannot exist"
    return "ok", "all addresses can exist"


def _usage(clients: Clients) -> Answer:
    settle_s = clients.environment.promises.usage_settles_in_s
    drift = usage.read_drift(clients.redis, clients.database, settle_s=settle_s)
    more, less = usage.summed(drift)
    if more or less:
        return "warning", f"{more:,} users used more than the table has, {less:,} less"
    return "ok", "what Redis counts is in the table"


def _mail(clients: Clients) -> Answer:
    domain = clients.environment.promises.mail_domain
    if not domain:
        return "ok", "not looked at: the environment names no domain"
    problems = ses.read_account(clients.aws("sesv2"), domain=domain).problems
    return ("critical", "; ".join(problems)) if problems else ("ok", f"{domain} may send")


def _files(clients: Clients) -> Answer:
    wanted = clients.environment.promises
    if not (wanted.files_bucket and wanted.files_copy):
        return "ok", "not looked at: the environment names no bucket"
    found = s3.read_copied(
        clients.aws("s3"),
        clients.aws("s3", region=clients.environment.regions.backup),
        bucket=wanted.files_bucket,
        copy=wanted.files_copy,
    )
    if found.gone:
        return "critical", f"{found.bucket} does not exist; its copy has {found.lost:,} objects"
    told = f"{found.lost:,} objects of the copy are gone from {found.objects:,}"
    if found.lost_percent >= wanted.lost_percent.critical:
        return "critical", told
    if found.lost_percent >= wanted.lost_percent.warning or not found.versioned:
        return "warning", told if found.versioned else f"{found.bucket} keeps no versions"
    return "ok", told if found.lost else f"{found.objects:,} objects, as many as the copy or more"
