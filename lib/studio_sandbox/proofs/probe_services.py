"""What runs and who may do what: secrets, tasks, callers."""

from __future__ import annotations

import json
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.proofs.probing import Aws, Probe, unique

# Secrets Manager


def _versions(aws: Aws) -> tuple[str, dict[str, str]]:
    """A secret with two values; gives its name, and its versions by stage."""
    secrets, name = aws("secretsmanager"), unique("probe")
    secrets.create_secret(Name=name, SecretString="first")
    secrets.put_secret_value(SecretId=name, SecretString="second")
    return name, _stages(aws, name)


def _stages(aws: Aws, name: str) -> dict[str, str]:
    found = aws("secretsmanager").describe_secret(SecretId=name)["VersionIdsToStages"]
    return {stage: version for version, stages in found.items() for stage in stages}


def _value(aws: Aws, name: str, **which: str) -> str:
    return str(aws("secretsmanager").get_secret_value(SecretId=name, **which)["SecretString"])


def _moved_back(aws: Aws) -> list[str]:
    name, stages = _versions(aws)
    aws("secretsmanager").update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        MoveToVersionId=stages["AWSPREVIOUS"],
        RemoveFromVersionId=stages["AWSCURRENT"],
    )
    return [_value(aws, name), _value(aws, name, VersionStage="AWSPREVIOUS")]


def _staged(aws: Aws) -> list[str]:
    name, _ = _versions(aws)
    aws("secretsmanager").put_secret_value(
        SecretId=name,
        SecretString="pending",
        VersionStages=["AWSPENDING"],
    )
    return [_value(aws, name), _value(aws, name, VersionStage="AWSPENDING")]


_SECRETS = (
    Probe("Secrets Manager", "UpdateSecretVersionStage back, then plain read and AWSPREVIOUS",
          ["first", "second"], _moved_back),
    Probe("Secrets Manager", "PutSecretValue as AWSPENDING, then plain read and AWSPENDING",
          ["second", "pending"], _staged),
    Probe("Secrets Manager", "GetSecretValue of no secret", "error ResourceNotFoundException",
          lambda aws: _value(aws, "no-such-secret")),
)  # fmt: skip


# ECS


def _service(aws: Aws) -> dict[str, Any]:
    answer = aws("ecs").describe_services(cluster=names.CLUSTER, services=[names.WORKER])
    return dict(answer["services"][0])


def _running(aws: Aws) -> list[str]:
    tasks = aws("ecs").list_tasks(cluster=names.CLUSTER, serviceName=names.WORKER)
    return list(tasks["taskArns"])


def _revisions(aws: Aws, **asked: Any) -> list[int]:
    found = aws("ecs").list_task_definitions(familyPrefix=names.WORKER, **asked)
    return [int(arn.rsplit(":", 1)[1]) for arn in found["taskDefinitionArns"]]


def _restarted(aws: Aws) -> list[Any]:
    """A forced deployment: a new one, followed to its end."""
    before = _service(aws)["deployments"][0]["id"]
    aws("ecs").update_service(cluster=names.CLUSTER, service=names.WORKER, forceNewDeployment=True)
    began = _service(aws)["deployments"][0]["id"] != before
    ended = aws.until(
        lambda: _service(aws)["deployments"],
        lambda found: len(found) == 1 and found[0].get("rolloutState") == "COMPLETED",
    )
    return [began, len(ended), ended[0].get("rolloutState")]


def _replaced(aws: Aws) -> list[Any]:
    """A task that is stopped: with its reason on record, and another one in its place."""
    task, *_ = _running(aws)
    aws("ecs").stop_task(cluster=names.CLUSTER, task=task, reason="probe")
    aws.until(lambda: _running(aws), lambda found: len(found) == 2 and task not in found)
    (stopped,) = aws("ecs").describe_tasks(cluster=names.CLUSTER, tasks=[task])["tasks"]
    return [stopped["stopCode"], stopped["stoppedReason"], len(_running(aws))]


def _ran(aws: Aws, *command: str) -> list[Any]:
    """A task of its own with a command, followed to its end: how it stopped, and its exit code."""
    service = _service(aws)
    override = {"name": names.container(names.WORKER), "command": list(command)}
    (task,) = aws("ecs").run_task(
        cluster=names.CLUSTER,
        taskDefinition=service["taskDefinition"],
        launchType="FARGATE",
        networkConfiguration=service.get("networkConfiguration") or {},
        overrides={"containerOverrides": [override]},
    )["tasks"]
    (stopped,) = aws.until(
        lambda: aws("ecs").describe_tasks(cluster=names.CLUSTER, tasks=[task["taskArn"]])["tasks"],
        lambda found: found[0]["lastStatus"] == "STOPPED",
    )
    return [stopped["stopCode"], stopped["containers"][0]["exitCode"]]


def _executed(aws: Aws) -> str:
    task = (_running(aws) or ["none"])[0]
    aws("ecs").execute_command(
        cluster=names.CLUSTER, task=task, command="/bin/sh", interactive=True
    )
    return "a session"


_ECS = (
    Probe("ECS", "DescribeServices: as many run as are desired", True,
          lambda aws: _service(aws)["runningCount"] == _service(aws)["desiredCount"]),
    Probe("ECS", "ListTasks of a service has its tasks", True,
          lambda aws: len(_running(aws)) == _service(aws)["desiredCount"]),
    Probe("ECS", "ListTaskDefinitions DESC is newest first", True,
          lambda aws: _revisions(aws, sort="DESC") == sorted(_revisions(aws), reverse=True)),
    Probe("ECS", "ListTaskDefinitions with maxResults 1", 1,
          lambda aws: len(_revisions(aws, maxResults=1))),
    Probe("ECS", "UpdateService forced: a new deployment, which completes alone",
          [True, 1, "COMPLETED"], _restarted),
    Probe("ECS", "StopTask: why it stopped, and another in its place",
          ["UserInitiated", "probe", 2], _replaced),
    Probe("ECS", "UpdateService with a revision that is none", "error ClientException",
          lambda aws: aws("ecs").update_service(
              cluster=names.CLUSTER, service=names.WORKER, taskDefinition=f"{names.WORKER}:9999")),
    Probe("ECS", "RunTask of a command that no image has", ["TaskFailedToStart", 127],
          lambda aws: _ran(aws, "make", "coffee")),
    Probe("ECS", "RunTask of alembic heads", ["EssentialContainerExited", 0],
          lambda aws: _ran(aws, "alembic", "heads")),
    Probe("ECS", "ExecuteCommand", "a session", _executed, refused=True),
)  # fmt: skip


# CloudTrail and IAM


def _looked_up(aws: Aws) -> list[str]:
    name, _ = _versions(aws)
    (event, *_) = aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": name}],
        MaxResults=1,
    )["Events"]
    caller = json.loads(event["CloudTrailEvent"])["userIdentity"]["arn"]
    me = aws("sts").get_caller_identity()["Arn"]
    return [event["EventSource"], str(caller == me)]


_CALLERS = (
    Probe("CloudTrail", "LookupEvents by resource: the call, and who made it",
          ["secretsmanager.amazonaws.com", "True"], _looked_up),
    Probe("Lambda", "ListFunctions of an account whose functions nobody knows", [],
          lambda aws: aws("lambda").list_functions()["Functions"], refused=True),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*_SECRETS, *_ECS, *_CALLERS)
