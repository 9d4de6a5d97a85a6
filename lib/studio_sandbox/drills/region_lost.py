"""region-lost: the primary region does not answer any more; the backup region has to serve."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2

from studio_sandbox.box import BACKUP_REGION
from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_HOSTS = (names.APP_HOST, names.API_HOST, names.GATEWAY_HOST)
_COPIED_WITHIN = timedelta(minutes=30)  # a copy is dated later than what is in it
_USERS = "SELECT count(*) FROM users WHERE created_at <= %(taken)s::timestamp"


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {"region": studio.box.region, "backup": BACKUP_REGION}


def _start(studio: Studio, details: Details) -> None:
    copies = studio.aws("rds", details["backup"]).describe_db_cluster_snapshots()
    newest = max(one["SnapshotCreateTime"] for one in copies["DBClusterSnapshots"])
    details["taken"] = (newest - _COPIED_WITHIN).replace(tzinfo=None).isoformat()
    ((details["users"],),) = studio.rows(_USERS, taken=details["taken"])
    details["records"] = _records(studio)
    studio.control("POST", "misfortunes", {"misfortune": "region-lost"})


def _records(studio: Studio) -> list[dict[str, Any]]:
    """What the product's names lead to."""
    dns = studio.aws("route53", "us-east-1")  # it is global, and stands in no region of ours
    found = dns.list_resource_record_sets(HostedZoneId=_zone(studio))["ResourceRecordSets"]
    return [one for one in found if one["Name"].rstrip(".") in _HOSTS]


def _zone(studio: Studio) -> str:
    zones = studio.aws("route53", "us-east-1").list_hosted_zones()["HostedZones"]
    return next(str(one["Id"]) for one in zones if one["Name"].rstrip(".") == names.DOMAIN)


def _judge(studio: Studio, details: Details) -> list[str]:
    """The backup region serves: names lead there, services run there, their database has data."""
    region = details["backup"]
    findings = services.wrong(studio, region=region)
    balancers = studio.aws("elbv2", region).describe_load_balancers()["LoadBalancers"]
    there = {one["DNSName"] for one in balancers}
    led = {
        one["Name"].rstrip("."): one.get("AliasTarget", {}).get("DNSName", "")
        for one in _records(studio)
    }
    findings += [
        f"{host} does not lead to a load balancer in {region}"
        for host in _HOSTS
        if led.get(host, "").rstrip(".").removeprefix("dualstack.") not in there
    ]
    findings += _database_findings(studio, details)
    if (status := studio.status("/v1/health", host=names.API_HOST)) != 200:
        findings.append(f"{names.API_HOST} answers {status}")
    return findings


def _database_findings(studio: Studio, details: Details) -> list[str]:
    """What is wrong with the database that the backend in the backup region is given."""
    region = details["backup"]
    backend = services.described(studio, region=region).get(names.BACKEND)
    if backend is None:
        return []  # which was said
    container = services.revision(studio, backend["taskDefinition"], region=region)[
        "containerDefinitions"
    ][0]
    given = {one["name"]: one["value"] for one in container.get("environment", [])}
    for one in container.get("secrets", []):
        if one["name"] == names.DATABASE_URL:
            found = studio.aws("secretsmanager", region).get_secret_value(SecretId=one["valueFrom"])
            given[one["name"]] = found["SecretString"]
    try:
        url = given.get(names.DATABASE_URL, "")
        with closing(psycopg2.connect(url, connect_timeout=3)) as connection:
            cursor = connection.cursor()
            cursor.execute(_USERS, details)
            (users,) = cursor.fetchone()
    except psycopg2.Error as error:
        return [f"the database of {names.BACKEND} in {region}: {' '.join(str(error).split())}"]
    if users < details["users"]:
        return [f"the database in {region} has {users} of {details['users']} users"]
    return []


def _clean_up(studio: Studio, details: Details) -> None:
    """The region answers again, and names lead there.

    What was made in the other one stays, but nothing runs there: two regions would do the work.
    """
    studio.control("DELETE", "misfortunes?misfortune=region-lost")
    _stop(studio, details["backup"])
    if records := details.get("records"):
        changes = [{"Action": "UPSERT", "ResourceRecordSet": one} for one in records]
        studio.pipeline("route53", session="Terraform").change_resource_record_sets(
            HostedZoneId=_zone(studio), ChangeBatch={"Changes": changes}
        )
    services.until_well(studio)


def _mend(run: RunSection) -> None:
    """As somebody would who is told what is lost, and accepts it."""
    found = run("fail-over-region")["result"]
    accepted = found["loss_minutes"] + 60  # while the plan is being approved it becomes more
    plan_and_apply(run, "fail-over-region", accept_loss_minutes=accepted)


def _stop(studio: Studio, region: str) -> None:
    """No service of a region has a task, or is given one by auto scaling."""
    ecs = studio.pipeline("ecs", session="Terraform", region=region)
    scaling = studio.pipeline("application-autoscaling", session="Terraform", region=region)
    for name in services.described(studio, region=region):
        scaling.register_scalable_target(
            ServiceNamespace="ecs",
            ScalableDimension="ecs:service:DesiredCount",
            ResourceId=f"service/{names.CLUSTER}/{name}",
            MinCapacity=0,
        )
        ecs.update_service(cluster=names.CLUSTER, service=name, desiredCount=0)
    studio.until(
        lambda: (
            not any(
                one["runningCount"] for one in services.described(studio, region=region).values()
            )
        ),
        f"nothing runs in {region}",
    )


REGION_LOST = Drill(
    name="region-lost",
    symptom="Nothing of the Studio answers, and neither does AWS's console for its region.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    needed=("record *",),
    mend=_mend,
)
