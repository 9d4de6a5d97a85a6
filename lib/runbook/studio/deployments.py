"""One deployment, followed to its end; and why it did not get there.

    deployments.follow(clients, service, revision="backend:50")
    deployments.why(clients, service, revision="backend:50")

COMPLETED on the wanted revision is success. When the circuit breaker has put the old revision
back, the service is stable, and the deployment has failed.
"""

from __future__ import annotations

from functools import partial

from runbook.clients import Clients
from runbook.errors import Failed
from runbook.studio import ecs, stopped
from runbook.studio.ecs import Service
from runbook.studio.stopped import Stopped
from runbook.wait import Wait

_ROLLOUT_S = 1800.0  # for new tasks to start and pass their checks, and old ones to be drained


def follow(clients: Clients, service: Service, *, revision: str) -> Service:
    """Follow the deployment that a service has now, by its id, until it is COMPLETED.

    Prints a line each time that it has come further. Raises Failed, with the reasons that its
    tasks stopped for and their first errors, and DeadlinePassed.
    """
    current = service.deployment
    if current is None:
        raise Failed(f"{service.name} has no deployment to follow.")
    try:
        return ecs.wait_deployed(
            clients.aws("ecs"),
            cluster=service.cluster,
            service=service.name,
            deployment=current.id,
            task_definition=revision,
            wait=Wait(_ROLLOUT_S, factor=clients.environment.waits.factor),
            watch=partial(_tell, set[str]()),
        )
    except Failed as error:
        error.message = f"{error.message} {why(clients, service, revision=revision)}".strip()
        raise


def why(clients: Clients, service: Service, *, revision: str) -> str:
    """Why tasks of a revision failed: the reasons that they stopped for, and their first errors."""
    tasks = [one for one in _failed(clients, service) if one.revision == revision]
    if not tasks:
        return ""
    reasons = "; ".join(dict.fromkeys(task.reason for task in tasks))
    lines = next(filter(None, (stopped.first_errors(clients, task) for task in tasks)), [])
    logged = f" Its log: {' | '.join(lines)}" if lines else ""
    return f"{len(tasks)} tasks of {revision} failed: {reasons}.{logged}"


def why_image(clients: Clients, service: Service, *, image: str) -> str:
    """The same of the revision with an image, whoever registered it: the newest that failed."""
    client = clients.aws("ecs")
    for revision in sorted({one.revision for one in _failed(clients, service)}, reverse=True):
        found = client.describe_task_definition(taskDefinition=revision)["taskDefinition"]
        if found["containerDefinitions"][0]["image"] == image:
            return why(clients, service, revision=revision)
    return ""


def _failed(clients: Clients, service: Service) -> tuple[Stopped, ...]:
    return stopped.read_failed(clients.aws("ecs"), cluster=service.cluster, service=service.name)


def _tell(seen: set[str], service: Service) -> None:
    """A line each time that a rollout has come further."""
    current = service.deployment
    if current is None:
        return
    line = (
        f"{service.name}: {current.running_count} of {current.desired_count} tasks of "
        f"{current.task_definition} run, {current.rollout_state}"
    )
    if line not in seen:
        seen.add(line)
        print(line, flush=True)
