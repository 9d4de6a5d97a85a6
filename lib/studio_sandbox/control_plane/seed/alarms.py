"""The runbook's six alarms, with its thresholds and periods, all of them OK."""

from __future__ import annotations

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import cloudwatch, sns
from studio_sandbox.control_plane.moto_adapter.cloudwatch import AlarmSpec, Term
from studio_sandbox.control_plane.seed.load_balancer import Balancer
from studio_sandbox.control_plane.seed.world import World

_FIVE_MINUTES_S = 300


def seed(world: World, balancer: Balancer, redis_primary: str) -> None:
    """Put all six, and the topic that they notify; each has been OK for some days."""
    topic = sns.topic(world.account, world.region, names.ALARM_TOPIC, mail=names.ONCALL_MAIL)
    for n, spec in enumerate(_alarms(world, balancer, redis_primary, topic)):
        cloudwatch.put_alarm(
            world.account,
            world.region,
            spec,
            created=world.ago(days=204),
            ok_since=world.ago(days=3.1 + 2.7 * n),
        )


def _alarms(world: World, balancer: Balancer, redis_primary: str, topic: str) -> list[AlarmSpec]:
    whole = (("LoadBalancer", balancer.dimension),)
    return [
        AlarmSpec(
            names.ALARM_5XX,
            "More than 10 answers 5xx of targets in 5 minutes: check ECS task health, review logs",
            10, _FIVE_MINUTES_S, topic,
            (Term("errors", "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", whole, "Sum"),),
        ),
        AlarmSpec(
            names.ALARM_UNHEALTHY,
            "Any unhealthy task: check task logs, restart tasks",
            0, 60, topic, _unhealthy(balancer), "unhealthy0 + unhealthy1 + unhealthy2",
            "Unhealthy tasks",
        ),
        AlarmSpec(
            names.ALARM_RDS_CPU,
            "Database CPU over 80 % for 5 minutes: scale up ACUs, optimize queries",
            80, _FIVE_MINUTES_S, topic,
            (Term("cpu", "AWS/RDS", "CPUUtilization",
                  (("DBClusterIdentifier", names.DATABASE_CLUSTER),), "Average"),),
            missing="missing", last_value=31.4,
        ),
        AlarmSpec(
            names.ALARM_REDIS_CPU,
            "Redis CPU over 80 % for 5 minutes: scale up node type, review usage",
            80, _FIVE_MINUTES_S, topic,
            (Term("cpu", "AWS/ElastiCache", "EngineCPUUtilization",
                  (("CacheClusterId", redis_primary),), "Average"),),
            missing="missing", last_value=16.8,
        ),
        AlarmSpec(
            names.ALARM_DISK,
            "A task's disk over 80 % full: clean up old files, expand storage",
            80, _FIVE_MINUTES_S, topic, _disks(),
            "MAX([" + ", ".join(f"100*used{n}/size{n}" for n in range(4)) + "])",
            "Fullest disk in per cent", last_value=21.3,
        ),
        AlarmSpec(
            names.ALARM_PROVIDER,
            "More than 5 % of OpenAI's answers are errors: check API status, use fallback",
            5, _FIVE_MINUTES_S, topic,
            tuple(
                Term(key, names.GATEWAY_METRICS, name, (("Provider", "openai"),), "Sum")
                for key, name in (("errors", "ProviderErrors"), ("requests", "ProviderRequests"))
            ),
            "100*errors/requests", "OpenAI errors in per cent", last_value=0.3,
        ),
    ]  # fmt: skip


def _unhealthy(balancer: Balancer) -> tuple[Term, ...]:
    return tuple(
        Term(
            f"unhealthy{n}",
            "AWS/ApplicationELB",
            "UnHealthyHostCount",
            (
                ("TargetGroup", balancer.group_dimension(service)),
                ("LoadBalancer", balancer.dimension),
            ),
            "Maximum",
        )
        for n, service in enumerate(balancer.groups)
    )


def _disks() -> tuple[Term, ...]:
    return tuple(
        Term(
            f"{key}{n}",
            "ECS/ContainerInsights",
            metric,
            (("ClusterName", names.CLUSTER), ("ServiceName", service)),
            "Maximum",
        )
        for n, service in enumerate(names.SERVICES)
        for key, metric in (
            ("used", "EphemeralStorageUtilized"),
            ("size", "EphemeralStorageReserved"),
        )
    )
