"""What happened, counted, and put into CloudWatch every other second with what follows from it.

The names and units are those that the seed has given three hours of. Minutes that are over are
added up, but for latencies, whose percentiles need single values; what is older than three hours
is dropped, though AWS would keep it for weeks: memory is not to grow.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.moto_adapter.cloudwatch import Dimensions, Metrics
from studio_sandbox.control_plane.seed import metrics as seeded
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.data_plane.orders import CpuLoad, DatabaseLoad, DiskUsed, Orders, RedisLoad
from studio_sandbox.data_plane.picture import Picture
from studio_sandbox.data_plane.served import Served
from studio_sandbox.data_plane.traffic import API_SHARE, GATEWAY_PER_S, SITE_SHARE, TOTAL_PER_S

_KEPT = timedelta(minutes=seeded.MINUTES)
_WHOLE_AFTER = timedelta(minutes=5)
_SMOOTHING = 0.15  # how much of a new rate the remembered one takes over
_IDLE_SHARE = 0.4  # of its usual CPU that a service needs without any request
_USUAL_PER_S = {
    names.GATEWAY: GATEWAY_PER_S,
    names.BACKEND: GATEWAY_PER_S * API_SHARE,
    names.FRONTEND: GATEWAY_PER_S * SITE_SHARE,
}
_ALB, _ECS, _INSIGHTS = "AWS/ApplicationELB", "AWS/ECS", "ECS/ContainerInsights"


class Counts:
    """Counters since they were published last. Safe between threads."""

    def __init__(self, account: str, region: str, orders: Orders, dice: random.Random) -> None:
        self._account, self._region = account, region
        self._orders, self._dice = orders, dice
        self._lock = threading.Lock()
        self.total = 0
        self._empty()
        self.begin()

    def begin(self) -> None:
        """Start anew, with the metrics as they were seeded."""
        with self._lock:
            self._empty()
        self._load = dict.fromkeys(_USUAL_PER_S, 1.0)
        self.cpu: dict[str, float] = {}
        self.strain: dict[str, float] = {}  # how much more CPU is asked for than there is, from 1
        self._metrics: dict[str, Metrics] = {}  # by region

    def _empty(self) -> None:
        self._sums: Counter[tuple[str, str, str]] = Counter()  # about, of what, name
        self._seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._asked: Counter[str] = Counter()

    def add(self, served: Served) -> None:
        """Count a request that has ended, and its provider's call and usage."""
        with self._lock:
            self.total += 1
            status = served.response.status
            if served.task is None:
                self._sums["alb", "", f"HTTPCode_ELB_{status // 100}XX_Count"] += 1
                if status in (502, 503, 504):
                    self._sums["alb", "", f"HTTPCode_ELB_{status}_Count"] += 1
                return
            self._asked[served.task.service] += 1
            for service in ("", served.task.service):
                self._sums["alb", service, "RequestCount"] += 1
                self._sums["alb", service, f"HTTPCode_Target_{status // 100}XX_Count"] += 1
                self._seconds["alb", service, "TargetResponseTime"].append(served.seconds)
            if call := served.call:
                self._sums["provider", call.provider, "ProviderRequests"] += 1
                self._sums["provider", call.provider, "ProviderErrors"] += call.failed
                self._seconds["provider", call.provider, "ProviderLatency"].append(call.seconds)
            if used := served.used:
                kind = {"video": "videos"}.get(used.kind, used.kind)
                self._sums["usage", kind, "Usage"] += used.amount

    def publish(self, picture: Picture, *, since_s: float, nodes: Sequence[str]) -> None:
        """Put everything as of now; `since_s` is how long it was counted for."""
        with self._lock:
            sums, seconds, asked = self._sums, self._seconds, self._asked
            self._empty()
        for service, usual in _USUAL_PER_S.items():
            measured = asked[service] / since_s / usual
            self._load[service] += _SMOOTHING * (measured - self._load[service])
        with core.LOCK:
            if picture.region not in self._metrics:
                self._metrics[picture.region] = Metrics(self._account, picture.region)
            put = _Put(self._metrics[picture.region], picture, datetime.now(UTC))
            self._put_counted(put, sums, seconds)
            self._put_services(put, picture)
            if picture.region == self._region:
                self._put_stores(put, nodes)

    def thin_out(self) -> None:
        """Add up minutes that are over, and drop what is too old."""
        now = datetime.now(UTC)
        with core.LOCK:
            for metrics in self._metrics.values():
                metrics.thin_out(whole_before=now - _WHOLE_AFTER, drop_before=now - _KEPT)

    def _put_counted(
        self,
        put: _Put,
        sums: Counter[tuple[str, str, str]],
        seconds: dict[tuple[str, str, str], list[float]],
    ) -> None:
        for service in ("", *_USUAL_PER_S):
            for name in ("RequestCount", *(f"HTTPCode_Target_{n}XX_Count" for n in (2, 4, 5))):
                sums.setdefault(("alb", service, name), 0)
        for provider in seeded.PROVIDERS:
            for name in ("ProviderRequests", "ProviderErrors"):
                sums.setdefault(("provider", provider, name), 0)
        for (about, what, name), value in sums.items():
            put.values(about, what, name, "Count", [float(value)])
        for (about, what, name), values in seconds.items():
            put.values(about, what, name, "Seconds", values)

    def _put_services(self, put: _Put, picture: Picture) -> None:
        for service, facts in SERVICE_FACTS.items():
            running = len(picture.running(service))
            load = _IDLE_SHARE + (1 - _IDLE_SHARE) * self._load.get(service, 1.0)
            if heavier := self._orders.first(CpuLoad, service=service):
                load *= heavier.factor
            cpu = facts.cpu_percent * load * facts.desired / running if running else 0.0
            self.strain[service] = max(1.0, cpu / 100)
            self.cpu[service] = min(100.0, cpu * self._dice.gauss(1, 0.02))
            put.service(_ECS, service, "CPUUtilization", "Percent", self.cpu[service])
            put.service(_ECS, service, "MemoryUtilization", "Percent", facts.memory_percent)
            put.service(_INSIGHTS, service, "RunningTaskCount", "Count", running)
            wanted = picture.desired.get(service, 0)
            put.service(_INSIGHTS, service, "DesiredTaskCount", "Count", wanted)
            full = self._orders.first(DiskUsed, service=service)
            used = full.gib if full else seeded.DISK_USED_GB
            put.service(_INSIGHTS, service, "EphemeralStorageUtilized", "Gigabytes", used)
            put.service(_INSIGHTS, service, "EphemeralStorageReserved", "Gigabytes", seeded.DISK_GB)
            self._put_targets(put, picture, service)

    @staticmethod
    def _put_targets(put: _Put, picture: Picture, service: str) -> None:
        if group := picture.groups.get(service):
            states = Counter(picture.targets.get(group, {}).values())
            put.values("alb", service, "HealthyHostCount", "Count", [float(states["healthy"])])
            put.values("alb", service, "UnHealthyHostCount", "Count", [float(states["unhealthy"])])

    def _put_stores(self, put: _Put, nodes: Sequence[str]) -> None:
        load = sum(self._load[one] * _USUAL_PER_S[one] for one in _USUAL_PER_S) / TOTAL_PER_S
        load = _IDLE_SHARE + (1 - _IDLE_SHARE) * load
        database, cache = self._orders.first(DatabaseLoad), self._orders.first(RedisLoad)
        busy = {
            "CPUUtilization": load * (database.factor if database else 1),
            "ACUUtilization": load * (database.factor if database else 1),
            "EngineCPUUtilization": load * (cache.factor if cache else 1),
        }
        cluster: Dimensions = (("DBClusterIdentifier", names.DATABASE_CLUSTER),)
        for name, unit, middle in seeded.DATABASE:
            put.gauge("AWS/RDS", name, cluster, unit, middle * busy.get(name, 1), self._dice)
        for n, node in enumerate(nodes):
            one: Dimensions = (("CacheClusterId", node),)
            for name, unit, middle, less in seeded.CACHE:
                value = (middle - less * n) * busy.get(name, 1)
                put.gauge("AWS/ElastiCache", name, one, unit, value, self._dice)


class _Put:
    """Points of one moment, by what they are about."""

    def __init__(self, metrics: Metrics, picture: Picture, moment: datetime) -> None:
        self._metrics, self._picture, self._moment = metrics, picture, moment

    def values(self, about: str, what: str, name: str, unit: str, values: list[float]) -> None:
        """Of the load balancer (`what` is a service, or all), a provider, or a kind of usage."""
        match about:
            case "alb":
                whole = (("LoadBalancer", self._picture.balancer.partition(":loadbalancer/")[2]),)
                group = self._picture.groups.get(what, "")
                one = (("TargetGroup", group.rpartition(":")[2]),) if what else ()
                self._put(_ALB, name, (*one, *whole), unit, values)
            case "provider":
                self._put(names.GATEWAY_METRICS, name, (("Provider", what),), unit, values)
            case "usage":
                self._put(names.GATEWAY_METRICS, name, (("Kind", what),), unit, values)

    def service(self, namespace: str, service: str, name: str, unit: str, value: float) -> None:
        """Of one service."""
        one: Dimensions = (("ClusterName", names.CLUSTER), ("ServiceName", service))
        self._put(namespace, name, one, unit, [round(float(value), 3)])

    def gauge(
        self, namespace: str, name: str, dimensions: Dimensions, unit: str, middle: float,
        dice: random.Random,
    ) -> None:  # fmt: skip
        """A value that wanders around its middle."""
        value = max(0.0, middle * dice.gauss(1, 0.04))
        most = 100.0 if unit == "Percent" else value
        self._put(namespace, name, dimensions, unit, [round(min(value, most), 3)])

    def _put(
        self, namespace: str, name: str, dimensions: Dimensions, unit: str, values: list[float]
    ) -> None:
        self._metrics.put(namespace, name, dimensions, unit, [(self._moment, values)])
