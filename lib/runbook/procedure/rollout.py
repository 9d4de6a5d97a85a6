"""Following deployments to their end, and saying why one did not get there.

    after = rollout.follow(rb.clients, plan.changes)
    rollout.table(after)

Each deployment is followed by its own id: COMPLETED on the wanted revision is success. When the
circuit breaker has put the old revision back, the service is stable, and the rollout has failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from runbook.change.plan import KNOWN_AFTER_APPLY, Change
from runbook.clients import Clients
from runbook.errors import Failed
from runbook.procedure import scale
from runbook.studio import definitions, deployments, ecs, github, secret_values
from runbook.studio.ecs import Service
from runbook.table import Table

_FOLLOWED = (ecs.SERVICE, ecs.RESTART, definitions.DEPLOY, github.AWAITED, secret_values.READ)


def follow(clients: Clients, changes: Iterable[Change]) -> tuple[Service, ...]:
    """Follow the deployments that these changes have begun until all are done, or have failed.

    Returns the services as they are then: COMPLETED, and no task on the way in or out. Raises
    Failed, with the reason of each one that failed, once all have come to an end.
    """
    made = {
        one.target.rpartition("/")[2]: one
        for one in changes
        if one.kind in _FOLLOWED and "task_definition" in one.after
    }
    client, cluster = clients.aws("ecs"), clients.environment.ecs.cluster
    # by now, before anything is waited for: a later one is somebody else's, or the breaker's
    begun = [ecs.read_service(client, cluster=cluster, service=name) for name in made]
    done, failed = [], []
    for service in begun:
        try:
            revision = _wanted(made[service.name], service)
            done.append(_follow_one(clients, service, revision))
        except Failed as error:
            failed.append(error.message)
    if failed:
        well = ", ".join(one.name for one in done) or "none"
        raise Failed(
            f"{' '.join(failed)} Completed: {well}.",
            next="Plan again: what is so already is left as it is. Or undo the run.",
        )
    return tuple(done)


def table(services: Iterable[Service]) -> Table:
    """Each service with its revision and how its deployment stands, to be read."""
    import pandas as pd

    rows = [
        {
            "service": one.name,
            "revision": one.task_definition,
            "deployment": one.deployment.id if one.deployment else "",
            "rollout": one.deployment.rollout_state if one.deployment else "",
            "running": one.running_count,
            "desired": one.desired_count,
        }
        for one in services
    ]
    return Table(pd.DataFrame(rows), empty="Nothing was deployed.")


def completed(services: Iterable[Service]) -> bool:
    """Whether each of these has one deployment, COMPLETED, with all of its tasks."""
    return all(
        [deployment.rollout_state for deployment in one.deployments] == ["COMPLETED"]
        and one.running_count == one.desired_count
        for one in services
    )


def _follow_one(clients: Clients, service: Service, revision: str) -> Service:
    deployments.follow(clients, service, revision=revision)
    return scale.follow(clients, service=service.name).service


def _wanted(change: Change, service: Service) -> str:
    """The revision that a change has brought; what is known after apply is what runs by now."""
    wanted = change.after["task_definition"]
    return service.task_definition if wanted == KNOWN_AFTER_APPLY else str(wanted)
