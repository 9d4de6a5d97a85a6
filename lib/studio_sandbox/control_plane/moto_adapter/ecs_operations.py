"""CreateService, UpdateService, RunTask and StopTask: what they check, and what they set going.

They only say what is wanted; the scheduler makes it so.
Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
"""

from __future__ import annotations

import time
from typing import Any

from studio_sandbox.control_plane import names, one_off
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.moto_adapter.ecs_services import LiveService
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import Launch, LiveTask, launch

_CREATES = {
    "cluster", "serviceName", "taskDefinition", "loadBalancers", "desiredCount", "launchType",
    "platformVersion", "deploymentConfiguration", "networkConfiguration", "schedulingStrategy",
    "healthCheckGracePeriodSeconds", "enableExecuteCommand", "propagateTags", "tags",
    "enableECSManagedTags", "clientToken",
}  # fmt: skip
_UPDATES = {
    "cluster", "service", "desiredCount", "taskDefinition", "forceNewDeployment",
    "deploymentConfiguration", "healthCheckGracePeriodSeconds", "enableExecuteCommand",
    "propagateTags",
}  # fmt: skip
_RUNS = {
    "cluster", "taskDefinition", "count", "overrides", "launchType", "networkConfiguration",
    "startedBy", "group", "tags", "platformVersion", "clientToken", "enableExecuteCommand",
    "enableECSManagedTags", "propagateTags",
}  # fmt: skip
_MOST_TASKS = 10  # of one RunTask


def patch() -> None:
    """Replace moto's four, which change figures and move no task."""
    from moto.ecs import responses

    response = responses.EC2ContainerServiceResponse
    response.create_service = _create_service
    response.update_service = _update_service
    response.run_task = _run_task
    response.stop_task = _stop_task


def _create_service(self: Any) -> Any:
    """One of the Studio's services, in a region that has not got it: its tasks start."""
    from moto.core.responses import ActionResult

    asked = _asked(self, "CreateService", _CREATES)
    cluster, name = asked.get("cluster") or "default", asked["serviceName"]
    if name not in names.SERVICES:
        raise NotInSandbox("CreateService: the four services are there; none is added")
    if f"{cluster}:{name}" in self.ecs_backend.services:
        raise _error("InvalidParameterException", "Creation of service was not idempotent.")
    _refuse_without_network(asked)
    made = self.ecs_backend.create_service(
        cluster,
        name,
        int(asked.get("desiredCount") or 0),
        task_definition_str=_revision(self, asked["taskDefinition"]).arn,
        load_balancers=asked.get("loadBalancers"),
        tags=asked.get("tags"),
        launch_type="FARGATE",
        platform_version="LATEST",
        propagate_tags=asked.get("propagateTags") or "NONE",
        network_configuration={
            "awsvpcConfiguration": {
                "securityGroups": [],
                **asked["networkConfiguration"]["awsvpcConfiguration"],
            }
        },
    )
    made.health_check_grace_period_seconds = asked.get("healthCheckGracePeriodSeconds")
    made.enable_execute_command = bool(asked.get("enableExecuteCommand"))
    LiveService.begin(self.current_account, self.region, made, asked.get("deploymentConfiguration"))
    return ActionResult({"service": made})


def _refuse_without_network(asked: dict[str, Any]) -> None:
    network = asked.get("networkConfiguration") or {}
    if not network.get("awsvpcConfiguration", {}).get("subnets"):
        raise _error(
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )


def _update_service(self: Any) -> Any:
    """A new deployment when the revision changes or one is forced; else only what is set."""
    from moto.core.responses import ActionResult

    asked = _asked(self, "UpdateService", _UPDATES)
    name = asked["service"].rsplit("/", 1)[-1]
    found = self.ecs_backend._get_service(asked.get("cluster") or "default", name)
    if found.status != "ACTIVE":
        raise _error("ServiceNotActiveException", "Service was not ACTIVE.")
    revision = _revision(self, asked.get("taskDefinition") or found.task_definition)
    desired = asked.get("desiredCount")
    if desired is not None and int(desired) < 0:
        raise _error("InvalidParameterException", "desiredCount must not be negative.")
    service = LiveService(self.current_account, self.region, found)
    service.configure(
        deployment_configuration=asked.get("deploymentConfiguration"),
        health_check_grace_period_seconds=asked.get("healthCheckGracePeriodSeconds"),
        enable_execute_command=asked.get("enableExecuteCommand"),
        propagate_tags=asked.get("propagateTags"),
    )
    if desired is not None:
        service.scale(int(desired))
    if asked.get("forceNewDeployment") or revision.arn != found.task_definition:
        service.deploy(revision.arn)
    return ActionResult({"service": found})


def _run_task(self: Any) -> Any:
    """Tasks of their own, which run once. The same client token gives the same tasks again."""
    from moto.core.responses import ActionResult

    asked = _asked(self, "RunTask", _RUNS)
    cluster = self.ecs_backend._get_cluster(asked.get("cluster") or "default")
    revision = _revision(self, asked["taskDefinition"])
    _refuse_commands(asked, revision)
    count = int(asked.get("count") or 1)
    if not 1 <= count <= _MOST_TASKS:
        raise _error("InvalidParameterException", "count should be between 1 and 10.")
    _refuse_without_network(asked)
    wanted = Launch(
        cluster=cluster.name,
        revision=revision.arn,
        group=asked.get("group") or f"family:{revision.family}",
        started_by=asked.get("startedBy") or "",
        network=asked["networkConfiguration"],
        overrides=asked.get("overrides"),
        tags=asked.get("tags"),
    )
    tokens = self.ecs_backend.__dict__.setdefault("sandbox_tokens", {})
    token = asked.get("clientToken") or ""
    tasks = tokens.get(token) or [_launch(self, wanted) for _ in range(count)]
    if token:
        tokens[token] = tasks
    return ActionResult({"tasks": tasks, "failures": []})


def _stop_task(self: Any) -> Any:
    """Stop one task. A service starts another one in its place."""
    from moto.core.responses import ActionResult

    cluster = self.ecs_backend._get_cluster(self._get_param("cluster") or "default")
    wanted = str(self._get_param("task")).rsplit("/", 1)[-1]
    tasks = self.ecs_backend.tasks.get(cluster.name, {}).values()
    found = next((task for task in tasks if task.id == wanted), None)
    if found is None:
        raise _error("InvalidParameterException", "The referenced task was not found.")
    task = LiveTask(self.current_account, self.region, found)
    if task.wanted:
        reason = self._get_param("reason") or "Task stopped by user"
        task.stop(time.monotonic(), reason=reason, code="UserInitiated")
    return ActionResult({"task": found})


def _launch(response: Any, wanted: Launch) -> Any:
    account, region = response.current_account, response.region
    return launch(account, region, wanted, time.monotonic()).described


def _revision(response: Any, name: str) -> Any:
    """The revision that may be started; a family's is its latest."""
    from moto.ecs.exceptions import TaskDefinitionNotFoundException

    family, _, number = name.rsplit("/", 1)[-1].partition(":")
    if number and not number.isdecimal():
        raise _error("ClientException", "TaskDefinition not found.")
    revisions = response.ecs_backend.task_definitions.get(family, {})
    active = [one for one in revisions.values() if one.status == "ACTIVE"]
    try:
        found = revisions[int(number)] if number else max(active, key=lambda one: one.revision)
    except (KeyError, ValueError, TaskDefinitionNotFoundException):
        raise _error("ClientException", "TaskDefinition not found.") from None
    if found.status != "ACTIVE" and found.arn not in _in_use(response):
        raise _error("ClientException", "TaskDefinition is inactive")
    return found


def _in_use(response: Any) -> set[str]:
    """Revisions of services: they may go on with one that was deregistered since."""
    return {service.task_definition for service in response.ecs_backend.services.values()}


def _refuse_commands(asked: dict[str, Any], revision: Any) -> None:
    """Refuse overrides of what is no container, and commands that nothing here stands for."""
    known = {one["name"] for one in revision.container_definitions}
    for one in (asked.get("overrides") or {}).get("containerOverrides", []):
        if one.get("name") not in known:
            raise _error(
                "InvalidParameterException",
                f"Override for container named {one.get('name')} is not a container in the"
                " TaskDefinition.",
            )
        if reason := one_off.why_unplayed(one.get("command") or []):
            raise NotInSandbox(f"RunTask: {reason}")


def _asked(response: Any, operation: str, known: set[str]) -> dict[str, Any]:
    asked: dict[str, Any] = response._get_params()
    if unknown := sorted(set(asked) - known):
        raise NotInSandbox(f"{operation}: {', '.join(unknown)}")
    return asked


def _error(code: str, message: str) -> SandboxError:
    return SandboxError(message, code=code, status=400)
