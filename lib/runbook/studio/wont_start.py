"""Why tasks do not start: what failed within the last hour, by its cause, and what proves it.

    found = wont_start.read(rb.clients)
    found.findings(), found.table(), found.line_table(), found.proof_table()

The cause is read from what ECS says of a stopped task and from its own first errors. Each has a
rule somewhere that proves it: of IAM, of a security group, of the registry, or of the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook import table
from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status, in_short
from runbook.studio import ecs, iam, network, revisions, stopped
from runbook.studio.ecs import Service
from runbook.studio.logs.lines import shape
from runbook.studio.stopped import Stopped
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd

SECRET_DENIED, SECRET_MISSING = "secret denied", "secret missing"
DATABASE, IMAGE, MEMORY = "database unreachable", "image pull", "out of memory"
HEALTH_CHECK, CRASH = "health check", "crash"
_TASKS_READ = 3  # of each revision and reason: their logs say the same

# The first pattern that is found decides. Of the reason that ECS gives:
_BY_REASON = (
    (SECRET_DENIED, re.compile(r"asm.*AccessDenied|AccessDenied.*secret", re.I | re.S)),
    (SECRET_MISSING, re.compile(r"asm.*ResourceNotFound|find the specified secret", re.I | re.S)),
    (IMAGE, re.compile(r"CannotPull|pull image", re.I)),
    (MEMORY, re.compile(r"OutOfMemory|out of memory|exited with 137\b", re.I)),
)
# Of what the task has written itself:
_BY_LINES = (
    (MEMORY, re.compile(r"\bMemoryError\b|out of memory|Killed process", re.I)),
    (
        DATABASE,
        re.compile(
            r"(psycopg|asyncpg|sqlalchemy|database|postgres|port 5432).*"
            r"(refused|timed? ?out|timeout|could not connect|unreachable|not translate|failed)"
            r"|connection to server at",
            re.I,
        ),
    ),
)
_DENIED = re.compile(r"to perform: (?P<action>[\w:]+) on resource: (?P<resource>[^\s,]+)")

# What mends it, and what to look at.
_SECTIONS = {
    SECRET_DENIED: "check-secrets",
    SECRET_MISSING: "check-secrets",
    DATABASE: "restore-secret",
    IMAGE: "roll-back",
    MEMORY: "roll-back",
    HEALTH_CHECK: "search-logs",
    CRASH: "roll-back",
}


@dataclass(frozen=True)
class Failure:
    """Tasks of one revision that failed for one cause. `proof` is the rule that has it so."""

    service: str
    revision: str
    cause: str
    tasks: int
    first: datetime | None
    last: datetime | None
    reason: str
    lines: tuple[str, ...] = ()
    proof: str = ""
    current: bool = True  # the service wants this revision now


@dataclass(frozen=True)
class WontStart:
    """Services as they stand, with what failed."""

    services: tuple[Service, ...]
    failures: tuple[Failure, ...]
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by wanted revision

    def frame(self) -> pd.DataFrame:
        """Columns: service, wants, runs, revision, cause, first, last (UTC), reason, open."""
        import pandas as pd

        counts = {one.name: (one.desired_count, one.running_count) for one in self.services}
        rows = [
            {
                "service": one.service,
                "wants": counts[one.service][0],
                "runs": counts[one.service][1],
                "revision": one.revision,
                "cause": one.cause,
                "first": _utc(one.first),
                "last": _utc(one.last),
                "reason": shape(one.reason),
                "open": table.section(_SECTIONS[one.cause]),
            }
            for one in self.failures
        ]
        return pd.DataFrame(rows)

    def table(self) -> Table:
        """What failed, to be read."""
        return Table(self.frame(), empty="No task has failed within the last hour.")

    def line_table(self) -> Table:
        """The first errors that the failed tasks wrote, to be read."""
        import pandas as pd

        rows = [
            {"revision": one.revision, "line": line} for one in self.failures for line in one.lines
        ]
        return Table(
            pd.DataFrame(rows), empty="They wrote nothing: a task that never ran has no log."
        )

    def proof_table(self) -> Table:
        """The rule behind each cause, to be read."""
        import pandas as pd

        rows = [
            {"revision": one.revision, "cause": one.cause, "proof": one.proof}
            for one in self.failures
            if one.proof
        ]
        told = {row["revision"] for row in rows}
        rows += [
            {"revision": name, "cause": "cannot start", "proof": fault}
            for name, faults in self.faults.items()
            for fault in faults
            if name not in told
        ]
        return Table(
            pd.DataFrame(rows), empty="No rule stands in the way of the revisions that are wanted."
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": self._status(),
            "says": self._sentence(),
            "short": {one.name: [one.running_count, one.desired_count] for one in self._short()},
            "failures": [
                {"service": one.service, "revision": one.revision, "cause": one.cause,
                 "tasks": one.tasks, "proof": one.proof}
                for one in self.failures
            ],
        }  # fmt: skip

    def _short(self) -> list[Service]:
        return [one for one in self.services if one.running_count < one.desired_count]

    def _status(self) -> Status:
        down = any(not one.running_count for one in self._short())
        if down:
            return "critical"
        return "warning" if self._short() or self.failures or any(self.faults.values()) else "ok"

    def _sentence(self) -> str:
        told = [
            f"{one.name} runs {one.running_count} of {one.desired_count} tasks"
            for one in self._short()
        ]
        told += [
            f"{one.revision} fails: {one.cause}" + (f" ({one.proof})" if one.proof else "")
            for one in self.failures
        ]
        proven = {one.revision for one in self.failures if one.proof}
        told += [
            f"{name} cannot start: {faults[0]}"
            for name, faults in self.faults.items()
            if faults and name not in proven
        ]
        if told:
            return in_short(told)
        running = sum(one.running_count for one in self.services)
        return (
            f"All {running} tasks of {len(self.services)} services run, and none has failed lately."
        )


def cause_of(reason: str, lines: Iterable[str]) -> str:
    """Why a task failed, by what ECS says and what the task wrote. Pure."""
    for cause, pattern in _BY_REASON:
        if pattern.search(reason):
            return cause
    text = "\n".join(lines)
    for cause, pattern in _BY_LINES:
        if pattern.search(text):
            return cause
    return HEALTH_CHECK if "health check" in reason.lower() else CRASH


def read(clients: Clients, *, service: str = "") -> WontStart:
    """All services, or one. Raises BadInput when there is no such service or cluster."""
    client, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    found = (
        (ecs.read_service(client, cluster=cluster, service=service),)
        if service
        else ecs.read_services(client, cluster=cluster)
    )
    failures = [one for each in found for one in _failures(clients, each)]
    return WontStart(
        found,
        tuple(sorted(failures, key=lambda one: (not one.current, -one.tasks, one.revision))),
        revisions.faults_of(clients, [one.task_definition for one in found]),
    )


def _failures(clients: Clients, service: Service) -> Iterable[Failure]:
    """The service's failed tasks, together where revision and cause are the same."""
    failed = stopped.read_failed(clients.aws("ecs"), cluster=service.cluster, service=service.name)
    lines: dict[tuple[str, str], list[list[str]]] = {}
    by_cause: dict[tuple[str, str], list[Stopped]] = {}
    wrote: dict[tuple[str, str], tuple[str, ...]] = {}
    for task in sorted(failed, key=lambda one: (one.revision, one.id)):
        # the same reason has the same cause; its ids differ
        alike = (task.revision, re.sub(r"[0-9a-f-]{12,}", "", task.reason))
        read_so_far = lines.setdefault(alike, [])
        if len(read_so_far) < _TASKS_READ:
            read_so_far.append(stopped.first_errors(clients, task))
        told = max(read_so_far, key=len)
        cause = cause_of(task.reason, told)
        by_cause.setdefault((task.revision, cause), []).append(task)
        wrote[task.revision, cause] = tuple(told)
    for (revision, cause), tasks in by_cause.items():
        first, newest = (least(tasks, key=_when) for least in (min, max))
        yield Failure(
            service.name,
            revision,
            cause,
            len(tasks),
            first.at,
            newest.at,
            newest.reason,
            wrote[revision, cause],
            _proof(clients, service, cause, newest),
            current=revision == service.task_definition,
        )


def _when(task: Stopped) -> datetime:
    return task.at or datetime.min.replace(tzinfo=UTC)


def _utc(moment: datetime | None) -> datetime | None:
    """As a table shows it: UTC, without saying so in each row."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def _proof(clients: Clients, service: Service, cause: str, task: Stopped) -> str:
    """The rule that has it so, in words; empty where there is none to read."""
    definition = clients.aws("ecs").describe_task_definition(taskDefinition=task.revision)
    about = definition["taskDefinition"]
    if cause in (SECRET_DENIED, SECRET_MISSING):
        return _denied(clients, about, task.reason)
    if cause == IMAGE:
        faults = revisions.faults_of(clients, [task.revision])[task.revision]
        image = about["containerDefinitions"][0]["image"].rpartition("/")[2]
        return f"{image}: {faults[0] if faults else 'is in ECR; look at the role and the network'}"
    if cause == MEMORY:
        return f"its task may use {about['memory']} MiB"
    if cause == DATABASE:
        return way_to_database(clients, service)
    return ""


def _denied(clients: Clients, definition: Mapping[str, Any], reason: str) -> str:
    """What the role's policies say to what was asked."""
    role = definition.get("executionRoleArn", "").rsplit("/", 1)[-1]
    asked = _DENIED.search(reason)
    if not asked:
        return ""
    client = clients.aws("iam")
    try:
        policies = iam.read_role_policies(client, role)
    except client.exceptions.NoSuchEntityException:
        return f"there is no role {role}"
    why = iam.why_denied(policies, asked["action"], asked["resource"])
    name = asked["resource"].rsplit(":", 1)[-1].rsplit("-", 1)[0]
    return f"{role} may not {asked['action']} {name}: {why}" if why else f"{role} may now"


def way_to_database(clients: Clients, service: Service) -> str:
    """Whether a security group is in the way; else whether the secret leads anywhere."""
    wanted = clients.environment.database
    rds = clients.aws("rds")
    cluster = rds.describe_db_clusters(DBClusterIdentifier=wanted.cluster)["DBClusters"][0]
    groups = [one["VpcSecurityGroupId"] for one in cluster.get("VpcSecurityGroups", ())]
    rule = network.opening(
        network.read_groups(clients.aws("ec2"), groups),
        sources=service.security_groups,
        port=cluster["Port"],
    )
    if not rule:
        return f"no security group of {wanted.cluster} lets {service.name} in on {cluster['Port']}"
    return f"not the security group ({rule} on {cluster['Port']}); {_answers(clients)}"


def _answers(clients: Clients) -> str:
    import sqlalchemy

    secret = clients.environment.database.secret
    try:
        with clients.database.connect():
            return f"the database that {secret} names answers from here"
    except (sqlalchemy.exc.SQLAlchemyError, RunbookError):
        return f"the database that {secret} names does not answer from here either"
