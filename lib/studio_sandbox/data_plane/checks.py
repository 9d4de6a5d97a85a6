"""Whether each task can do its work: asked outside of moto's lock, acted upon by the scheduler."""

from __future__ import annotations

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.behaviours import Behaviour
from studio_sandbox.data_plane import services
from studio_sandbox.data_plane.picture import Picture, Replica
from studio_sandbox.data_plane.served import line
from studio_sandbox.data_plane.stores import Stores

_UNHEALTHY = 503


def found(picture: Picture, stores: Stores) -> dict[str, Behaviour | None]:
    """How each task fails, None where it does not. Tasks with the same settings are asked once."""
    asked: dict[tuple[str, ...], Behaviour | None] = {}
    tasks = {}
    for task in picture.replicas:
        urls = (names.DATABASE_URL, names.REDIS_URL)
        key = (task.service, *(task.environment.get(url, "") for url in urls))
        if key not in asked:
            asked[key] = _failure(task, stores)
        tasks[task.id] = asked[key]
    return tasks


def _failure(task: Replica, stores: Stores) -> Behaviour | None:
    wrong = services.missing(stores, task)
    if not wrong:
        return None
    lines = [line("ERROR", f"{store} unreachable: {error}") for store, error in wrong.items()]
    if task.service == names.WORKER:  # Celery gives up when it cannot reach them at its start
        return Behaviour("crash", task.revision, exit_code=1, log=lines)
    return Behaviour("unhealthy", task.revision, status=_UNHEALTHY, log=lines)
