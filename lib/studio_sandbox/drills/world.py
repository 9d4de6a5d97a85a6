"""What of the Studio stays as it is unless somebody changes it: to tell what was not needed.

A world is read in parts; each is a flat table: what it is about, and what that is. It is read
before a drill breaks the Studio, after it, and when it is judged; nothing in it moves by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import psycopg2
import redis
from botocore.exceptions import BotoCoreError, ClientError

from studio_sandbox.drills import services
from studio_sandbox.drills.studio import Studio

World = dict[str, dict[str, Any]]
_BY_ITSELF = "as auto scaling has it"
_MEASURED = ("Namespace", "MetricName", "Statistic", "Period", "Metrics", "Dimensions")
_RULED = (
    "Threshold", "ComparisonOperator", "EvaluationPeriods", "ActionsEnabled", "AlarmActions",
)  # fmt: skip


def read(studio: Studio) -> World:
    """The world as it is, without the parts that cannot be read: a store or a region is gone."""
    found: World = {}
    for name, part in _PARTS.items():
        try:
            found[name] = dict(part(studio))
        except (ClientError, BotoCoreError, psycopg2.Error, redis.RedisError):
            continue  # whether that is part of what is broken, the drill's own judge knows
    return found


def unneeded(before: World, broken: World, now: World, needed: Iterable[str]) -> list[str]:
    """What is now neither as it was before nor as it was broken, and fits no pattern of needed."""
    patterns = list(needed)
    found = []
    for part in sorted(now.keys() & (before.keys() | broken.keys())):
        was, then, after = broken.get(part), before.get(part), now[part]
        known = [one for one in (was, then) if one is not None]
        for about in sorted({about for one in (after, *known) for about in one}):
            value = after.get(about)
            if value in [_BY_ITSELF, *(one.get(about) for one in known)]:
                continue
            if any(fnmatchcase(about, pattern) for pattern in patterns):
                continue
            earlier = known[0].get(about)
            found.append(f"{about}: {_shown(earlier)} became {_shown(value)}")
    return found


def changed(before: World, after: World) -> list[str]:
    """What differs between two worlds, in the parts that both have."""
    return sorted(
        about
        for part in before.keys() & after.keys()
        for about in before[part].keys() | after[part].keys()
        if after[part].get(about) not in (before[part].get(about), _BY_ITSELF)
    )


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# The parts: each gives what it is about and what that is.


def _services(studio: Studio) -> Iterator[tuple[str, Any]]:
    moved_by_itself = _scaled_to(studio)
    for name, found in services.described(studio).items():
        yield f"service {name}: revision", found["taskDefinition"].rpartition("/")[2]
        desired = found["desiredCount"]
        count = _BY_ITSELF if desired == moved_by_itself.get(name) else desired
        yield f"service {name}: desired count", count
        limits = found["deploymentConfiguration"]
        breaker = limits.get("deploymentCircuitBreaker", {})
        yield (
            f"service {name}: deployments",
            [limits["minimumHealthyPercent"], limits["maximumPercent"], breaker.get("enable")],
        )


def _scaled_to(studio: Studio) -> dict[str, int]:
    """What auto scaling has set each service to last."""
    found: dict[str, int] = {}
    answer = studio.aws("application-autoscaling").describe_scaling_activities(
        ServiceNamespace="ecs"
    )
    for activity in answer["ScalingActivities"]:  # the newest first
        service = activity["ResourceId"].rpartition("/")[2]
        found.setdefault(service, int(activity["Description"].rstrip(".").rpartition(" ")[2]))
    return found


def _scaling(studio: Studio) -> Iterator[tuple[str, Any]]:
    scaling = studio.aws("application-autoscaling")
    for one in scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]:
        service = one["ResourceId"].rpartition("/")[2]
        yield f"scaling {service}: range", [one["MinCapacity"], one["MaxCapacity"]]
    for one in scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]:
        tracking = one.get("TargetTrackingScalingPolicyConfiguration", {})
        service = one["ResourceId"].rpartition("/")[2]
        yield f"scaling {service}: {one['PolicyName']}", tracking.get("TargetValue")


def _secrets(studio: Studio) -> Iterator[tuple[str, Any]]:
    for one in studio.aws("secretsmanager").list_secrets(MaxResults=100)["SecretList"]:
        stages = one.get("SecretVersionsToStages", {}).items()
        current = [version for version, stage in stages if "AWSCURRENT" in stage]
        yield f"secret {one['Name']}: version", current


def _alarms(studio: Studio) -> Iterator[tuple[str, Any]]:
    pages = studio.aws("cloudwatch").get_paginator("describe_alarms").paginate()
    for one in (each for page in pages for each in page["MetricAlarms"]):
        if not one["AlarmName"].startswith("TargetTracking-"):  # those are auto scaling's own
            rule = {key: one[key] for key in (*_RULED, *_MEASURED) if key in one}
            yield f"alarm {one['AlarmName']}", rule


def _network(studio: Studio) -> Iterator[tuple[str, Any]]:
    for one in studio.aws("ec2").describe_security_groups()["SecurityGroups"]:
        sources = [
            f"{rule.get('FromPort')} from {source}"
            for rule in one["IpPermissions"]
            for source in (
                *sorted(each["CidrIp"] for each in rule["IpRanges"]),
                *sorted(each["GroupId"] for each in rule["UserIdGroupPairs"]),
            )
        ]
        yield f"security group {one['GroupName']} {one['GroupId']}", sources
    elb = studio.aws("elbv2")
    for balancer in elb.describe_load_balancers()["LoadBalancers"]:
        arn = balancer["LoadBalancerArn"]
        for listener in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            found = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            for rule in found:
                about = f"rule {listener['Port']}/{rule['Priority']} of {rule['RuleArn'][-16:]}"
                yield about, [action["Type"] for action in rule["Actions"]]


def _roles(studio: Studio) -> Iterator[tuple[str, Any]]:
    found = studio.aws("iam").get_account_authorization_details(Filter=["Role"])
    for role in found["RoleDetailList"]:
        for policy in role.get("RolePolicyList", []):
            about = f"role {role['RoleName']}: {policy['PolicyName']}"
            yield about, policy["PolicyDocument"]


def _names(studio: Studio) -> Iterator[tuple[str, Any]]:
    dns = studio.aws("route53")
    for zone in dns.list_hosted_zones()["HostedZones"]:
        for one in dns.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
            values = [each["Value"] for each in one.get("ResourceRecords", [])]
            target = one.get("AliasTarget", {}).get("DNSName")
            yield f"record {one['Name']} {one['Type']}", values or target


def _stores(studio: Studio) -> Iterator[tuple[str, Any]]:
    for one in studio.aws("rds").describe_db_clusters()["DBClusters"]:
        scaling = one.get("ServerlessV2ScalingConfiguration")
        yield f"cluster {one['DBClusterIdentifier']}", scaling
    for one in studio.aws("elasticache").describe_replication_groups()["ReplicationGroups"]:
        about = f"cache {one['ReplicationGroupId']}"
        yield f"{about}: node type", one["CacheNodeType"]
        yield f"{about}: automatic failover", one["AutomaticFailover"]
    for bucket in studio.aws("s3").list_buckets()["Buckets"]:
        found = studio.aws("s3").get_bucket_versioning(Bucket=bucket["Name"])
        yield f"bucket {bucket['Name']}: versioning", found.get("Status")
    account = studio.aws("sesv2").get_account()
    yield "mail: sending", account["SendingEnabled"]
    yield "mail: production access", account["ProductionAccessEnabled"]


def _blocks(studio: Studio) -> Iterator[tuple[str, Any]]:
    """Who is blocked for a while. A block that is gone has expired by itself, or was lifted."""
    for key in studio.redis.scan_iter("ratelimit:block:*", count=1000):
        yield f"block {key.rpartition(':')[2]}", True


def _banned(studio: Studio) -> Iterator[tuple[str, Any]]:
    for (user,) in studio.rows("SELECT id::text FROM users WHERE NOT is_active"):
        yield f"banned {user}", True


_PARTS: dict[str, Callable[[Studio], Iterable[tuple[str, Any]]]] = {
    "services": _services,
    "scaling": _scaling,
    "secrets": _secrets,
    "alarms": _alarms,
    "network": _network,
    "roles": _roles,
    "names": _names,
    "stores": _stores,
    "blocks": _blocks,
    "banned": _banned,
}
