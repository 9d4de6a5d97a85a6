"""check-secrets on the sandbox: who reads what, from live task definitions, and no value ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.clients import Clients
from runbook.studio import secret_use
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS

BACKUP = settings.load("sandbox").regions.backup


def values_read(clients: Clients) -> int:
    """How often anybody was handed a value, by CloudTrail."""
    pages = clients.aws("cloudtrail").get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "GetSecretValue"}]
    )  # fmt: skip
    return sum(len(page["Events"]) for page in pages)


def test_secrets_are_those_of_the_aws_command_and_no_value_is_read(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    before = values_read(clients)
    told = runbook("run", "check-secrets")
    assert (told.code, told.json["result"]["status"]) == (0, "ok"), told.err
    assert values_read(clients) == before
    listed = say(installed("aws"), "secretsmanager", "list-secrets", "--query",
                 "SecretList[].[Name,ARN]", env=exported)  # fmt: skip
    ours = [[one.name, one.arn] for one in secret_use.read(clients).secrets]
    assert sorted(ours) == sorted(json.loads(listed))
    executed = Path(told.json["notebook"]).read_text(encoding="utf-8")
    manager = clients.aws("secretsmanager")
    for name in names.SECRETS:
        assert manager.get_secret_value(SecretId=name)["SecretString"] not in executed


def test_readers_are_those_of_the_live_task_definitions(box: Box, clients: Clients) -> None:
    readers = {one.name: set(one.readers) for one in secret_use.read(clients).judged()}
    assert readers == {
        name: {service for service, facts in SERVICE_FACTS.items() if name in facts.secrets}
        for name in names.SECRETS
    }


def deploy_with(clients: Clients, service: str, secrets: list[dict[str, str]]) -> None:
    """A new revision of a service that takes these secrets."""
    ecs = clients.aws("ecs")
    (found,) = ecs.describe_services(cluster=names.CLUSTER, services=[service])["services"]
    old = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
    kept = ("family", "cpu", "memory", "networkMode", "executionRoleArn", "taskRoleArn")
    wanted: dict[str, Any] = {key: old[key] for key in kept}
    containers = [{**one, "secrets": secrets} for one in old["containerDefinitions"]]
    made = ecs.register_task_definition(**wanted, containerDefinitions=containers)
    arn = made["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=names.CLUSTER, service=service, taskDefinition=arn)


def test_what_is_missing_unread_or_dangling_is_told(fresh_box: Box, clients: Clients) -> None:
    manager = clients.aws("secretsmanager")
    prefix = manager.describe_secret(SecretId=names.REDIS_URL)["ARN"].rsplit(":", 1)[0]
    for name in (names.HYPERPAY_KEY, names.GOOGLE_KEY):
        manager.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=[BACKUP])
    manager.delete_secret(SecretId=names.HYPERPAY_KEY, RecoveryWindowInDays=7)
    manager.delete_secret(SecretId=names.GOOGLE_KEY, ForceDeleteWithoutRecovery=True)
    manager.create_secret(Name="FORGOTTEN", SecretString="a-value-that-nobody-reads")
    gone = {"name": "MAIL_KEY", "valueFrom": f"{prefix}:MAIL_KEY-abc123"}
    deploy_with(clients, names.FRONTEND, [gone])
    found = secret_use.read(clients)
    told = found.findings()
    assert told["status"] == "critical"
    assert told["missing"] == [names.GOOGLE_KEY]
    assert "FORGOTTEN" in told["unread"]
    # the frontend's new revision names one that never was, the gateway's one that is gone
    assert sorted(told["dangling"]) == [
        f"{names.FRONTEND} MAIL_KEY",
        f"{names.GATEWAY} {names.GOOGLE_KEY}",
    ]
    status = {one.name: (one.status, one.says) for one in found.judged()}
    assert status[names.HYPERPAY_KEY] == ("critical", "waits to be deleted")
    assert status["FORGOTTEN"] == ("warning", "no live service reads it")
