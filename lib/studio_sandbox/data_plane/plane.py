"""The threads that make the Studio move, and how they stand still while it is replaced."""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.behaviours import Behaviours
from studio_sandbox.control_plane.moto_adapter import core, elasticache, logs
from studio_sandbox.control_plane.scheduler import Scheduler
from studio_sandbox.control_plane.seed.releases import Release
from studio_sandbox.control_plane.studio import SEED
from studio_sandbox.control_plane.vitals import Vitals
from studio_sandbox.data_plane import checks, load_balancer, orders, picture
from studio_sandbox.data_plane.counts import Counts
from studio_sandbox.data_plane.gateway import Gateway
from studio_sandbox.data_plane.github import GitHub
from studio_sandbox.data_plane.http import Request, Response
from studio_sandbox.data_plane.hyperpay import HyperPay
from studio_sandbox.data_plane.orders import KeyRevoked, Orders, UsageUnwritten
from studio_sandbox.data_plane.payments import CHECKOUT_PATH, Checkouts
from studio_sandbox.data_plane.picture import Picture, Replica
from studio_sandbox.data_plane.providers import PROVIDERS, Providers
from studio_sandbox.data_plane.pulse import Pulse
from studio_sandbox.data_plane.rollout import Rollout, Tell
from studio_sandbox.data_plane.scaling import Scaling
from studio_sandbox.data_plane.served import Served, line, user_of
from studio_sandbox.data_plane.services import Services
from studio_sandbox.data_plane.slack import Slack
from studio_sandbox.data_plane.stores import Stores
from studio_sandbox.data_plane.traffic import Traffic
from studio_sandbox.data_plane.usage import Meter
from studio_sandbox.data_plane.worker import Worker, enqueue

_CHECK_EVERY_S = 0.5  # 30 s on AWS
_TRAFFIC_EVERY_S = 0.1
_WORK_EVERY_S = 0.5
_PUBLISH_EVERY_S = 2.0
_FLUSH_EVERY_S = 3.0
_TIDY_EVERY_S = 60.0
_LOGS_KEPT_S = 6 * 3600  # memory is not to grow, though AWS would keep them for a month
_METERED_SHARE = 0.12  # of requests whose metering is logged, as in the seeded hour
_USERS = """
    SELECT users.id::text FROM users JOIN subscriptions ON user_id = users.id
    WHERE is_active AND status = 'active' ORDER BY users.created_at, users.id LIMIT 200
"""


class Beat:
    """A thread that does one thing again and again, from `go` until `hold`."""

    def __init__(self, name: str, every_s: float, step: Callable[[], None]) -> None:
        self._name, self._every_s, self._step = name, every_s, step
        self._going = threading.Event()
        self._step_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def go(self) -> None:
        """Begin, or go on."""
        self._going.set()
        if not self._thread.is_alive():
            self._thread.start()

    def hold(self) -> None:
        """Stand still: no step is under way any more when this returns."""
        self._going.clear()
        with self._step_lock:
            pass

    def _run(self) -> None:
        while self._going.wait():
            with self._step_lock:
                if self._going.is_set():
                    self._try()
            time.sleep(self._every_s)

    def _try(self) -> None:
        try:
            self._step()
        except Exception:  # one bad step must not end the thread for good
            print(f"{self._name}:", file=sys.stderr)
            traceback.print_exc(file=sys.stderr)


class DataPlane:
    """Everything that happens by itself, and what it shares with the endpoints."""

    def __init__(
        self,
        account: str,
        regions: tuple[str, ...],
        *,
        lost_region: Callable[[], str],
        scheduler: Scheduler,
        behaviours: Behaviours,
        vitals: Vitals,
        note_call: Tell,
        releases: list[Release],
    ) -> None:
        self._account, self._regions, self._region = account, regions, regions[0]
        region, self._lost_region = regions[0], lost_region
        self._scheduler, self._vitals = scheduler, vitals
        self._note_call = note_call
        self._dice = random.Random(SEED)  # noqa: S311  believable, not secret
        self.orders = Orders()
        self.stores = Stores(self.orders)
        self.providers = Providers(self.orders)
        self._meter = Meter(self.stores)
        self._pulse = Pulse(self.stores)
        self._services = Services(
            self.stores,
            Gateway(self.stores, self.providers, self._dice),
            orders=self.orders,
            behaviours=behaviours,
            vitals=vitals,
            pulse=self._pulse,
            strain=lambda service: self._counts.strain.get(service, 1.0),
            dice=self._dice,
        )
        self._counts = Counts(account, region, self.orders, self._dice)
        self._traffic = Traffic(self.orders, serve=self._ask, finish=self.finish, seed=SEED)
        self._scaling = Scaling(account, region)
        self.hyperpay = HyperPay(
            self.orders,
            send=self._send,
            key=lambda: picture.secret(account, region, names.HYPERPAY_KEY),
        )
        self.slack = Slack()
        self.github = GitHub(
            self.orders, lambda services, sha: Rollout(account, region, services, sha, self._tell)
        )
        self._checkouts = Checkouts(self.stores, self.hyperpay, SEED)
        self._worker = Worker(self.stores, self.orders, self._say, SEED)
        self._videos: deque[Served] = deque()
        self._written: deque[tuple[Replica, str]] = deque()
        self._begun = False
        self._beats = [
            Beat("checks", _CHECK_EVERY_S, self._check),
            Beat("traffic", _TRAFFIC_EVERY_S, self._move),
            Beat("work", _WORK_EVERY_S, self._work),
            Beat("pulse", _CHECK_EVERY_S, self._feel),
            Beat("usage", _FLUSH_EVERY_S, self._flush),
            Beat("metrics", _PUBLISH_EVERY_S, self._publish),
            Beat("tidy", _TIDY_EVERY_S, self._tidy),
        ]
        self.go(releases)

    # from outside

    def picture(self) -> Picture:
        """The Studio as it is now, in the region that its names lead to."""
        region, balancer = picture.served_from(self._account, self._regions)
        if region == self._lost_region():
            return picture.nothing(region)
        return picture.take(self._account, region, balancer)

    def begin(self) -> None:
        """Let things happen: the servers are filled."""
        self._begun = True
        self._beat()

    def hold(self) -> None:
        """Stand still while everything is replaced, and forget what is under way."""
        for beat in self._beats:
            beat.hold()
        self._vitals.clear()
        self._meter.drop()
        self._pulse.forget()
        self.stores.keep_only(set())
        self._written.clear()
        self._videos.clear()

    def go(self, releases: list[Release]) -> None:
        """Start anew with the Studio as it is now and its releases; a still one stays still."""
        self.orders.clear()
        self._picture = self.picture()  # the seeded tasks are given their secrets as they are now
        self._traffic.begin()
        self._counts.begin()
        self._scaling.begin()
        self._worker.begin()
        self._checkouts.begin()
        self.hyperpay.begin()
        self.slack.begin()
        self.github.begin(releases)
        if self._begun:
            self._beat()

    def order(self, given: list[dict[str, Any]]) -> None:
        """Order what a drill wants. Raises ValueError or TypeError for what cannot be ordered."""
        made = [orders.made(one) for one in given]
        self.orders.add([self._named(one) for one in made])

    def told(self) -> dict[str, Any]:
        """What is ordered, what there is to order, and what has been going on."""
        done = {"requests": self._counts.total, "usage_unwritten": self._meter.pending}
        return {**self.orders.told(), **done}

    def serve(self, now: Picture, request: Request) -> Served:
        """Let a request pass the load balancer; what it leaves behind is still to be finished."""
        chosen = load_balancer.route(now, request, self._dice)
        if isinstance(chosen, Response):
            return Served(request, chosen)
        return self._services.serve(chosen, request)

    def finish(self, served: Served) -> None:
        """Count a request that has been answered, log it, meter it. A still Studio does not."""
        if not self._begun:
            return
        if served.used and served.task:
            self._count_usage(served, served.task)
        self._counts.add(served)
        if served.task:
            self._written.extend((served.task, text) for text in served.lines())
        if served.used and served.used.kind == "video":
            self._videos.append(served)
        if served.request.path.endswith(CHECKOUT_PATH) and served.response.status == 200:
            self._checkouts.ask()

    # by itself

    def _beat(self) -> None:
        self._published = time.monotonic()
        for beat in self._beats:
            beat.go()

    def _tell(self, action: str, parameters: dict[str, Any]) -> None:
        self._scheduler.wake()
        self._note_call(action, parameters)

    def _named(self, order: Any) -> Any:
        """A key is revoked that is current now, unless it is given."""
        if not isinstance(order, KeyRevoked) or order.key:
            return order
        key = picture.secret(self._account, self._region, PROVIDERS[order.provider].secret)
        return KeyRevoked(order.provider, key)

    def _ask(self, request: Request) -> Served:
        return self.serve(self._picture, request)

    def _send(self, request: Request) -> Response:
        """A request of somebody outside, answered at once."""
        served = self.serve(self.picture(), request)
        self.finish(served)
        return served.response

    def _say(self, task: Replica, text: str) -> None:
        self._written.append((task, text))

    def _count_usage(self, served: Served, task: Replica) -> None:
        import redis

        assert served.used  # noqa: S101  asked before
        used = served.used
        try:
            self._meter.count(task.environment.get(names.REDIS_URL, ""), used)
        except redis.RedisError as error:
            served.used = None
            served.note("ERROR", f"usage_meter: not counted: {error}", kind=used.kind)
            return
        if self._dice.random() < _METERED_SHARE:
            served.note("INFO", "usage_meter counted", kind=used.kind, amount=used.amount)

    def _check(self) -> None:
        lost = self._lost_region()
        pictures = [picture.take(self._account, one) for one in self._regions if one != lost]
        tasks = [task for now in pictures for task in now.replicas]
        urls = {url for task in tasks for url in task.environment.values()}
        found = [checks.found(now, self.stores) for now in pictures]
        if self._vitals.note({task: how for one in found for task, how in one.items()}):
            self._scheduler.wake()
        self.stores.keep_only(urls)

    def _feel(self) -> None:
        self._pulse.feel(self._picture)

    def _move(self) -> None:
        self._picture = self.picture()
        self._traffic.step(time.monotonic())
        self._write()

    def _write(self) -> None:
        with core.LOCK:
            while self._written:
                task, text = self._written.popleft()
                stream = f"ecs/{names.container(task.service)}/{task.id}"
                group = names.LOG_GROUPS[task.service]
                logs.append(self._account, task.region, group, stream, text)

    def _able(self) -> Replica | None:
        """A task of the backend that reaches its stores."""
        tasks = self._picture.running(names.BACKEND)
        return next((one for one in tasks if not self._vitals.of("unhealthy", one.id)), None)

    def _work(self) -> None:
        """Customers pay, videos are asked for, workers work: as far as the stores answer."""
        import psycopg2
        import redis

        self.github.step()
        workers, backend = self._picture.running(names.WORKER), self._able()
        for task, step in (
            (backend, lambda task: self._checkouts.step(time.monotonic(), task)),
            (backend, self._ask_for_videos),
            (workers[0] if workers else None, lambda _task: self._worker.step(workers)),
        ):
            if task is None:
                continue
            try:
                step(task)
            except (psycopg2.Error, redis.RedisError) as error:
                self._say(task, line("ERROR", " ".join(str(error).split())))

    def _ask_for_videos(self, task: Replica) -> None:
        import psycopg2

        cache = self.stores.redis(task.environment.get(names.REDIS_URL, ""))
        while self._videos:
            user = user_of(self._videos[0].request)
            try:
                with self.stores.database(task.environment.get(names.DATABASE_URL, "")) as cursor:
                    enqueue(cursor, cache, "video_gen", user, {"seconds": 8})
            except (psycopg2.IntegrityError, psycopg2.DataError) as error:
                self._say(task, line("ERROR", f"no job for {user!r}: {error.diag.message_primary}"))
            self._videos.popleft()

    def _flush(self) -> None:
        """The backend moves usage to the database, when one of its tasks can."""
        import psycopg2
        import redis

        task = self._able()
        if task is None:
            return
        given = task.environment
        database, cache = given.get(names.DATABASE_URL, ""), given.get(names.REDIS_URL, "")
        try:
            if not self._traffic.users:
                with self.stores.database(database) as cursor:
                    cursor.execute(_USERS)
                    self._traffic.users = [row[0] for row in cursor.fetchall()]
            if not self.orders.first(UsageUnwritten):
                self._meter.flush(database, cache)
        except (psycopg2.Error, redis.RedisError) as error:
            reason = " ".join(str(error).split())
            self._say(task, line("ERROR", f"usage_meter: {reason}"))

    def _publish(self) -> None:
        if self._picture.region == self._lost_region():
            return
        now = time.monotonic()
        since_s, self._published = max(0.1, now - self._published), now
        with core.LOCK:
            nodes = elasticache.nodes(self._account, self._region, names.REDIS_GROUP)
        self._counts.publish(self._picture, since_s=since_s, nodes=nodes)
        if self._scaling.step(now, self._counts.cpu):
            self._scheduler.wake()

    def _tidy(self) -> None:
        self._counts.thin_out()
        before_ms = int((time.time() - _LOGS_KEPT_S) * 1000)
        with core.LOCK:
            for group in names.LOG_GROUPS.values():
                logs.forget(self._account, self._region, group, before_ms)
