"""Waiting until services have started, as a change of its own: what follows depends on it.

All tasks that are desired run, and all targets behind the load balancer are healthy. An undo has
nothing to take back, and a run that was cut off waits again.

Kind of change: `services-started`; target `services:CLUSTER`; before and after name the
services, and whether all of them have started.
"""

from __future__ import annotations

from collections.abc import Iterable

from runbook.change.kinds import Judgement, register
from runbook.change.plan import Change, Json, matches
from runbook.clients import Clients
from runbook.record.journal import Intent
from runbook.studio import alb, ecs
from runbook.wait import Wait

KIND = "services-started"
_WITHIN_S = 1800.0  # for images that were never pulled there


def change_of(cluster: str, services: Iterable[str]) -> Change:
    """The change that waits for these services. Pure."""
    missing = dict.fromkeys(services, "not started")
    return Change(KIND, f"services:{cluster}", missing, dict.fromkeys(missing, "started"))


def has_started(clients: Clients, service: ecs.Service) -> bool:
    """Whether as many tasks run as are desired, and there are some, all of them healthy."""
    targets = alb.read_targets_of(clients.aws("elbv2"), service.target_groups)
    healthy = all(one.state == "healthy" for one in targets)
    running, desired = service.running_count, service.desired_count
    return healthy and running == desired > 0 and not service.pending_count


def _read(clients: Clients, target: str) -> Json:
    found = ecs.read_services(clients.aws("ecs"), cluster=target.removeprefix("services:"))
    return {one.name: "started" if has_started(clients, one) else "not started" for one in found}


def _held(clients: Clients, change: Change) -> bool:
    return matches(change.after, _read(clients, change.target))


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Wait. Raises DeadlinePassed after half an hour (scaled by `waits.factor`)."""
    Wait(_WITHIN_S, factor=clients.environment.waits.factor).until(
        lambda: _held(clients, change),
        what=f"{', '.join(change.after)} to run as many healthy tasks as desired",
    )


register(
    KIND,
    read=_read,
    apply=_apply,
    judge=lambda clients, change, rows: Judgement("holds" if _held(clients, change) else "to do"),
    settled=lambda clients, change, intent: _held(clients, change),
    take_back=lambda change, rows, done: None,
    regional=True,
)
