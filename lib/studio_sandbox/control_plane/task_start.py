"""Why a task cannot start: read from the world as it is, in the words that AWS has for it.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
"""

from __future__ import annotations

import json
from typing import Any

from studio_sandbox.control_plane.moto_adapter import ecr, iam, secretsmanager

_NO_SECRET = "Secrets Manager can't find the specified secret."  # noqa: S105  a sentence


def why_not(account: str, task_id: str, revision: Any) -> str:
    """The reason that a task of this revision is stopped with; empty when it can start."""
    role = getattr(revision, "execution_role_arn", "") or ""  # moto sets it where it is given
    containers: list[dict[str, Any]] = revision.container_definitions
    if role and not iam.has_role(account, role):
        return (
            f"ECS was unable to assume the role '{role}' that was provided for this task. Please "
            "verify that the role being passed has the proper trust relationship and permissions "
            "and that your IAM user has permissions to pass this role."
        )
    for container in containers:
        for secret in container.get("secrets", []):
            if error := _unreadable(account, task_id, role, secret["valueFrom"]):
                return (
                    "ResourceInitializationError: unable to pull secrets or registry auth: "
                    f"execution resource retrieval failed: unable to retrieve {error}"
                )
    missing = (_not_pulled(account, container["image"]) for container in containers)
    return next((reason for reason in missing if reason), "")


def environment(account: str, revision: Any) -> dict[str, str]:
    """What the container is given now: its settings, and the secrets that it refers to."""
    container = revision.container_definitions[0]
    plain = {one["name"]: one["value"] for one in container.get("environment", [])}
    secrets = container.get("secrets", [])
    return plain | {one["name"]: _secret(account, one["valueFrom"]) for one in secrets}


def _secret(account: str, reference: str) -> str:
    """The value behind `arn:…[:key[:stage[:version]]]`; empty when there is none."""
    parts = reference.split(":")
    key, stage, version = [*parts[7:], "", "", ""][:3]
    if len(parts) < 7:
        return ""
    found = secretsmanager.value(
        account, parts[3], ":".join(parts[:7]), stage=stage, version=version
    )
    try:
        return str(json.loads(found)[key]) if key else found
    except (ValueError, KeyError, TypeError):
        return ""


def _unreadable(account: str, task_id: str, role: str, reference: str) -> str:
    """Why one secret is not handed out. A reference may end in `:key:stage:version`."""
    if not reference.startswith("arn:aws:secretsmanager:"):  # a parameter of SSM: there is none
        return (
            "secrets from ssm: service call has been retried 1 time(s): "
            f"invalid parameters: {reference}"
        )
    name = ":".join(reference.split(":")[:7])
    failed = (
        "secret from asm: service call has been retried 1 time(s): "
        f"failed to fetch secret {name} from secrets manager"
    )
    arn = secretsmanager.find(account, name.split(":")[3], name)
    # AWS answers about permission first, so that nobody learns which secrets exist
    if not role or not iam.may(account, role, "secretsmanager:GetSecretValue", arn or name):
        who = f"arn:aws:sts::{account}:assumed-role/{role.rsplit('/', 1)[-1]}/{task_id}"
        return (
            f"{failed}: AccessDeniedException: User: {who} is not authorized to perform: "
            f"secretsmanager:GetSecretValue on resource: {name} because no identity-based policy "
            "allows the secretsmanager:GetSecretValue action"
        )
    return "" if arn else f"{failed}: ResourceNotFoundException: {_NO_SECRET}"


def _not_pulled(account: str, image: str) -> str:
    try:
        if ecr.digest(account, image):
            return ""
        error = f"{image}: not found"
    except ValueError:  # no registry but this account's own can be reached
        error = "failed to do request: dial tcp: i/o timeout"
    return (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        f"failed to resolve ref {image}: {error}"
    )
