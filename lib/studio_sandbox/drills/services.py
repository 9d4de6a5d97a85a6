"""Services as drills deploy, judge and put them back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.drills.studio import Studio

_KEPT = (
    "family", "networkMode", "cpu", "memory", "executionRoleArn", "taskRoleArn",
    "requiresCompatibilities", "ephemeralStorage", "runtimePlatform",
)  # fmt: skip
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# All old tasks give way before the new ones are there, and nobody notices that those fail.
CARELESS: dict[str, Any] = {
    "minimumHealthyPercent": 0,
    "maximumPercent": 100,
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
}


def described(studio: Studio, *, region: str = "") -> dict[str, dict[str, Any]]:
    """The four services by name, as ECS describes them; those that are there."""
    ecs = studio.aws("ecs", region)
    found = ecs.describe_services(cluster=names.CLUSTER, services=list(names.SERVICES))
    return {one["serviceName"]: one for one in found["services"]}


def revision(studio: Studio, name: str, *, region: str = "") -> dict[str, Any]:
    """A task definition by its ARN."""
    found = studio.aws("ecs", region).describe_task_definition(taskDefinition=name)
    return dict(found["taskDefinition"])


def image_tag(studio: Studio, name: str) -> str:
    """The tag of a revision's image: the git SHA that it was built from."""
    image: str = revision(studio, name)["containerDefinitions"][0]["image"]
    return image.rpartition(":")[2]


def settings(studio: Studio, name: str) -> dict[str, str]:
    """The plain settings of a revision."""
    container = revision(studio, name)["containerDefinitions"][0]
    return {one["name"]: one["value"] for one in container.get("environment", [])}


def new_image(studio: Studio, service: str, sha: str) -> None:
    """Push an image of this SHA, as the pipeline does after a build."""
    layers = [{"size": 90_000_000, "digest": f"sha256:{sha:0<64}"}]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"size": 210_000_000, "digest": f"sha256:{sha[::-1]:0<64}"},
        "layers": layers,
    }
    studio.pipeline("ecr").put_image(
        repositoryName=names.repository(service), imageManifest=json.dumps(manifest), imageTag=sha
    )


def revise(studio: Studio, service: str, running: str, *, sha: str, **changed: Any) -> str:
    """Register a revision like the one that runs, of another SHA; gives its ARN."""
    found = revision(studio, running)
    container = found["containerDefinitions"][0] | changed
    container["image"] = f"{container['image'].rpartition(':')[0]}:{sha}"
    container["environment"] = [
        one | {"value": sha} if one["name"] == "GIT_SHA" else one
        for one in container["environment"]
    ]
    made = studio.pipeline("ecs").register_task_definition(
        **{key: found[key] for key in _KEPT if key in found},
        containerDefinitions=[container],
        tags=[{"key": "git-sha", "value": sha}],
    )
    return str(made["taskDefinition"]["taskDefinitionArn"])


def deploy(studio: Studio, service: str, **wanted: Any) -> None:
    """Update a service as the pipeline does."""
    studio.pipeline("ecs").update_service(cluster=names.CLUSTER, service=service, **wanted)


def wrong(
    studio: Studio, services: Iterable[str] = names.SERVICES, *, region: str = ""
) -> list[str]:
    """What is wrong with these services: a sentence each; nothing when all are as they should be.

    As they should be is: one deployment, COMPLETED, with as many tasks as are desired, of its own
    revision, and every registered target healthy.
    """
    known = described(studio, region=region)
    found = (_wrong(studio, name, known.get(name), region) for name in services)
    return [sentence for sentence in found if sentence]


def _wrong(studio: Studio, name: str, service: dict[str, Any] | None, region: str) -> str:
    if service is None:
        return f"{name}: there is no such service"
    states = [one["rolloutState"] for one in service["deployments"]]
    if states != ["COMPLETED"]:
        return f"{name}: its deployment is not completed ({', '.join(states)})"
    if service["runningCount"] != service["desiredCount"] or not service["runningCount"]:
        return f"{name}: {service['runningCount']} of {service['desiredCount']} tasks run"
    sick = [state for state in _target_states(studio, service, region) if state != "healthy"]
    return f"{name}: {len(sick)} of its targets are {', '.join(sorted(set(sick)))}" if sick else ""


def _target_states(studio: Studio, service: dict[str, Any], region: str) -> list[str]:
    elb = studio.aws("elbv2", region)
    return [
        one["TargetHealth"]["State"]
        for balanced in service["loadBalancers"]
        for one in elb.describe_target_health(TargetGroupArn=balanced["targetGroupArn"])[
            "TargetHealthDescriptions"
        ]
    ]


def until_well(studio: Studio, services: Iterable[str] = names.SERVICES) -> None:
    """Wait until nothing is wrong with these services."""
    wanted = list(services)
    studio.until(lambda: not wrong(studio, wanted), f"{', '.join(wanted)} are well again")


def tasks(studio: Studio, service: str, status: str = "RUNNING") -> list[dict[str, Any]]:
    """The tasks of a service, running or stopped."""
    ecs = studio.aws("ecs")
    asked = {"cluster": names.CLUSTER, "serviceName": service, "desiredStatus": status}
    arns = ecs.list_tasks(**asked)["taskArns"]
    if not arns:
        return []
    return list(ecs.describe_tasks(cluster=names.CLUSTER, tasks=arns)["tasks"])


def consumers(studio: Studio, secret: str) -> list[str]:
    """The services whose running revision reads a secret."""
    return [
        name
        for name, service in described(studio).items()
        for container in revision(studio, service["taskDefinition"])["containerDefinitions"]
        if any(f":secret:{secret}-" in one["valueFrom"] for one in container.get("secrets", []))
    ]


def with_earlier_value(studio: Studio, secret: str) -> list[str]:
    """Services with tasks that began before a secret's current version was made: a sentence each.

    They hold another value. A task that has not started yet will be given what is current then.
    """
    versions = studio.aws("secretsmanager").list_secret_version_ids(SecretId=secret)["Versions"]
    made = next(one["CreatedDate"] for one in versions if "AWSCURRENT" in one["VersionStages"])
    found = []
    for service in consumers(studio, secret):
        began = [task.get("startedAt", made) for task in tasks(studio, service)]
        if old := sum(moment < made for moment in began):
            found.append(f"{service}: {old} tasks began before the current {secret}")
    return found


def put_back(studio: Studio, details: dict[str, Any]) -> None:
    """Bring services from revisions that a drill has brought back to those that ran before.

    `details` have `before` (revision by service), `brought` (revisions) and `sha`. A service that
    somebody has brought to another revision stays as it is. What was brought is deregistered and
    its images are removed, so that nobody finds them who looks for a revision to roll back to.
    """
    before, ours = details.get("before", {}), set(details.get("brought", []))
    for name, service in described(studio).items():
        if name in before and service["taskDefinition"] in ours:
            deploy(studio, name, taskDefinition=before[name])
    until_well(studio, before)
    for arn in ours:
        studio.pipeline("ecs").deregister_task_definition(taskDefinition=arn)
    for name, service in described(studio).items():
        if name in before and image_tag(studio, service["taskDefinition"]) != details["sha"]:
            remove_image(studio, name, details["sha"])


def remove_image(studio: Studio, service: str, sha: str) -> None:
    """Take an image out of ECR, if it is there."""
    studio.pipeline("ecr").batch_delete_image(
        repositoryName=names.repository(service), imageIds=[{"imageTag": sha}]
    )
