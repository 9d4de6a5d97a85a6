"""ECS: services, what they run and how many, and the deployments that get them there.

`UpdateService` has no client token, so it is sent once; after an error the service is read, and
what is found there decides. That a service *reads* as wanted is what applying verifies;
`wait_deployed` follows the deployment until its tasks run.

Kinds of change: `ecs-service` (revision, number of tasks) and `ecs-restart` (the same revision in
new tasks); their target is `ecs:CLUSTER/SERVICE`.

Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotVerified
from runbook.record.journal import Intent
from runbook.wait import DeadlinePassed, Wait

SERVICE, RESTART = "ecs-service", "ecs-restart"
_EVENTS = 5  # that an error tells
_AT_ONCE = 10  # services that DescribeServices takes


@dataclass(frozen=True)
class Deployment:
    """One deployment of a service. `status` is PRIMARY for the one that ECS works towards."""

    id: str
    status: str
    task_definition: str
    rollout_state: str
    rollout_reason: str
    desired_count: int
    running_count: int
    failed_tasks: int
    created_at: datetime | None


@dataclass(frozen=True)
class Service:
    """A service as it stands; events newest first, `task_definition` as `family:revision`."""

    cluster: str
    name: str
    task_definition: str
    desired_count: int
    running_count: int
    pending_count: int
    deployments: tuple[Deployment, ...]
    events: tuple[str, ...] = ()
    target_groups: tuple[str, ...] = ()  # ARNs
    security_groups: tuple[str, ...] = ()  # ids, of its tasks

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"ecs:{self.cluster}/{self.name}"

    @property
    def deployment(self) -> Deployment | None:
        """The deployment that ECS works towards; None for a service that has none."""
        return next((one for one in self.deployments if one.status == "PRIMARY"), None)


@dataclass(frozen=True)
class Size:
    """What one task of a revision has."""

    vcpu: float
    gib: float


@dataclass(frozen=True)
class Reference:
    """A setting that a live revision takes from elsewhere; `value_from` as it is written there."""

    service: str
    revision: str
    name: str
    value_from: str


def read_service(ecs: Any, *, cluster: str, service: str) -> Service:
    """One service. Raises BadInput when the cluster has no such active service.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
    """
    found = _find(ecs, cluster, service)
    if found is None:
        raise BadInput(f"The cluster {cluster} has no active service {service}.")
    return found


def read_services(ecs: Any, *, cluster: str) -> tuple[Service, ...]:
    """All active services of a cluster, by name. Raises BadInput when there is no such cluster.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html
    """
    return tuple(_service(cluster, one) for one in _described(ecs, cluster))


def read_events(ecs: Any, *, cluster: str) -> list[tuple[datetime, str]]:
    """What ECS wrote of the cluster's services, oldest first: the last hundred of each."""
    told = [event for one in _described(ecs, cluster) for event in one.get("events", ())]
    return sorted((event["createdAt"], event["message"]) for event in told)


def _described(ecs: Any, cluster: str) -> list[dict[str, Any]]:
    """Every active service as ECS describes it, by name."""
    pages = ecs.get_paginator("list_services").paginate(
        cluster=cluster, PaginationConfig={"PageSize": _AT_ONCE}
    )
    found = []
    try:
        for page in pages:
            if page["serviceArns"]:
                answer = ecs.describe_services(cluster=cluster, services=page["serviceArns"])
                found += [one for one in answer["services"] if one["status"] != "INACTIVE"]
    except ecs.exceptions.ClusterNotFoundException as error:
        raise BadInput(f"There is no cluster {cluster!r}.") from error
    return sorted(found, key=lambda service: service["serviceName"])


def read_named(ecs: Any, *, cluster: str, names: str, order: Iterable[str]) -> tuple[Service, ...]:
    """The services of these names (commas between; empty: all), as they are deployed.

    Raises BadInput for one that is not there, with those that are.
    """
    found, wanted = read_services(ecs, cluster=cluster), named_in(names)
    there = [one.name for one in found]
    if unknown := [name for name in wanted if name not in there]:
        raise BadInput(
            f"services: the cluster has no {', '.join(unknown)}.", next=f"It has {', '.join(there)}"
        )
    return in_order((one for one in found if one.name in wanted or not wanted), order)


def named_in(names: str) -> tuple[str, ...]:
    """Names with commas between, one by one. Pure."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def in_order(services: Iterable[Service], order: Iterable[str]) -> tuple[Service, ...]:
    """Services as they are deployed; those that the order does not name come last, by name."""
    places = {name: place for place, name in enumerate(order)}
    return tuple(sorted(services, key=lambda one: (places.get(one.name, len(places)), one.name)))


def read_size(ecs: Any, *, task_definition: str) -> Size:
    """The CPU and memory of one task of a revision.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
    """
    found = ecs.describe_task_definition(taskDefinition=task_definition)["taskDefinition"]
    return Size(vcpu=int(found["cpu"]) / 1024, gib=int(found["memory"]) / 1024)


def read_tags(ecs: Any, services: Iterable[Service]) -> dict[str, str]:
    """The tag of each service's image, which names its commit; of its first container."""
    found = {}
    for service in services:
        answer = ecs.describe_task_definition(taskDefinition=service.task_definition)
        image = answer["taskDefinition"]["containerDefinitions"][0]["image"]
        found[service.name] = image.rpartition(":")[2]
    return found


def list_task_ids(ecs: Any, *, cluster: str) -> frozenset[str]:
    """Ids of a cluster's tasks: those that run, and those that stopped within the last hour."""
    found: set[str] = set()
    for status in ("RUNNING", "STOPPED"):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus=status)
        found |= {arn.rpartition("/")[2] for page in pages for arn in page["taskArns"]}
    return frozenset(found)


def read_started(ecs: Any, *, cluster: str, service: str) -> list[datetime]:
    """When each running task of a service began; those that have begun.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
    """
    pages = ecs.get_paginator("list_tasks").paginate(
        cluster=cluster, serviceName=service, PaginationConfig={"PageSize": 100}
    )
    found: list[datetime] = []
    for page in pages:
        if page["taskArns"]:
            answer = ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])
            found += [one["startedAt"] for one in answer["tasks"] if one.get("startedAt")]
    return found


def read_references(ecs: Any, services: Iterable[Service]) -> tuple[Reference, ...]:
    """What the live task definitions of these services take from elsewhere: never a value.

    Every deployment counts: while one rolls out, two revisions are live.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html
    """
    found = []
    for service in services:
        live = {service.task_definition, *(one.task_definition for one in service.deployments)}
        for revision in sorted(live):
            answer = ecs.describe_task_definition(taskDefinition=revision)
            for container in answer["taskDefinition"]["containerDefinitions"]:
                found += [
                    Reference(service.name, revision, name, value)
                    for name, value in _taken(container)
                ]
    return tuple(found)


def plan_scale(service: Service, *, desired_count: int) -> Plan:
    """The plan that sets how many tasks a service runs; without changes when it is so already.

    Pure. Raises BadInput for a count below zero.
    """
    if desired_count < 0:
        raise BadInput(f"desired_count: expected 0 or more, found {desired_count}.")
    warnings = []
    if desired_count == 0:
        warnings.append(f"Without tasks {service.name} does not answer at all.")
    return Plan(
        title=f"Scale {service.name} from {service.desired_count} to {desired_count} tasks",
        risk="low" if desired_count else "high",
        changes=_unless_so(service, {"desired_count": desired_count}),
        way_back=f"undo sets it back to {service.desired_count}, unless it was changed since.",
        warnings=tuple(warnings),
    )


def plan_revision(service: Service, *, task_definition: str) -> Plan:
    """The plan that deploys a revision (`family:revision`) to a service.

    Pure; without changes when the service is on that revision already. Raises BadInput for a
    name without a revision: what is reviewed is one revision and not whatever is latest then.
    """
    wanted = _short(task_definition)
    if not wanted.rpartition(":")[2].isdecimal():
        raise BadInput(f"task_definition: expected family:revision, found {task_definition!r}.")
    warnings = []
    if wanted.rpartition(":")[0] != service.task_definition.rpartition(":")[0]:
        warnings.append(f"{wanted} is of another family than {service.task_definition}.")
    return Plan(
        title=f"Deploy {wanted} to {service.name}",
        risk="high",
        changes=_unless_so(service, {"task_definition": wanted}),
        way_back=f"undo deploys {service.task_definition} again: one more rolling deployment.",
        warnings=tuple(warnings),
    )


def plan_restart(service: Service) -> Plan:
    """The plan that replaces all tasks of a service by new ones of the same revision. Pure.

    Raises BadInput when the service has no deployment to begin from.
    """
    current = service.deployment
    if current is None:
        raise BadInput(f"{service.name} has no deployment, so there is nothing to restart.")
    same = {"task_definition": service.task_definition}
    change = Change(
        RESTART,
        service.target,
        before={"deployment": current.id, **same},
        after={"deployment": KNOWN_AFTER_APPLY, **same},
    )
    return Plan(
        title=f"Restart {service.name} ({service.desired_count} tasks)",
        risk="low",
        changes=(change,),
        way_back="Nothing to take back: the same revision runs in new tasks.",
        warnings=tuple(_in_progress(current)),
    )


def wait_deployed(
    ecs: Any,
    *,
    cluster: str,
    service: str,
    deployment: str,
    task_definition: str,
    wait: Wait,
    watch: Callable[[Service], None] = lambda service: None,
) -> Service:
    """Follow one deployment by its id until it is COMPLETED on the wanted revision.

    `watch` is shown the service each time it was looked at. Returns the service as it is then.
    Raises Failed, with the latest events, when the circuit breaker gave it up, when another
    deployment took its place, or when it is of another revision; DeadlinePassed when it is still
    on its way after the wait.

    `services_stable` is no help here: it also passes after a rollback.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """
    wanted, seen = _short(task_definition), list[Service]()

    def completed() -> Service | None:
        seen[:] = [read_service(ecs, cluster=cluster, service=service)]
        watch(seen[0])
        return seen[0] if _is_completed(seen[0], deployment, wanted) else None

    try:
        return wait.until(completed, what=f"{deployment} of {service} to be COMPLETED")
    except DeadlinePassed as late:
        raise DeadlinePassed(f"{late.message} {_told(seen[0])}", next=late.next) from late


def _is_completed(service: Service, deployment: str, wanted: str) -> bool:
    """Whether that deployment is done; False while it is on its way. Raises Failed."""
    mine = next((one for one in service.deployments if one.id == deployment), None)
    if mine is None:
        _fail(service, f"{deployment} is gone", _took_over(service))
    if mine.rollout_state == "FAILED":
        _fail(service, f"{deployment} has failed", mine.rollout_reason, _took_over(service))
    if mine.status != "PRIMARY":
        _fail(service, f"{deployment} was replaced", _took_over(service))
    if mine.task_definition != wanted:
        _fail(service, f"{deployment} is of {mine.task_definition}, not of {wanted}")
    return mine.rollout_state == "COMPLETED" and mine.running_count >= mine.desired_count


def _took_over(service: Service) -> str:
    now = service.deployment
    return f"now it is {now.id} of {now.task_definition}: {now.rollout_reason}" if now else ""


def _fail(service: Service, *reasons: str) -> NoReturn:
    told = ", ".join(reason.rstrip(".") for reason in reasons if reason)
    raise Failed(
        f"{service.name}: {told}. {_told(service)}",
        next="Look at its stopped tasks and their logs before deploying again.",
    )


def _told(service: Service) -> str:
    latest = service.events[:_EVENTS]
    return f"Latest events: {' | '.join(latest)}" if latest else "It has no events."


def _in_progress(deployment: Deployment) -> list[str]:
    if deployment.rollout_state != "IN_PROGRESS":
        return []
    return [f"{deployment.id} is still being rolled out; this replaces it."]


def _unless_so(service: Service, wanted: Mapping[str, Json]) -> tuple[Change, ...]:
    """The change of just the keys that differ."""
    after = {key: value for key, value in wanted.items() if getattr(service, key) != value}
    before = {key: getattr(service, key) for key in after}
    return (Change(SERVICE, service.target, before, after),) if after else ()


def _find(ecs: Any, cluster: str, service: str) -> Service | None:
    answer = ecs.describe_services(cluster=cluster, services=[service])
    active = [one for one in answer["services"] if one["status"] != "INACTIVE"]
    return _service(cluster, active[0]) if active else None


def _service(cluster: str, found: Mapping[str, Any]) -> Service:
    return Service(
        cluster=cluster,
        name=found["serviceName"],
        task_definition=_short(found["taskDefinition"]),
        desired_count=found["desiredCount"],
        running_count=found["runningCount"],
        pending_count=found["pendingCount"],
        deployments=_deployments(found.get("deployments", ())),
        events=tuple(event["message"] for event in found.get("events", ())),
        target_groups=tuple(one["targetGroupArn"] for one in found.get("loadBalancers", ())),
        security_groups=tuple(
            found.get("networkConfiguration", {})
            .get("awsvpcConfiguration", {})
            .get("securityGroups", ())
        ),
    )


def _deployments(found: Sequence[Mapping[str, Any]]) -> tuple[Deployment, ...]:
    return tuple(
        Deployment(
            id=one["id"],
            status=one["status"],
            task_definition=_short(one["taskDefinition"]),
            rollout_state=one.get("rolloutState", ""),
            rollout_reason=one.get("rolloutStateReason", ""),
            desired_count=one["desiredCount"],
            running_count=one["runningCount"],
            failed_tasks=one.get("failedTasks", 0),
            created_at=one.get("createdAt"),
        )
        for one in found
    )


def _taken(container: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and sources of what ECS hands to a container, or needs itself to start it."""
    logged = container.get("logConfiguration", {}).get("secretOptions", ())
    taken = [(one["name"], one["valueFrom"]) for one in (*container.get("secrets", ()), *logged)]
    registry = container.get("repositoryCredentials", {}).get("credentialsParameter")
    return taken + ([("the registry's password", registry)] if registry else [])


def _short(task_definition: str) -> str:
    """`family:revision`, of an ARN too: account and region are the environment's."""
    return task_definition.rsplit("/", 1)[-1]


def named(target: str) -> tuple[str, str]:
    """Cluster and service of a target."""
    cluster, _, service = target.removeprefix("ecs:").partition("/")
    return cluster, service


# the kinds of change


def _read(clients: Clients, target: str) -> Json:
    cluster, service = named(target)
    found = _find(clients.aws("ecs"), cluster, service)
    if found is None:
        return None
    return {
        "task_definition": found.task_definition,
        "desired_count": found.desired_count,
        "deployment": found.deployment.id if found.deployment else "",
    }


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    cluster, service = named(change.target)
    names = {"task_definition": "taskDefinition", "desired_count": "desiredCount"}
    wanted = {names[key]: value for key, value in change.after.items()}
    clients.aws("ecs", once=True).update_service(cluster=cluster, service=service, **wanted)


def _measure(change: Change) -> Mapping[str, float]:
    """Tasks that are added or removed, and how much of the service that is, in per cent.

    A service that has no task is started: of nothing there is no share.
    """
    if "desired_count" not in change.after:
        return {}
    before, after = change.before["desired_count"], change.after["desired_count"]
    tasks = abs(after - before)
    return {"tasks": tasks, **({"percentage": 100 * tasks / before} if before else {})}


def _restart(clients: Clients, change: Change, intent: Intent) -> None:
    """Force a new deployment. Raises NotVerified when the answer shows the old one."""
    cluster, service = named(change.target)
    answer = clients.aws("ecs", once=True).update_service(
        cluster=cluster, service=service, forceNewDeployment=True
    )
    made = _service(cluster, answer["service"]).deployment
    if made is None or made.id == change.before["deployment"]:
        raise NotVerified(f"{service} was told to restart and still has its old deployment.")


def _judge_restart(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while the deployment is the one of the plan: a newer one has new tasks already."""
    found = _read(clients, change.target)
    if matches(change.before, found):
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def _restarted(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """A new deployment of the same revision is ours: we hold the lock. Another revision is not."""
    found = _read(clients, change.target)
    if matches(change.before, found):
        return False
    return True if matches(change.after, found) else None


register(SERVICE, read=_read, apply=_apply, measure=_measure, regional=True)
register(
    RESTART,
    read=_read,
    apply=_restart,
    judge=_judge_restart,
    settled=_restarted,
    take_back=lambda change, rows, done: None,  # new tasks of the same revision: nothing is owed
)
