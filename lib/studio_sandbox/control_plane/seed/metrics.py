"""Three hours of metrics at 60 s; the last hour counts the very requests that the logs tell."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter.cloudwatch import Dimensions, Metrics
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.control_plane.seed.load_balancer import Balancer
from studio_sandbox.control_plane.seed.traffic import WINDOW_S, Page, Request, Traffic
from studio_sandbox.control_plane.seed.world import World

MINUTES = 180
_HOUR = WINDOW_S // 60
PROVIDERS = ("openai", "anthropic", "google")
# Where the gauges of a healthy database idle along: name, unit, middle.
DATABASE = (
    ("CPUUtilization", "Percent", 31.0),
    ("ServerlessDatabaseCapacity", "Count", 2.4),
    ("ACUUtilization", "Percent", 30.0),
    ("DatabaseConnections", "Count", 38.0),
    ("SelectLatency", "Milliseconds", 2.1),
    ("CommitLatency", "Milliseconds", 3.4),
    ("FreeLocalStorage", "Bytes", 21.0e9),
    ("AuroraReplicaLag", "Milliseconds", 0.0),  # writer and readers are one server here
)
# The same of the cache's primary, and how much less a replica has.
CACHE = (
    ("EngineCPUUtilization", "Percent", 17.0, 9.0),
    ("DatabaseMemoryUsagePercentage", "Percent", 28.0, 0.0),
    ("CurrConnections", "Count", 46.0, 30.0),
)
DISK_GB, DISK_USED_GB = 30.0, 6.4
_Sample = Request | Page


def seed(world: World, traffic: Traffic, balancer: Balancer, redis_nodes: list[str]) -> None:
    """All metrics that alarms and dashboards look at."""
    writer = _Writer(world)
    _load_balancer(writer, traffic, balancer)
    _services(writer)
    _database(writer)
    _redis(writer, redis_nodes)
    _gateway(writer, traffic.gateway)
    _mail(writer)
    _billing(world)


class _Writer:
    """Points for each of the last 180 minutes, oldest first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._metrics = Metrics(world.account, world.region)
        first = world.anchor.replace(second=0) - timedelta(minutes=MINUTES)
        self._times = [first + timedelta(minutes=n) for n in range(MINUTES)]

    def gauge(
        self, namespace: str, name: str, dimensions: Dimensions, unit: str, middle: float,
        *, spread: float = 0.06,
    ) -> None:  # fmt: skip
        """A value that wanders around its middle, within a few per cent."""
        dice = self.world.dice(f"{namespace}/{name}/{dimensions}")
        points = []
        for n, time in enumerate(self._times):
            wave = 1 + 0.08 * math.sin(n / 27) + dice.gauss(0, spread)
            points.append((time, (round(max(0.0, middle * wave), 3),)))
        self._metrics.put(namespace, name, dimensions, unit, points)

    def steady(
        self, namespace: str, name: str, dimensions: Dimensions, unit: str, value: float
    ) -> None:
        """A value that does not move."""
        points = [(time, (value,)) for time in self._times]
        self._metrics.put(namespace, name, dimensions, unit, points)

    def counted(
        self, namespace: str, name: str, dimensions: Dimensions, samples: Sequence[_Sample],
        amount: Callable[[_Sample], float] = lambda sample: 1.0,
    ) -> None:  # fmt: skip
        """What the last hour's samples add up to, and the like of it for the two hours before."""
        sums: dict[int, float] = defaultdict(float)
        for sample in samples:
            sums[int(sample.at_s // 60)] += amount(sample)
        dice = self.world.dice(f"{namespace}/{name}/{dimensions}")
        points = [(time, (sums[self._like(dice, n)],)) for n, time in enumerate(self._times)]
        self._metrics.put(namespace, name, dimensions, "Count", points)

    def latencies(
        self, namespace: str, name: str, dimensions: Dimensions, samples: Sequence[_Sample]
    ) -> None:
        """Seconds of each sample of the last hour, and the like of it for the two hours before."""
        minutes: dict[int, list[float]] = defaultdict(list)
        for sample in samples:
            minutes[int(sample.at_s // 60)].append(sample.latency_ms / 1000)
        dice = self.world.dice(f"{namespace}/{name}/{dimensions}")
        points = [(time, minutes[self._like(dice, n)]) for n, time in enumerate(self._times)]
        self._metrics.put(namespace, name, dimensions, "Seconds", points)

    @staticmethod
    def _like(dice: random.Random, minute: int) -> int:
        """The minute of the last hour that this one is like."""
        last_hour = minute - (MINUTES - _HOUR)
        return last_hour if last_hour >= 0 else dice.randrange(_HOUR)


def _load_balancer(writer: _Writer, traffic: Traffic, balancer: Balancer) -> None:
    whole: Dimensions = (("LoadBalancer", balancer.dimension),)
    samples: dict[str, list[_Sample]] = {
        names.GATEWAY: list(traffic.gateway),
        names.BACKEND: list(traffic.backend),
        names.FRONTEND: list(traffic.frontend),
    }
    everything = [sample for group in samples.values() for sample in group]
    _requests(writer, whole, everything)
    for service, group in samples.items():
        one: Dimensions = (("TargetGroup", balancer.group_dimension(service)), *whole)
        _requests(writer, one, group)
        healthy = SERVICE_FACTS[service].desired
        writer.steady("AWS/ApplicationELB", "HealthyHostCount", one, "Count", healthy)
        writer.steady("AWS/ApplicationELB", "UnHealthyHostCount", one, "Count", 0)


def _requests(writer: _Writer, dimensions: Dimensions, samples: list[_Sample]) -> None:
    namespace = "AWS/ApplicationELB"
    writer.counted(namespace, "RequestCount", dimensions, samples)
    for digit in (2, 4, 5):
        some = [sample for sample in samples if sample.status // 100 == digit]
        writer.counted(namespace, f"HTTPCode_Target_{digit}XX_Count", dimensions, some)
    writer.latencies(namespace, "TargetResponseTime", dimensions, samples)


def _services(writer: _Writer) -> None:
    for service, facts in SERVICE_FACTS.items():
        one: Dimensions = (("ClusterName", names.CLUSTER), ("ServiceName", service))
        writer.gauge("AWS/ECS", "CPUUtilization", one, "Percent", facts.cpu_percent)
        writer.gauge("AWS/ECS", "MemoryUtilization", one, "Percent", facts.memory_percent,
                     spread=0.01)  # fmt: skip
        insights = "ECS/ContainerInsights"
        for name in ("RunningTaskCount", "DesiredTaskCount"):
            writer.steady(insights, name, one, "Count", facts.desired)
        writer.steady(insights, "EphemeralStorageReserved", one, "Gigabytes", DISK_GB)
        writer.gauge(insights, "EphemeralStorageUtilized", one, "Gigabytes", DISK_USED_GB,
                     spread=0.01)  # fmt: skip


def _database(writer: _Writer) -> None:
    cluster: Dimensions = (("DBClusterIdentifier", names.DATABASE_CLUSTER),)
    for name, unit, middle in DATABASE:
        writer.gauge("AWS/RDS", name, cluster, unit, middle)


def _redis(writer: _Writer, nodes: list[str]) -> None:
    for n, node in enumerate(nodes):
        one: Dimensions = (("CacheClusterId", node),)
        for name, unit, middle, less in CACHE:
            writer.gauge("AWS/ElastiCache", name, one, unit, middle - less * n)
        writer.steady("AWS/ElastiCache", "Evictions", one, "Count", 0)


def _gateway(writer: _Writer, requests: list[Request]) -> None:
    for provider in PROVIDERS:
        one: Dimensions = (("Provider", provider),)
        # a request that the limiter refused never reached its provider
        sent = [r for r in requests if r.provider == provider and r.status != 429]
        failed = [r for r in sent if r.status >= 500]
        writer.counted(names.GATEWAY_METRICS, "ProviderRequests", one, sent)
        writer.counted(names.GATEWAY_METRICS, "ProviderErrors", one, failed)
        writer.latencies(names.GATEWAY_METRICS, "ProviderLatency", one, sent)
    for kind, family in (("tokens", "chat"), ("images", "image"), ("videos", "video")):
        used = [r for r in requests if r.family == family and r.status == 200]
        writer.counted(
            names.GATEWAY_METRICS, "Usage", (("Kind", kind),), used,
            lambda sample: float(getattr(sample, "tokens", 0) or 1),
        )  # fmt: skip


def _mail(writer: _Writer) -> None:
    writer.gauge("AWS/SES", "Send", (), "Count", 3.0, spread=0.3)
    writer.gauge("AWS/SES", "Delivery", (), "Count", 2.97, spread=0.3)
    writer.steady("AWS/SES", "Bounce", (), "Count", 0)
    writer.steady("AWS/SES", "Complaint", (), "Count", 0)
    writer.steady("AWS/SES", "Reputation.BounceRate", (), "Percent", 0.006)
    writer.steady("AWS/SES", "Reputation.ComplaintRate", (), "Percent", 0.0001)


def _billing(world: World) -> None:
    """Estimated charges since the month began: AWS keeps them in us-east-1 only, every 6 h."""
    metrics = Metrics(world.account, "us-east-1")
    day = 41.6
    for service, share in (("", 1.0), ("AmazonECS", 0.38), ("AmazonRDS", 0.31)):
        dimensions: Dimensions = (("Currency", "USD"),)
        if service:
            dimensions = (("ServiceName", service), *dimensions)
        points = []
        for n in range(12, 0, -1):
            time = world.ago(hours=6 * n)
            value = round(day * share * (time.day + time.hour / 24), 2)
            points.append((time, (value,)))
        metrics.put("AWS/Billing", "EstimatedCharges", dimensions, "None", points)
