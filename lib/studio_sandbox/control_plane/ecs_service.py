"""One service, one step at a time: rolling deployments, and the circuit breaker that ends them.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
"""

from __future__ import annotations

import math

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.moto_adapter.ecs_services import LiveService
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import LiveTask

_FEWEST_FAILURES, _MOST_FAILURES = 3, 200  # of the breaker's threshold
_SETTLE_S = 20  # from the last movement to COMPLETED


def step(service: LiveService, now: float) -> bool:
    """Bring a service one step nearer to what it wants; whether it is on its way still."""
    _break_circuit(service)
    tasks = service.tasks()
    mine = [t for t in tasks if t.wanted and t.deployment == service.primary["id"]]
    others = [t for t in tasks if t.wanted and t.deployment != service.primary["id"]]
    if service.primary["rolloutState"] != "FAILED":
        _launch(service, len(mine), len(mine) + len(others), now)
        _stop_surplus(service, mine, now)
        _stop_replaced(service, mine, others, now)
    service.retire()
    _settle(service, now)
    service.count()
    return service.rollout.moving


def threshold(desired: int) -> int:
    """How many tasks in a row may fail: half of those wanted, at least 3, at most 200."""
    return min(max(math.ceil(desired / 2), _FEWEST_FAILURES), _MOST_FAILURES)


def _break_circuit(service: LiveService) -> None:
    """Give a deployment up whose tasks keep failing, and go back if that is wanted."""
    enabled, rolls_back = service.breaker
    failed = service.primary
    if not enabled or failed["rolloutState"] != "IN_PROGRESS":
        return
    if failed["failedTasks"] < threshold(service.desired):
        return
    service.fail()
    service.event(f"(deployment {failed['id']}) deployment failed: tasks failed to start.")
    back_to = service.rollout.completed
    if rolls_back and back_to != failed["id"]:
        service.event(f"rolling back to deployment {back_to}.")
        service.deploy(
            service.rollout.completed_revision,
            deployment=back_to,
            reason=f"ECS deployment circuit breaker: rolling back to deploymentId {back_to}.",
        )


def _launch(service: LiveService, mine: int, all_wanted: int, now: float) -> None:
    room = max(service.most_tasks, service.desired) - all_wanted
    missing = min(service.desired - mine, room)
    if missing > 0 and now >= service.rollout.next_launch:
        service.rollout.moving = True
        started = service.launch(missing, now)
        service.event(f"has started {missing} tasks: {_named(started)}.")


def _stop_surplus(service: LiveService, mine: list[LiveTask], now: float) -> None:
    """Scaled in: what does not run yet goes first, then the newest in the fullest zone."""
    surplus = []
    for _ in range(len(mine) - service.desired):
        zones = [task.zone for task in mine]
        surplus.append(
            max(mine, key=lambda t: (t.status != "RUNNING", zones.count(t.zone), t.life.started))
        )
        mine.remove(surplus[-1])
    _stop(service, surplus, now)


def _stop_replaced(
    service: LiveService, mine: list[LiveTask], others: list[LiveTask], now: float
) -> None:
    """Earlier deployments give way as far as enough healthy tasks remain."""
    idle = [task for task in others if not _healthy(task)]
    serving = [task for task in others if _healthy(task)]
    healthy = sum(map(_healthy, mine)) + len(serving)
    spare = max(0, healthy - service.least_healthy)
    _stop(service, idle + serving[:spare], now)


def _stop(service: LiveService, tasks: list[LiveTask], now: float) -> None:
    if not tasks:
        return
    service.rollout.moving = True
    draining = sum(task.status == "RUNNING" for task in tasks) if service.targets else 0
    if draining:
        service.event(f"has begun draining connections on {draining} tasks.")
        for target in service.targets:
            service.event(f"deregistered {draining} targets in (target-group {target.group})")
    reason = f"Scaling activity initiated by (deployment {service.primary['id']})"
    for task in tasks:
        task.stop(now, reason=reason, code="ServiceSchedulerInitiated")
    service.event(f"has stopped {len(tasks)} running tasks: {_named(tasks)}.")


def _settle(service: LiveService, now: float) -> None:
    """Steady: as many healthy tasks as wanted, and nothing else, for a moment."""
    tasks = service.tasks()
    if any(task.status != "RUNNING" or not _healthy(task) for task in tasks):
        service.rollout.moving, service.rollout.steady_since = True, math.inf
        return
    if service.primary["rolloutState"] == "FAILED":
        service.rollout.moving = False  # it stays as it is until somebody deploys
        return
    if len(tasks) != service.desired or len(service.deployments) > 1:
        service.rollout.moving, service.rollout.steady_since = True, math.inf
    elif service.rollout.moving:
        service.rollout.steady_since = min(service.rollout.steady_since, now)
        if now - service.rollout.steady_since >= pace.seconds(_SETTLE_S):
            _steady(service)


def _steady(service: LiveService) -> None:
    if service.primary["rolloutState"] == "IN_PROGRESS":
        service.complete()
        service.event(f"(deployment {service.primary['id']}) deployment completed.")
    service.event("has reached a steady state.")
    service.rollout.moving, service.rollout.steady_since = False, math.inf


def _healthy(task: LiveTask) -> bool:
    return task.status == "RUNNING" and task.life.health == "healthy"


def _named(tasks: list[LiveTask]) -> str:
    return " ".join(f"(task {task.id})" for task in tasks)
