"""Failing over: what the lost region did, the other one does; and what that loses.

    found = fail_over.read(rb.clients, although_it_answers=False, accept_loss_minutes=0)
    found.check_table(), found.service_table(), found.name_table()
    found.plan()              refuses with all reasons while the other region is not ready
    fail_over.follow(rb.clients, found)

Nothing here needs the region that is lost: what is to run stands in the environment (`failover`),
all else is read in the other region, and names are changed in Route 53, which is global. Targets
of the changes end with that region, so an undo goes there too, whichever is active by then.

The database is the secondary of a global cluster, promoted; or the newest snapshot that was copied
there, restored. Either has only what had arrived: the plan says how much is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change import kinds
from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, NotReachable
from runbook.headline import Status, worst
from runbook.procedure import adjust_scaling
from runbook.settings import Environment, SpareDatabase
from runbook.studio import (
    alb,
    aurora_backups,
    aurora_global,
    aurora_restore,
    autoscaling,
    dsn,
    ecs,
    endpoints,
    revisions,
    route53,
    ses,
    started,
)
from runbook.studio.alb import Target
from runbook.studio.aurora_global import Member
from runbook.studio.aurora_restore import Setup
from runbook.studio.autoscaling import Scaling
from runbook.studio.ecs import Service, Size
from runbook.studio.endpoints import Answer
from runbook.studio.route53 import Record
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_FAULT = 500  # HTTP: from here on it is the server that fails
_COUNTED_S = 10.0  # between two lines of a countdown
_LONGEST = 45  # of a cluster's name, before what tells it from others


@dataclass(frozen=True)
class Check:
    """One thing that has to be there. `critical` keeps the plan from being made."""

    about: str
    status: Status
    says: str


@dataclass(frozen=True)
class Spare:
    """A service of the other region. `service` is None where it is not defined there."""

    name: str
    service: Service | None
    size: Size | None
    scaling: Scaling | None
    faults: tuple[str, ...]
    started: bool

    def changes(self, environment: Environment) -> Iterator[Change]:
        """Its range, then its tasks: outside of the range they do not last."""
        wanted = environment.failover.services[self.name]
        if self.scaling:
            yield from autoscaling.plan_range(
                self.scaling, min_capacity=wanted.least, max_capacity=wanted.most
            ).changes
        if self.service and self.service.desired_count < wanted.tasks:
            yield from ecs.plan_scale(self.service, desired_count=wanted.tasks).changes


@dataclass(frozen=True)
class Source:
    """What the database there is made of: what serves already, a secondary, or a copy."""

    says: str
    loss_minutes: int | None  # None: nobody knows
    cluster: str = ""  # that the DSN is to name; empty: there is nothing to make it of
    in_place: bool = False  # it is there, and the DSN there names it
    member: Member | None = None  # of a global cluster
    restore: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Name:
    """A host, the alias that leads it somewhere, and the load balancer that it leads to."""

    host: str
    record: Record | None
    zone: str  # of what it leads to

    @property
    def to(self) -> str:
        return self.record.targets[0] if self.record else ""


@dataclass(frozen=True)
class Failover:
    """The way from one region to another, and how ready the other one is."""

    environment: Environment
    lost: str
    region: str  # that serves afterwards
    why: str  # the lost one does not answer; empty: it does
    although: bool
    accepted: int  # minutes of data
    reviewed: bool  # a plan is applied that somebody has looked at: that takes time
    source: Source
    spares: tuple[Spare, ...]
    balancer: str  # its DNS name; empty: there is none
    balancer_zone: str
    uncovered: tuple[str, ...]  # hosts that no certificate there is good for
    cache: str  # what is wrong with it; empty: it answers
    mail: tuple[str, ...]  # what stands in its way there
    names: tuple[Name, ...]
    dsn: Change | None

    def checks(self) -> list[Check]:
        """All that is asked before anything is changed."""
        return [
            self._is_lost(),
            self._has_data(),
            *self._have_services(),
            self._has_balancer(),
            Check("cache", *_good(self.cache, "the one that its secret names answers")),
            self._has_mail(),
            *self._have_names(),
        ]

    def check_table(self) -> Table:
        """Readiness, to be read."""
        import pandas as pd

        rows = [vars(one) for one in self.checks()]
        return Table(pd.DataFrame(rows)[["status", "about", "says"]])

    def service_table(self) -> Table:
        """Tasks there, now and then, and what they take of the region, to be read."""
        import pandas as pd

        rows = []
        for one in self.spares:
            wanted = self.environment.failover.services[one.name]
            rows.append(
                {
                    "service": one.name,
                    "running": one.service.running_count if one.service else 0,
                    "desired": one.service.desired_count if one.service else 0,
                    "wanted": wanted.tasks,
                    "range": f"{wanted.least} to {wanted.most}",
                    "vCPU wanted": wanted.tasks * one.size.vcpu if one.size else None,
                    "GiB wanted": wanted.tasks * one.size.gib if one.size else None,
                }
            )
        return Table(pd.DataFrame(rows), empty="The environment's failover names no service.")

    def name_table(self) -> Table:
        """Where names lead, to be read."""
        import pandas as pd

        rows = [
            {
                "host": one.host,
                "leads to": one.to or "nothing of Route 53's",
                "will lead to": self.balancer,
                "kept by resolvers": f"{route53.ALIAS_TTL_S} s",
            }
            for one in self.names
        ]
        return Table(pd.DataFrame(rows), empty="The environment names no host.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        checks = self.checks()
        return {
            "status": "ok" if self.serves else worst(*(one.status for one in checks)),
            "says": self._sentence(),
            "lost": self.lost,
            "region": self.region,
            "serves": self.serves,
            "loss_minutes": self.source.loss_minutes,
            "cluster": self.source.cluster,
            "not_ready": [f"{one.about}: {one.says}" for one in checks if one.status == "critical"],
        }

    @property
    def wanted(self) -> bool:
        """Whether there is something to fail over from: then what is not ready is critical."""
        return bool(self.why) or self.although

    @property
    def led(self) -> bool:
        """Whether all names lead there."""
        return bool(self.names) and all(one.to == self.balancer for one in self.names)

    @property
    def serves(self) -> bool:
        """Whether names lead there, and all that is wanted runs."""
        return self.led and self.source.in_place and all(one.started for one in self.spares)

    def plan(self) -> Plan:
        """The plan that lets the other region serve; without changes when it does, or none is lost.

        Pure. Raises BadInput, with every reason, while it is not ready.
        """
        if self.serves:
            return Plan(f"{self.region} serves already", "low", (), "Nothing to undo.")
        if not self.wanted:
            title = f"{self.lost} answers: there is nothing to fail over from"
            return Plan(title, "low", (), "Nothing to undo.")
        wrong = [one for one in self.checks() if one.status == "critical"]
        if wrong:
            raise BadInput(
                f"{self.region} cannot take over: "
                + "; ".join(f"{one.about}: {one.says}" for one in wrong)
                + ".",
                next="Mend these; or accept the loss, with an hour more for the approval: "
                f"-p accept_loss_minutes {(self.source.loss_minutes or 0) + 60}",
            )
        return Plan(
            title=f"Fail over from {self.lost} to {self.region}",
            risk="destructive",
            changes=tuple(self._changes()),
            way_back=f"undo leads the names to {self.lost} again, and lets the services of "
            f"{self.region} have as many tasks as before; the database there and its secret stay, "
            "with what was written meanwhile, which is only there. "
            "To go back with it, fail over the other way.",
            warnings=tuple(self._warnings()),
        )

    def _changes(self) -> Iterator[Change]:
        """The database, its DSN, services in the order of a deployment, and names at the end."""
        there = list(self._database())
        for one in self.spares:
            there += one.changes(self.environment)
        if not all(one.started for one in self.spares):
            cluster = self.environment.ecs.cluster
            there.append(started.change_of(cluster, [one.name for one in self.spares]))
        yield from kinds.at(self.region, there)
        for name in self.names:
            if name.record and name.to != self.balancer:
                yield route53.change_of(
                    name.record, zone=name.zone, to=self.balancer, zone_of=self.balancer_zone
                )

    def _database(self) -> Iterator[Change]:
        if self.source.in_place:
            return
        if self.source.member and not self.source.member.writes:
            yield aurora_global.change_of(self.source.member)
        yield from self.source.restore
        if self.dsn:
            yield self.dsn

    def _warnings(self) -> Iterator[str]:
        loss = self.source.loss_minutes
        if loss is None:
            yield "Nobody knows how much is lost of what was written."
        elif loss:
            yield (
                f"What was written in the last {loss} min is lost, at least: {self.source.says}."
            )
        if self.dsn and self.dsn.before["replica"]:
            yield f"The DSN's secret in {self.region} is no replica of {self.lost}'s any more."
        if not self.why:
            yield f"{self.lost} answers: what runs there goes on writing into its own database."
        yield f"Resolvers keep the old address for {route53.ALIAS_TTL_S} s after names have moved."
        yield (
            f"When {self.lost} comes back, its services start with the old database: scale them to "
            "no task before anything else."
        )
        if self.mail:
            yield f"Mail does not go out from {self.region}: {'; '.join(self.mail)} (restore-mail)."
        yield f"Files in buckets of {self.lost} are not there until it is back."

    # what is checked

    def _is_lost(self) -> Check:
        if self.why:
            return Check(self.lost, "ok", f"does not answer: {self.why}")
        if self.serves or self.although:
            return Check(self.lost, "warning", "answers: is it lost?")
        return Check(self.lost, "warning", "answers, so nothing is failed over from it")

    def _has_data(self) -> Check:
        source, loss = self.source, self.source.loss_minutes
        if not source.cluster:
            return Check("database", "critical", source.says)
        if not self.wanted:
            says = f"{source.says}: with it {loss} min would be lost, at least"
            return Check("database", "warning" if loss else "ok", says if loss else source.says)
        if loss is None:
            status: Status = "warning" if self.accepted or self.reviewed else "critical"
            return Check("database", status, f"{source.says}; nobody knows how far behind it is")
        if loss > self.accepted and not self.reviewed:
            says = (
                f"{source.says}: {loss} min would be lost, at least, and "
                f"accept_loss_minutes is {self.accepted}"
            )
            return Check("database", "critical", says)
        return Check("database", "ok" if not loss else "warning", source.says)

    def _have_services(self) -> Iterator[Check]:
        if not self.spares:
            yield Check("services", "critical", "the environment's failover names none")
        for one in self.spares:
            if one.service is None:
                yield Check(one.name, "critical", f"is not defined in {self.region}")
            else:
                told = f"{one.service.task_definition}: image and secrets are there"
                yield Check(one.name, *_good(", ".join(one.faults), told))

    def _has_balancer(self) -> Check:
        if not self.balancer:
            name = self.environment.endpoints.load_balancer
            return Check("load balancer", "critical", f"there is no {name} in {self.region}")
        missing = ", ".join(self.uncovered)
        return Check(
            "load balancer",
            *_good(missing and f"no certificate for {missing}", "it has certificates"),
        )

    def _has_mail(self) -> Check:
        """Nobody signs in without mail, but that can be mended while the rest serves already."""
        says = "; ".join(self.mail)
        return Check("mail", "warning" if says else "ok", says or "goes out from there")

    def _have_names(self) -> Iterator[Check]:
        for one in self.names:
            wrong = "" if one.record and one.record.alias else "no alias leads it anywhere"
            yield Check(one.host, *_good(wrong, f"leads to {one.to}"))

    def _sentence(self) -> str:
        if self.serves:
            return f"{self.region} serves: names lead there, and all services run."
        wrong = [one for one in self.checks() if one.status == "critical"]
        state = "does not answer" if self.why else "answers"
        if wrong:
            return (
                f"{self.lost} {state}; {self.region} cannot take over yet: "
                f"{wrong[0].about}: {wrong[0].says}"
                + (f", and {len(wrong) - 1} more." if len(wrong) > 1 else ".")
            )
        loss = self.source.loss_minutes
        lost = "" if not loss else f", without the last {loss} min"
        could = "can" if self.wanted else "could"
        return f"{self.lost} {state}; {self.region} {could} take over{lost}."


@dataclass(frozen=True)
class Served:
    """What the other region answers after names have moved."""

    answers: tuple[Answer, ...]
    services: tuple[Service, ...]
    targets: tuple[Target, ...]
    environment: Environment

    @property
    def well(self) -> bool:
        """Whether every host answers as it should, and every target is healthy."""
        answered = all(status != "critical" for status, _ in self._judged())
        return answered and all(one.state in ("healthy", "draining") for one in self.targets)

    def table(self) -> Table:
        """Hosts, to be read."""
        import pandas as pd

        rows = [
            {"status": status, "url": answer.question.url, "answer": answer.status, "says": says}
            for answer, (status, says) in zip(self.answers, self._judged(), strict=True)
        ]
        return Table(pd.DataFrame(rows), empty="The environment names no host.")

    def capacity_table(self) -> Table:
        """Tasks and healthy targets, to be read."""
        import pandas as pd

        rows = [
            {
                "service": one.name,
                "running": one.running_count,
                "desired": one.desired_count,
                "pending": one.pending_count,
                "latest event": one.events[0] if one.events else "",
            }
            for one in self.services
        ]
        return Table(pd.DataFrame(rows), empty="No service is there.")

    def _judged(self) -> list[tuple[Status, str]]:
        return [endpoints.judge(one, self.environment.endpoints) for one in self.answers]


def read(
    clients: Clients,
    *,
    although_it_answers: bool,
    accept_loss_minutes: int,
    reviewed: bool = False,
) -> Failover:
    """How ready the region is that is not active. Nothing is asked of the active one but whether
    it answers.

    `reviewed`: a plan is being applied; that more is lost by now than when it was made does not
    keep it from that. Raises BadInput for a number of minutes below zero.
    """
    if accept_loss_minutes < 0:
        raise BadInput(f"accept_loss_minutes: expected 0 or more, found {accept_loss_minutes}.")
    environment, regions = clients.environment, clients.environment.regions
    lost = regions.current
    region = regions.backup if lost == regions.primary else regions.primary
    if gone := _why_lost(clients, region):
        raise NotReachable(
            f"{region} does not answer, so it cannot take over: {gone}",
            next=f"{lost} is the active region by the environment's file: is that so?",
        )
    there = clients.within(region)
    balancer = _balancer(there)
    address = route53.plain(balancer.get("DNSName", ""))
    hosts = [one.host for one in environment.endpoints.services.values()]
    names = tuple(_name(there, host) for host in dict.fromkeys(hosts))
    used = bool(address) and any(one.to == address for one in names)
    source = _source(there, SYSTEM_CLOCK.now(), used=used)
    change = None
    if source.cluster and not source.in_place:
        change = dsn.cluster_of(there, cluster=source.cluster)
    return Failover(
        environment=environment,
        lost=lost,
        region=region,
        why=_why_lost(clients, lost),
        although=although_it_answers,
        accepted=accept_loss_minutes,
        reviewed=reviewed,
        source=source,
        spares=_spares(there),
        balancer=address,
        balancer_zone=balancer.get("CanonicalHostedZoneId", ""),
        uncovered=_uncovered(there, hosts) if balancer else (),
        cache=_cache(there),
        mail=_mail(there),
        names=names,
        dsn=change,
    )


def follow(clients: Clients, found: Failover) -> None:
    """Count down until nobody has the old address any more; a line every ten seconds (scaled)."""
    left = float(route53.ALIAS_TTL_S)
    while left > 0:
        print(f"{left:.0f} s until resolvers have forgotten {found.lost}", flush=True)
        SYSTEM_CLOCK.sleep(_COUNTED_S * clients.environment.waits.factor)
        left -= _COUNTED_S


def read_served(clients: Clients, found: Failover) -> Served:
    """What the hosts answer by their names now, and what stands behind them."""
    there, environment = clients.within(found.region), clients.environment
    asked = [
        one
        for one in endpoints.questions(
            environment.endpoints, alb_name=found.balancer, what=["health"]
        )
        if one.by == endpoints.HOST
    ]
    return Served(
        answers=tuple(endpoints.ask(clients, asked)),
        services=ecs.read_services(there.aws("ecs"), cluster=environment.ecs.cluster),
        targets=alb.read_targets(there.aws("elbv2"), environment.endpoints.load_balancer),
        environment=environment,
    )


def room_table(clients: Clients, found: Failover) -> Table:
    """How much room the other region's services have, to be read."""
    return adjust_scaling.read(clients.within(found.region), service="").table()


def lines_of(found: Failover) -> str:
    """The lines of the environment's file that let all other sections work in the new region."""
    regions = found.environment.regions
    active = "backup" if found.region == regions.backup else "primary"
    return (
        f"regions: {{primary: {regions.primary}, backup: {regions.backup}, active: {active}}}\n"
        f"database:\n  cluster: {found.source.cluster}"
    )


def _good(wrong: str, says: str) -> tuple[Status, str]:
    return ("critical", wrong) if wrong else ("ok", says)


def _why_lost(clients: Clients, region: str) -> str:
    """Why AWS does not answer in a region; empty when it does: a refusal is an answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        clients.aws("sts", region=region, once=True).get_caller_identity()
        clients.aws("ecs", region=region, once=True).list_clusters(maxResults=1)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= _FAULT:
            return " ".join(str(error).split())
    except BotoCoreError as error:
        return " ".join(str(error).split())
    return ""


def _source(there: Clients, now: datetime, *, used: bool) -> Source:
    """What the database is made of in a region. `used`: names lead there.

    One that is there and is not used is of an earlier failover: what it lacks nobody counts, so
    it is only as good as the copy that it was made of.
    """
    rds, named = there.aws("rds"), dsn.read_cluster(there)
    member = aurora_global.find_member(rds, region=there.region)
    if member and not member.writes:
        return _following(there, member, now)
    writer = member.cluster if member else named
    setup = aurora_restore.read_setup(rds, cluster=writer) if writer else None
    if setup and setup.serves and (member or used):
        return Source(f"{setup.name} takes writes", 0, setup.name, setup.name == named, member)
    return _copied(there, now, named)


def _following(there: Clients, member: Member, now: datetime) -> Source:
    """What promoting a secondary gives."""
    lag_s = aurora_global.read_lag_s(there.aws("cloudwatch"), cluster=member.cluster, now=now)
    lag = "" if lag_s is None else f" that was {lag_s:,.0f} s behind"
    return Source(
        says=f"{member.says}, a secondary of {member.of}{lag}",
        loss_minutes=None if lag_s is None else math.ceil(lag_s / 60),
        cluster=member.cluster if member.ready else "",
        member=member,
    )


def _copied(there: Clients, now: datetime, named: str) -> Source:
    """The newest copy of a snapshot, and the changes that restore it."""
    environment, rds = there.environment, there.aws("rds")
    copies = [
        one
        for one in aurora_backups.read_snapshots(rds, cluster=environment.database.cluster)
        if one.status == "available" and one.taken_at
    ]
    if not copies:
        return Source(f"neither a secondary nor a copied snapshot is in {there.region}", None)
    newest = max(copies, key=lambda one: one.taken_at or now)
    taken = newest.taken_at or now
    wanted, missing = environment.failover.database, ""
    setup = None
    if wanted is None:
        missing = "the environment's failover says nothing of the database"
    else:
        setup, missing = _like(there, wanted, newest.name)
    # one that is younger than now was taken by another clock: that says nothing of what is lost
    loss = math.ceil((now - taken).total_seconds() / 60) if taken <= now else None
    says = f"the newest copied snapshot is of {taken:%Y-%m-%d %H:%M} UTC"
    if setup is None:
        return Source(f"{says}, but {missing}", loss)
    name = f"{environment.database.cluster[:_LONGEST]}-{taken:%Y%m%d-%H%M}"
    made = aurora_restore.read_setup(rds, cluster=name)
    restore = aurora_restore.plan_cluster(
        setup, name=name, moment=None, snapshot=newest.name, tags={}, stays=True
    )
    if named not in ("", name):
        says += f"; {named} has served there before, and is not used"
    if made and made.serves:
        return Source(f"{says}, and restored", loss, name, in_place=name == named)
    return Source(says, loss, name, restore=restore)


def _like(there: Clients, wanted: SpareDatabase, snapshot: str) -> tuple[Setup | None, str]:
    """What a restored cluster is to be like, or what is missing for it in the region."""
    rds, ec2 = there.aws("rds"), there.aws("ec2")
    found = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=snapshot)
    copied = found["DBClusterSnapshots"][0]
    groups = ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [wanted.security_group]}]
    )["SecurityGroups"]
    subnets = [
        one["DBSubnetGroupName"] for one in rds.describe_db_subnet_groups()["DBSubnetGroups"]
    ]
    if not groups:
        return None, f"there is no security group {wanted.security_group}"
    if wanted.subnet_group not in subnets:
        return None, f"there is no subnet group {wanted.subnet_group}"
    return Setup(
        name=there.environment.database.cluster,
        status="lost",
        endpoint="",
        port=0,
        engine=copied["Engine"],
        version=copied["EngineVersion"],
        subnet_group=wanted.subnet_group,
        security_groups=tuple(sorted(one["GroupId"] for one in groups)),
        parameter_group=wanted.parameter_group,
        min_acu=wanted.min_acu,
        max_acu=wanted.max_acu,
        deletion_protection=True,
        encrypted=bool(copied.get("StorageEncrypted")),
        tags={one["Key"]: one["Value"] for one in copied.get("TagList", ())},
        instances={},
        instance_class=wanted.instance_class,
        created_at=copied["ClusterCreateTime"],
    ), ""


def _spares(there: Clients) -> tuple[Spare, ...]:
    """The services that are wanted, in the order of a deployment, as they are in the region."""
    environment, client = there.environment, there.aws("ecs")
    try:
        services = ecs.read_services(client, cluster=environment.ecs.cluster)
    except BadInput:  # no such cluster: then none of them is defined
        services = ()
    defined = {one.name: one for one in services if one.name in environment.failover.services}
    faults = revisions.faults_of(there, [one.task_definition for one in defined.values()])
    order = environment.ecs.order
    wanted = sorted(
        environment.failover.services,
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    return tuple(_spare(there, name, defined.get(name), faults) for name in wanted)


def _spare(
    there: Clients, name: str, service: Service | None, faults: dict[str, tuple[str, ...]]
) -> Spare:
    if service is None:
        return Spare(name, None, None, None, (), started=False)
    cluster = there.environment.ecs.cluster
    return Spare(
        name,
        service,
        ecs.read_size(there.aws("ecs"), task_definition=service.task_definition),
        autoscaling.find_scaling(
            there.aws("application-autoscaling"), cluster=cluster, service=name
        ),
        faults[service.task_definition],
        started=started.has_started(there, service),
    )


def _balancer(there: Clients) -> dict[str, Any]:
    """The load balancer of the region; empty where there is none."""
    name = there.environment.endpoints.load_balancer
    try:
        return dict(alb.read_balancer(there.aws("elbv2"), name))
    except BadInput:
        return {}


def _uncovered(there: Clients, hosts: list[str]) -> tuple[str, ...]:
    """Hosts that no certificate of the load balancer is good for."""
    name = there.environment.endpoints.load_balancer
    found = alb.read_certificates(there.aws("elbv2"), there.aws("acm"), name)
    good = {one for certificate in found for one in certificate.names}
    return tuple(
        host for host in hosts if host not in good and f"*.{host.partition('.')[2]}" not in good
    )


def _cache(there: Clients) -> str:
    """Why the cache that the region's secret names does not answer; empty when it does."""
    import redis

    try:
        there.redis.ping()
    except (redis.RedisError, OSError) as error:
        return f"it does not answer: {type(error).__name__}"
    except NotReachable as error:
        return error.message
    return ""


def _mail(there: Clients) -> tuple[str, ...]:
    """What keeps the region from sending mail, in a few words each."""
    domain = there.environment.promises.mail_domain
    return tuple(ses.read_account(there.aws("sesv2"), domain=domain).problems) if domain else ()


def _name(there: Clients, host: str) -> Name:
    client = route53.client_of(there)
    records = [one for one in route53.read_records(client, host) if one.alias]
    if len(records) != 1:  # several are a routing policy, which knows regions by itself
        return Name(host, None, "")
    found = route53.read_alias(there, host, records[0].type)
    return Name(host, records[0], found["zone"] or "")
