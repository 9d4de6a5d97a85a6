"""redis-down: the primary of the cache is gone, and nothing takes over by itself."""

from __future__ import annotations

import random
from typing import Any

import redis

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {"group": names.REDIS_GROUP}


def _start(studio: Studio, details: Details) -> None:
    details["primary"] = _primary(_group(studio))
    _fail_over_by_itself(studio, details["group"], wanted=False)
    studio.control("POST", "misfortunes", {"misfortune": "cache-lost"})


def _group(studio: Studio) -> dict[str, Any]:
    found = studio.aws("elasticache").describe_replication_groups(
        ReplicationGroupId=names.REDIS_GROUP
    )
    return dict(found["ReplicationGroups"][0])


def _primary(group: dict[str, Any]) -> str:
    members = group["NodeGroups"][0]["NodeGroupMembers"]
    found = (one["CacheClusterId"] for one in members if one["CurrentRole"] == "primary")
    return str(next(found))


def _fail_over_by_itself(studio: Studio, group: str, *, wanted: bool) -> None:
    studio.pipeline("elasticache", session="Terraform").modify_replication_group(
        ReplicationGroupId=group,
        AutomaticFailoverEnabled=wanted,
        MultiAZEnabled=wanted,
        ApplyImmediately=True,
    )


def _judge(studio: Studio, details: Details) -> list[str]:
    """A primary answers, and it is another node than the one that is gone."""
    group = _group(studio)
    findings = []
    if group["Status"] != "available":
        findings.append(f"{details['group']} is {group['Status']}")
    if _primary(group) == details["primary"]:
        findings.append(f"{details['primary']}, which is gone, is still the primary")
    try:
        studio.redis.ping()
    except redis.RedisError as error:
        findings.append(f"the cache does not answer: {error}")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    """A primary is there, and a replica takes over by itself when it is gone."""
    studio.control("DELETE", "misfortunes?misfortune=cache-lost")
    studio.until(lambda: _group(studio)["Status"] == "available", "the cache is available")
    if _group(studio)["AutomaticFailover"] != "enabled":
        _fail_over_by_itself(studio, details["group"], wanted=True)
    services.until_well(studio)


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "resize-data-stores")


REDIS_DOWN = Drill(
    name="redis-down",
    symptom="Every request for a model fails, and no new job is taken up.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    # the alarm on its CPU watches the primary by name, and has to follow
    needed=("cache {group}: automatic failover", f"alarm {names.ALARM_REDIS_CPU}"),
)
