"""People, their group, and the roles that services and the deployment workflow run as."""

from __future__ import annotations

from typing import Any

from studio_sandbox.control_plane import credentials, names
from studio_sandbox.control_plane.moto_adapter.iam import Identities
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.control_plane.seed.world import World

# Who administers the account, and since how many days. All of them have MFA.
_ADMINS = {names.ONCALL: 260, names.APPROVER: 340, "layla.haddad": 410, "omar.nasser": 395}
_TASKS = {"Service": "ecs-tasks.amazonaws.com"}


def seed(world: World, secret_arns: dict[str, str]) -> None:
    """IAM as a healthy account has it."""
    identities = Identities(world.account)
    identities.account_settings(alias="pulse-ai-studio")
    identities.group(names.ADMIN_GROUP, policy=_policy("*", "*"))
    identities.group("ai-studio-readers", policy=_policy(["ecs:Describe*", "logs:Get*"], "*"))
    _people(world, identities)
    for service in names.SERVICES:
        _service_roles(world, identities, service, secret_arns)
    identities.role(
        names.DEPLOY_ROLE,
        principal={
            "Federated": f"arn:aws:iam::{world.account}:oidc-provider/"
            "token.actions.githubusercontent.com"
        },
        policy=_policy(
            ["ecs:RegisterTaskDefinition", "ecs:UpdateService", "ecr:PutImage", "iam:PassRole"], "*"
        ),
        created=world.ago(days=400),
    )


def execution_role(world: World, service: str) -> str:
    """The ARN of the role that ECS starts a service's tasks with: it reads their secrets."""
    return f"arn:aws:iam::{world.account}:role/{service}-execution"


def task_role(world: World, service: str) -> str:
    """The ARN of the role that a service's own code runs as."""
    return f"arn:aws:iam::{world.account}:role/{service}-task"


def _people(world: World, identities: Identities) -> None:
    for name, days in _ADMINS.items():
        identities.user(
            name,
            groups=[names.ADMIN_GROUP],
            created=world.ago(days=days),
            console=True,
            mfa=True,
        )
    identities.user(
        "finance-reports",
        groups=["ai-studio-readers"],
        created=world.ago(days=180),
        console=False,
        mfa=False,
    )
    for name in (names.ONCALL, names.APPROVER):
        key = credentials.access_key(name)
        identities.access_key(
            name, key_id=key.id, secret=key.secret, created=world.ago(days=_ADMINS[name] % 80)
        )


def _service_roles(
    world: World, identities: Identities, service: str, secret_arns: dict[str, str]
) -> None:
    created = world.ago(days=398)
    here, there = world.region, world.config.backup_region
    mine = [secret_arns[name] for name in SERVICE_FACTS[service].secrets]
    readable = [*mine, *(arn.replace(here, there) for arn in mine)]  # a failover starts them there
    identities.role(
        f"{service}-execution",
        principal=_TASKS,
        policy=_execution_policy(readable),
        created=created,
    )
    identities.role(
        f"{service}-task",
        principal=_TASKS,
        policy=_policy(SERVICE_FACTS[service].actions, "*"),
        created=created,
    )


def _execution_policy(secret_arns: list[str]) -> dict[str, Any]:
    start = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "logs:PutLogEvents"]
    policy = _policy([*start, "ecr:GetDownloadUrlForLayer", "logs:CreateLogStream"], "*")
    if secret_arns:
        policy["Statement"] += _policy("secretsmanager:GetSecretValue", secret_arns)["Statement"]
    return policy


def _policy(action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}
