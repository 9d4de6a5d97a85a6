"""What the services' tasks answer, each with what it was given when it started."""

from __future__ import annotations

import random
from collections.abc import Callable

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.behaviours import Behaviours
from studio_sandbox.control_plane.seed import traffic
from studio_sandbox.control_plane.vitals import Vitals
from studio_sandbox.data_plane import payments
from studio_sandbox.data_plane.gateway import Gateway, family_of
from studio_sandbox.data_plane.http import Request, Response, answer, page
from studio_sandbox.data_plane.load_balancer import IDLE_TIMEOUT_S, own_error
from studio_sandbox.data_plane.orders import Orders, TaskFault
from studio_sandbox.data_plane.picture import Replica
from studio_sandbox.data_plane.pulse import Pulse
from studio_sandbox.data_plane.served import Served, now, user_of
from studio_sandbox.data_plane.stores import Stores

_PREFIXES = {names.BACKEND: "/api", names.GATEWAY: "/gateway"}  # of the load balancer's paths
_NEEDS_DATABASE = (names.BACKEND, names.WORKER)
_NEEDS_REDIS = (names.BACKEND, names.GATEWAY, names.WORKER)
_SPREAD = 0.45  # of latencies around their median, as in the seeded hour
_QUEUEING = 3
_MEDIAN_MS = {(names.BACKEND, method, path): median for method, path, _, median in traffic.API} | {
    (names.FRONTEND, method, path): median for method, path, _, median in traffic.SITE
}


def missing(stores: Stores, task: Replica) -> dict[str, str]:
    """The stores that a task needs and that do not answer it, each with the reason."""
    found = {}
    if task.service in _NEEDS_DATABASE:
        found["database"] = stores.database_error(task.environment.get(names.DATABASE_URL, ""))
    if task.service in _NEEDS_REDIS:
        found["redis"] = stores.redis_error(task.environment.get(names.REDIS_URL, ""))
    return {store: error for store, error in found.items() if error}


class Services:
    """The three services behind the load balancer."""

    def __init__(
        self,
        stores: Stores,
        gateway: Gateway,
        *,
        orders: Orders,
        behaviours: Behaviours,
        vitals: Vitals,
        pulse: Pulse,
        strain: Callable[[str], float],
        dice: random.Random,
    ) -> None:
        self._stores, self._gateway, self._orders = stores, gateway, orders
        self._behaviours, self._vitals, self._dice = behaviours, vitals, dice
        self._pulse, self._strain = pulse, strain

    def serve(self, task: Replica, request: Request) -> Served:
        """What a task makes of a request, later where the CPU is asked for more than it has.

        What waits for its turn grows faster than what is asked for.
        """
        served = self._serve(task, request)
        served.seconds *= self._strain(task.service) ** _QUEUEING
        return served

    def _serve(self, task: Replica, request: Request) -> Served:
        """A known path, 401 without a user, 404."""
        path = request.path.removeprefix(_PREFIXES.get(task.service, ""))
        if failed := self._failure(task, request, path):
            return failed
        match (request.method, path.rstrip("/") or "/"):
            case ("GET" | "HEAD", "/v1/health"):
                return Served(request, self._health(task), task, 0.003)
            case ("GET" | "HEAD", "/docs" | "/v1/docs"):
                return Served(request, _docs(task), task, 0.002)
            case ("POST", _) if task.service == names.GATEWAY and family_of(path):
                return self._gateway.serve(task, request, path)
            case ("POST", payments.WEBHOOK_PATH) if task.service == names.BACKEND:
                return self._webhook(task, request)
        return self._page(task, request, path)

    def _failure(self, task: Replica, request: Request, path: str) -> Served | None:
        """What goes wrong whatever was asked for."""
        if sick := self._behaviours.of("unhealthy", task.revision, task.image):
            return Served(request, _error(sick.status), task, 0.01, logged=True)
        ordered = self._orders.all(TaskFault, service=task.service)
        fault = next((one for one in ordered if task.image.endswith(one.image)), None)
        if not fault or path == "/v1/health" or self._dice.random() >= fault.share:
            return None
        match fault.how:
            case "cut":
                return Served(request, own_error(502), None, 0.01)
            case "silent":
                return Served(request, own_error(504), None, IDLE_TIMEOUT_S)
        served = Served(request, _error(500), task, 0.02, logged=True)
        served.note("ERROR", "unhandled exception in ASGI application")
        return served

    def _webhook(self, task: Replica, request: Request) -> Served:
        import psycopg2
        import redis

        served = Served(request, _error(500), task, 0.02, logged=True)
        try:
            served.response = payments.receive(self._stores, task, request)
        except (psycopg2.Error, redis.RedisError) as error:
            served.note("ERROR", f"payment webhook not taken: {' '.join(str(error).split())}")
        return served

    def _page(self, task: Replica, request: Request, path: str) -> Served:
        median_ms = _MEDIAN_MS.get((task.service, request.method, path))
        if median_ms is None and task.service != names.FRONTEND:
            return Served(request, answer(404, {"detail": "Not Found"}), task, 0.002, logged=True)
        seconds = (median_ms or 30) / 1000 * self._dice.lognormvariate(0, _SPREAD)
        if task.service == names.FRONTEND:
            found = page(200, "Pulse AI Studio", "<p>استوديو الذكاء الاصطناعي</p>")
            return Served(request, found, task, seconds, logged=True)
        if not user_of(request):
            found = answer(401, {"detail": "Not authenticated"})
            return Served(request, found, task, 0.002, logged=True)
        if self._vitals.of("unhealthy", task.id):  # why, stands in its log since it was found out
            return Served(request, _error(500), task, seconds, logged=True)
        felt = self._pulse.of(task.environment.get(names.DATABASE_URL, ""))
        served = Served(request, answer(200, {}), task, seconds + felt.seconds, logged=True)
        if felt.error:
            served.response = _error(500)
            served.note("ERROR", f"database: {felt.error}")
        return served

    def _health(self, task: Replica) -> Response:
        wrong = missing(self._stores, task)
        found = {"status": "unhealthy" if wrong else "healthy", "timestamp": now()}
        return answer(503 if wrong else 200, found | ({"errors": sorted(wrong)} if wrong else {}))


def _docs(task: Replica) -> Response:
    title = f"{task.service} - Swagger UI"
    return page(200, title, f"<p>{task.service} {task.image.rpartition(':')[2][:12]}</p>")


def _error(status: int) -> Response:
    return page(status, "Internal Server Error")
