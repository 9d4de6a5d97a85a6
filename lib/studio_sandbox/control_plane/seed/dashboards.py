"""The four dashboards, from widgets as CloudWatch's console writes them.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import cloudwatch
from studio_sandbox.control_plane.seed.load_balancer import Balancer
from studio_sandbox.control_plane.seed.metrics import PROVIDERS
from studio_sandbox.control_plane.seed.world import World

Widget = dict[str, Any]
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 6


def seed(world: World, balancer: Balancer, redis_nodes: list[str]) -> None:
    """Put all four."""
    health, usage, latency, costs = names.DASHBOARDS
    widgets = {
        health: _health(world, balancer, redis_nodes),
        usage: _usage(world),
        latency: _latency(world, balancer),
        costs: _costs(world),
    }
    for name, found in widgets.items():
        body = {"start": "-PT3H", "periodOverride": "inherit", "widgets": _laid_out(found)}
        modified = world.ago(days=74)
        cloudwatch.put_dashboard(world.account, world.region, name, body, modified=modified)


def _laid_out(widgets: list[Widget]) -> list[Widget]:
    return [
        {
            **widget,
            "x": n % _COLUMNS * _WIDTH,
            "y": n // _COLUMNS * _HEIGHT,
            "width": _WIDTH,
            "height": _HEIGHT,
        }
        for n, widget in enumerate(widgets)
    ]


def _metric(
    world: World, title: str, metrics: list[Any], *, stat: str = "Average", **more: Any
) -> Widget:
    properties = {
        "title": title,
        "view": "timeSeries",
        "stacked": False,
        "region": world.region,
        "period": 60,
        "stat": stat,
        "metrics": metrics,
    }
    return {"type": "metric", "properties": properties | more}


def _text(markdown: str) -> Widget:
    return {"type": "text", "properties": {"markdown": markdown}}


def _log(world: World, title: str, groups: list[str], query: str) -> Widget:
    sources = " | ".join(f"SOURCE '{group}'" for group in groups)
    return {
        "type": "log",
        "properties": {
            "title": title,
            "region": world.region,
            "view": "table",
            "query": f"{sources} | {query}",
        },
    }


def _limit(label: str, value: float) -> dict[str, Any]:
    return {"horizontal": [{"label": label, "value": value, "color": "#d62728"}]}


def _health(world: World, balancer: Balancer, redis_nodes: list[str]) -> list[Widget]:
    alb = ["LoadBalancer", balancer.dimension]
    arns = [f"arn:aws:cloudwatch:{world.region}:{world.account}:alarm:{n}" for n in names.ALARMS]
    cpu = [
        ["AWS/ECS", "CPUUtilization", "ClusterName", names.CLUSTER, "ServiceName", service]
        for service in names.SERVICES
    ]
    return [
        _text("# Service health\nRunbook: *Assess*. Healthy: no alarm, no 5xx, all targets."),
        {"type": "alarm", "properties": {"title": "Critical alarms", "alarms": arns}},
        _metric(world, "Requests", [["AWS/ApplicationELB", "RequestCount", *alb]], stat="Sum"),
        _metric(
            world,
            "Errors 5xx in per cent",
            [
                [{"expression": "100*e/r", "label": "5xx", "id": "p"}],
                ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", *alb,
                 {"id": "e", "visible": False}],
                ["AWS/ApplicationELB", "RequestCount", *alb, {"id": "r", "visible": False}],
            ],
            stat="Sum",
            yAxis={"left": {"min": 0}},
        ),
        _metric(world, "CPU by service", cpu, annotations=_limit("scales out", 70)),
        _metric(
            world,
            "Database and Redis CPU",
            [
                ["AWS/RDS", "CPUUtilization", "DBClusterIdentifier", names.DATABASE_CLUSTER],
                ["AWS/ElastiCache", "EngineCPUUtilization", "CacheClusterId", redis_nodes[0]],
            ],
            annotations=_limit("alarm", 80),
        ),
        _log(
            world,
            "Latest errors",
            list(names.LOG_GROUPS.values()),
            'fields @timestamp, level, message | filter level = "ERROR" '
            "| sort @timestamp desc | limit 20",
        ),
    ]  # fmt: skip


def _usage(world: World) -> list[Widget]:
    space = names.GATEWAY_METRICS
    return [
        _metric(
            world,
            f"Usage: {kind}",
            [[space, "Usage", "Kind", kind, {"label": kind}]],
            stat="Sum",
            period=300,
        )
        for kind in ("tokens", "images", "videos")
    ] + [
        _metric(
            world,
            "Requests by provider",
            [[space, "ProviderRequests", "Provider", name] for name in PROVIDERS],
            stat="Sum",
            stacked=True,
        ),
        _log(
            world,
            "Busiest users",
            [names.LOG_GROUPS[names.GATEWAY]],
            "filter ispresent(latency_ms) | stats count(*) as requests by user_id "
            "| sort requests desc | limit 10",
        ),
    ]


def _latency(world: World, balancer: Balancer) -> list[Widget]:
    def times(dimensions: list[str]) -> list[Any]:
        series = ["AWS/ApplicationELB", "TargetResponseTime", *dimensions]
        return [[*series, {"stat": stat, "label": stat}] for stat in ("p50", "p95", "p99")]

    groups = [
        _metric(
            world,
            f"Response time: {names.container(service)}",
            times(["TargetGroup", balancer.group_dimension(service),
                   "LoadBalancer", balancer.dimension]),
            annotations=_limit("slow", 5),
        )
        for service in balancer.groups
    ]  # fmt: skip
    providers = [
        [names.GATEWAY_METRICS, "ProviderLatency", "Provider", name, {"stat": "p95"}]
        for name in PROVIDERS
    ]
    return [
        _metric(world, "Response time", times(["LoadBalancer", balancer.dimension])),
        *groups,
        _metric(world, "Providers, p95", providers),
        _log(
            world,
            "Chat by minute",
            [names.LOG_GROUPS[names.GATEWAY]],
            "filter @message like /chat.complete/ "
            "| stats avg(latency_ms), max(latency_ms), pct(latency_ms, 95) by bin(1m)",
        ),
    ]


def _costs(world: World) -> list[Widget]:
    charges = ["AWS/Billing", "EstimatedCharges"]
    database = ["DBClusterIdentifier", names.DATABASE_CLUSTER]
    tasks = [
        ["ECS/ContainerInsights", "RunningTaskCount",
         "ClusterName", names.CLUSTER, "ServiceName", service]
        for service in names.SERVICES
    ]  # fmt: skip
    return [
        _text("# Costs\nCharges are estimates of AWS's, four times a day, since the 1st."),
        _metric(
            world,
            "Charges this month (USD)",
            [
                [*charges, "Currency", "USD"],
                [*charges, "ServiceName", "AmazonECS", "Currency", "USD"],
                [*charges, "ServiceName", "AmazonRDS", "Currency", "USD"],
            ],
            stat="Maximum",
            region="us-east-1",
            period=21600,
        ),
        _metric(world, "Running tasks", tasks, stacked=True),
        _metric(
            world,
            "Database capacity (ACU)",
            [["AWS/RDS", "ServerlessDatabaseCapacity", *database]],
            annotations=_limit("most", 8),
        ),
    ]
