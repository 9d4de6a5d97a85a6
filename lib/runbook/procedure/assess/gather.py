"""Gathering: everything is asked for side by side, each with a bound, and nobody waits for anybody.

What does not answer, or not in time, is named with the reason; the rest goes on. So this works
when the database, Redis, S3, GitHub or a whole region is what is down.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook.clients import Clients
from runbook.errors import BadInput, RunbookError
from runbook.procedure.assess.seen import (
    Calls,
    Database,
    Errors,
    Load,
    NotSeen,
    Rows,
    Secret,
    Seen,
    Share,
    Stuck,
)
from runbook.settings import Environment
from runbook.studio import (
    alarms,
    alb,
    aurora,
    autoscaling,
    changes,
    ecs,
    endpoints,
    jobs,
    latency,
    metrics,
    payments,
    redis_health,
    s3,
    secretsmanager,
    ses,
    usage,
    users,
    wont_start,
)
from runbook.studio.logs import strangers
from runbook.studio.logs.query import query
from runbook.studio.logs.search import Window
from runbook.studio.metrics import Metric
from runbook.wait import SYSTEM_CLOCK

_ERRORS = """
    filter level = "ERROR" or level = "CRITICAL"
    | stats count(*) as lines, min(@timestamp) as first by @log, message, provider
    | sort lines desc | limit 500
"""
_USERS = """
    filter ispresent(user_id) and ispresent(path)
    | stats count(*) as requests by @log, user_id | sort requests desc | limit 5000
"""
_DELETED = """
    SELECT relname::text, n_tup_del::float / greatest(n_tup_del + n_live_tup, 1) * 100
    FROM pg_stat_user_tables
"""
_HOUR = timedelta(hours=1)
_AWS_SERVICES = (
    "ecs", "elbv2", "cloudwatch", "logs", "cloudtrail", "secretsmanager", "rds", "elasticache",
    "sesv2", "s3", "iam", "ecr", "ec2", "application-autoscaling",
)  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """One thing to gather: the fields of Seen that it fills, and what it is called."""

    what: str
    read: Callable[[_Ask], Mapping[str, Any]]


class _Ask:
    """What every reader needs: hurried clients, and the hour with its border."""

    def __init__(self, clients: Clients, now: datetime) -> None:
        self.clients, self.environment, self.now = clients, clients.environment, now
        slowness = self.environment.slowness
        self.border = now - timedelta(minutes=slowness.lately_minutes)
        self.start = self.border - timedelta(minutes=slowness.before_minutes)

    def insights(self, text: str, *, lately: bool) -> list[dict[str, Any]]:
        """Rows of a query of Logs Insights, of late or of the time before."""
        first, last = (self.border, self.now) if lately else (self.start, self.border)
        answer = query(
            self.clients.aws("logs"),
            self.environment.logs,
            text,
            window=Window(first, last),
            deadline_s=self.environment.assess.within_s,
            factor=self.environment.waits.factor,
        )
        found: list[dict[str, Any]] = answer.frame.to_dict("records")
        return found

    def service_of(self, log: str) -> str:
        """The service of a log group as Insights names it: ACCOUNT:GROUP."""
        names = {group: service for service, group in self.environment.logs.groups.items()}
        group = str(log).rpartition(":")[2]
        return names.get(group, group)


def gather(clients: Clients, *, now: datetime | None = None) -> Seen:
    """Ask for everything at once; after `assess.within_s` what is missing is said to be missing."""
    ask = _Ask(hurried(clients), now or SYSTEM_CLOCK.now())
    within_s = clients.environment.assess.within_s
    _make_clients(ask.clients)
    done: queue.Queue[tuple[_Job, Mapping[str, Any] | Exception]] = queue.Queue()
    for job in JOBS:
        # threads of their own, and nobody waits for one that hangs: an executor would, at exit
        threading.Thread(target=_do, args=(job, ask, done), daemon=True, name=job.what).start()
    found: dict[str, Any] = {}
    missing = {job.what: NotSeen(job.what, f"no answer within {within_s:g} s") for job in JOBS}
    deadline = time.monotonic() + within_s
    while missing and (left := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            job, answer = done.get(timeout=left)
            if isinstance(answer, Exception):
                missing[job.what] = NotSeen(job.what, in_words(answer))
                found.setdefault("failed", []).append(missing.pop(job.what))
            else:
                found |= answer
                del missing[job.what]
    not_seen = (*found.pop("failed", ()), *missing.values())
    return Seen(ask.environment, ask.now, not_seen=not_seen, **found)


def hurried(clients: Clients) -> Clients:
    """Clients that give up soon: what hangs is a finding, and the others are not to wait for it."""
    environment = clients.environment
    limit = environment.assess.each_s
    aws = environment.aws.model_copy(update={"read_timeout_s": limit, "attempts": 2})
    database = environment.database.model_copy(
        update={"statement_timeout_s": limit, "connect_timeout_s": min(5, limit)}
    )
    wanted = environment.model_copy(update={"aws": aws, "database": database})
    return Clients(wanted, run_id=clients.run_id, region=clients.region)


def in_words(error: Exception) -> str:
    """Why something was not seen, in a few words."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, RunbookError):
        return error.message
    if isinstance(error, RedisError):
        return f"Redis: {redis_health.in_words(error)}"
    if isinstance(error, SQLAlchemyError):
        return f"the database: {_of_database(error)}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:160]


def _do(job: _Job, ask: _Ask, done: queue.Queue[Any]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    answered = (BotoCoreError, ClientError, RedisError, SQLAlchemyError, RunbookError, OSError)
    try:
        done.put((job, job.read(ask)))
    except answered as error:
        done.put((job, error))
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as strange:
        # what an answer of a sick service looks like nobody knows; the others' are still good
        done.put((job, strange))


def _make_clients(clients: Clients) -> None:
    """Before the threads, which share them. What fails fails again for who asks."""
    from botocore.exceptions import BotoCoreError, ClientError

    with suppress(RunbookError, BotoCoreError, ClientError):
        for service in _AWS_SERVICES:
            clients.aws(service)
        for region in _regions(clients.environment):
            clients.aws("sts", region=region)
        clients.aws("s3", region=clients.environment.regions.backup)
        _ = clients.database
        _ = clients.redis


def _regions(environment: Environment) -> tuple[str, str]:
    return environment.regions.primary, environment.regions.backup


# Readers: each fills fields of Seen.


def _read_regions(ask: _Ask) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    found = {}
    for region in _regions(ask.environment):
        try:
            ask.clients.aws("sts", region=region).get_caller_identity()
            found[region] = ""
        except (BotoCoreError, ClientError, RunbookError) as error:
            found[region] = in_words(error)
    return {"regions": found}


def _read_alarms(ask: _Ask) -> dict[str, Any]:
    return {"alarms": alarms.read(ask.clients)}


def _read_services(ask: _Ask) -> dict[str, Any]:
    client = ask.clients.aws("ecs")
    services = ecs.read_services(client, cluster=ask.environment.ecs.cluster)
    return {"services": services, "commits": ecs.read_tags(client, services)}


def _read_wont_start(ask: _Ask) -> dict[str, Any]:
    return {"wont_start": wont_start.read(ask.clients)}


def _read_targets(ask: _Ask) -> dict[str, Any]:
    balancer = ask.environment.endpoints.load_balancer
    return {"targets": alb.read_targets(ask.clients.aws("elbv2"), balancer)}


def _read_answers(ask: _Ask) -> dict[str, Any]:
    """By host name alone: the way that customers come, and none of AWS's."""
    wanted = endpoints.questions(ask.environment.endpoints, alb_name="", what=["health"])
    by_host = [one for one in wanted if one.by == endpoints.HOST]
    return {"answers": tuple(endpoints.ask(ask.clients, by_host))}


def _read_trail(ask: _Ask) -> dict[str, Any]:
    client = ask.clients.aws("cloudtrail")
    return {"trail": changes.read_trail(client, since=ask.now - _HOUR, until=ask.now)}


def _read_activity(ask: _Ask) -> dict[str, Any]:
    return {"activity": changes.read_activity(ask.clients, since=ask.now - _HOUR)}


def _read_errors(ask: _Ask) -> dict[str, Any]:
    before = {_of_error(ask, row): row for row in ask.insights(_ERRORS, lately=False)}
    lately = {_of_error(ask, row): row for row in ask.insights(_ERRORS, lately=True)}
    found = [
        Errors(
            *key,
            lately=int(row["lines"]),
            before=int(before[key]["lines"]) if key in before else 0,
            first=_utc(before.get(key, row).get("first")),
        )
        for key, row in lately.items()
    ]
    return {"errors": tuple(sorted(found, key=lambda one: -one.lately))}


def _of_error(ask: _Ask, row: Mapping[str, Any]) -> tuple[str, str, str]:
    return ask.service_of(row["@log"]), _text(row.get("message")), _text(row.get("provider"))


def _read_latency(ask: _Ask) -> dict[str, Any]:
    found = latency.compare(ask.clients, start=ask.start, border=ask.border, end=ask.now)
    return {"latency": found}


def _read_shares(ask: _Ask) -> dict[str, Any]:
    rows = ask.insights(_USERS, lately=True)
    totals: dict[str, int] = {}
    for row in rows:
        service = ask.service_of(row["@log"])
        totals[service] = totals.get(service, 0) + int(row["requests"])
    shares = [
        Share(_text(row["user_id"]), service, int(row["requests"]), totals[service])
        for row in rows
        for service in [ask.service_of(row["@log"])]
    ]
    return {"shares": tuple(sorted(shares, key=lambda one: (-one.percent, one.user))[:20])}


def _read_strangers(ask: _Ask) -> dict[str, Any]:
    client, cluster = ask.clients.aws("ecs"), ask.environment.ecs.cluster
    tasks = ecs.list_task_ids(client, cluster=cluster)
    groups = ask.environment.logs.groups
    logs = ask.clients.aws("logs")
    return {"strangers": strangers.read(logs, groups, tasks=tasks, since=ask.now - _HOUR)}


def _read_loads(ask: _Ask) -> dict[str, Any]:
    environment, cluster = ask.environment, ask.environment.ecs.cluster
    services = ecs.read_services(ask.clients.aws("ecs"), cluster=cluster)
    arn = alb.read_balancer(ask.clients.aws("elbv2"), environment.endpoints.load_balancer)
    balancer = str(arn["LoadBalancerArn"]).partition(":loadbalancer/")[2]
    asked: dict[tuple[str, str], Metric] = {}
    for one in services:
        of_service = {"ClusterName": cluster, "ServiceName": one.name}
        asked[one.name, "cpu"] = Metric("AWS/ECS", "CPUUtilization", of_service)
        for group in one.target_groups:
            of_group = {"TargetGroup": group.rpartition(":")[2], "LoadBalancer": balancer}
            for key, name in (
                ("requests", "RequestCount"),
                ("failed", "HTTPCode_Target_5XX_Count"),
            ):
                asked[one.name, key] = Metric("AWS/ApplicationELB", name, of_group, "Sum")
    points = metrics.read(ask.clients.aws("cloudwatch"), asked, start=ask.start, end=ask.now)
    scaling = ask.clients.aws("application-autoscaling")
    loads = []
    for one in services:
        range_of = autoscaling.find_scaling(scaling, cluster=cluster, service=one.name)
        loads.append(
            Load(
                one.name,
                cpu=points[one.name, "cpu"],
                requests=points.get((one.name, "requests"), []),
                failed=points.get((one.name, "failed"), []),
                least=range_of.min_capacity if range_of else None,
                most=range_of.max_capacity if range_of else None,
            )
        )
    return {"loads": tuple(loads)}


def _read_providers(ask: _Ask) -> dict[str, Any]:
    found = latency.read_providers(ask.clients, start=ask.start, border=ask.border, end=ask.now)
    return {"providers": found}


def _read_calls(ask: _Ask) -> dict[str, Any]:
    wanted = ask.environment.models
    if not wanted.metrics:
        raise BadInput(f"{ask.environment.name} names no metrics of providers.")
    asked = {
        (provider, name): Metric(wanted.metrics, name, {"Provider": provider}, "Sum")
        for provider in ask.environment.providers.known
        for name in ("ProviderRequests", "ProviderErrors")
    }
    points = metrics.read(ask.clients.aws("cloudwatch"), asked, start=ask.start, end=ask.now)

    def both(provider: str, part: Callable[..., Any]) -> list[float]:
        return [
            metrics.total(part(points[provider, name], ask.border))
            for name in ("ProviderRequests", "ProviderErrors")
        ]

    return {
        "calls": tuple(
            Calls(one, *both(one, metrics.since), *both(one, metrics.until))
            for one in ask.environment.providers.known
        )
    }


def _read_cluster(ask: _Ask) -> dict[str, Any]:
    name = ask.environment.database.cluster
    return {"cluster": aurora.read_cluster(ask.clients.aws("rds"), cluster=name)}


def _read_database(ask: _Ask) -> dict[str, Any]:
    """That it does not answer is what was found; that AWS does not is not."""
    from sqlalchemy.exc import SQLAlchemyError

    engine = ask.clients.database
    try:
        activity = aurora.read_activity(engine, ask.environment.database)
    except SQLAlchemyError as error:
        if getattr(getattr(error, "orig", None), "pgcode", None):
            raise  # it answers, and refuses: somebody holds what was asked for
        return {"database": Database(why=_of_database(error))}
    return {"database": Database(activity)}


def _of_database(error: Any) -> str:
    said = " ".join(str(getattr(error, "orig", error)).split())
    for word in ("refused", "timeout expired", "timed out", "could not translate", "starting up",
                 "authentication failed", "does not exist", "too many clients", "lock timeout",
                 "statement timeout"):  # fmt: skip
        if word in said:
            return word
    return type(error).__name__


def _read_redis(ask: _Ask) -> dict[str, Any]:
    return {"redis": redis_health.read(ask.clients)}


def _read_secrets(ask: _Ask) -> dict[str, Any]:
    listed = secretsmanager.read_secrets(ask.clients.aws("secretsmanager"))
    return {"secrets": tuple(Secret(one.name, one.changed_at) for one in listed)}


def _read_stuck(ask: _Ask) -> dict[str, Any]:
    minutes = ask.environment.promises.stuck_after_minutes
    found = jobs.find_stuck(ask.clients.database, older_than_minutes=minutes)
    kinds = found["kind"].value_counts().to_dict() if len(found) else {}
    oldest = float(found["age_minutes"].max()) if len(found) else 0.0
    return {"stuck": Stuck(kinds, oldest)}


def _read_rows(ask: _Ask) -> dict[str, Any]:
    import sqlalchemy

    database = ask.clients.database
    with database.connect() as connection:
        rows = connection.execute(sqlalchemy.text(_DELETED))
        deleted = {str(name): float(share) for name, share in rows}
    return {
        "rows": Rows(
            payments.count_unlike_plan(database), users.count_unreachable(database), deleted
        )
    }


def _read_unactivated(ask: _Ask) -> dict[str, Any]:
    minutes = ask.environment.promises.unactivated_after_minutes
    found = payments.find_unactivated(ask.clients.database, older_than_minutes=minutes)
    return {"unactivated": found}


def _read_apart(ask: _Ask) -> dict[str, Any]:
    cache, settle_s = ask.clients.redis, ask.environment.promises.usage_settles_in_s
    if settle_s > ask.environment.assess.settle_s:
        raise BadInput(
            f"usage settles in {settle_s:g} s, longer than this page waits: see usage-not-updating."
        )
    found = usage.read_apart(cache, ask.clients.database, settle_s=settle_s)
    return {"apart": found, "counters": usage.count_counters(cache)}


def _read_mail(ask: _Ask) -> dict[str, Any]:
    domain = ask.environment.promises.mail_domain
    return {"mail": ses.read_account(ask.clients.aws("sesv2"), domain=domain)}


def _read_files(ask: _Ask) -> dict[str, Any]:
    wanted = ask.environment.promises
    return {
        "files": s3.read_copied(
            ask.clients.aws("s3"),
            ask.clients.aws("s3", region=ask.environment.regions.backup),
            bucket=wanted.files_bucket,
            copy=wanted.files_copy,
        )
    }


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _utc(moment: Any) -> datetime | None:
    import pandas as pd

    return pd.to_datetime(moment).to_pydatetime().replace(tzinfo=UTC) if moment else None


JOBS = (
    _Job("AWS in both regions", _read_regions),
    _Job("alarms", _read_alarms),
    _Job("services and deployments", _read_services),
    _Job("stopped tasks", _read_wont_start),
    _Job("targets of the load balancer", _read_targets),
    _Job("endpoints", _read_answers),
    _Job("changes by CloudTrail", _read_trail),
    _Job("the pipeline's file of deployments (GitHub)", _read_activity),
    _Job("errors in the logs", _read_errors),
    _Job("latency by path and model", _read_latency),
    _Job("requests by user", _read_shares),
    _Job("who else writes to the logs", _read_strangers),
    _Job("CPU, requests and errors of services", _read_loads),
    _Job("providers and their status pages", _read_providers),
    _Job("calls of providers", _read_calls),
    _Job("the database's cluster", _read_cluster),
    _Job("the database", _read_database),
    _Job("Redis and its queues", _read_redis),
    _Job("when secrets were changed", _read_secrets),
    _Job("jobs that nobody finishes", _read_stuck),
    _Job("rows that do not fit", _read_rows),
    _Job("payments without subscription", _read_unactivated),
    _Job("usage counted and written", _read_apart),
    _Job("mail", _read_mail),
    _Job("files and their copy", _read_files),
)
