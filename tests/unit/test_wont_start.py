"""Why tasks do not start, told apart without an account."""

from __future__ import annotations

from typing import Any

import pytest

from runbook.studio import iam, network, wont_start

DENIED = (
    "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve "
    "secret from asm: AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/t is not "
    "authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:…:secret:KEY-abc"
)
MISSING = (
    "ResourceInitializationError: unable to retrieve secret from asm: ResourceNotFoundException: "
    "Secrets Manager can't find the specified secret."
)
CHECKED = "Task failed ELB health checks in (target-group arn:aws:…)"


@pytest.mark.parametrize(
    ("reason", "lines", "cause"),
    [
        (DENIED, [], "secret denied"),
        (MISSING, [], "secret missing"),
        ("CannotPullContainerError: pull image manifest: not found", [], "image pull"),
        ("OutOfMemoryError: Container killed due to memory usage", [], "out of memory"),
        ("Essential container in task exited, backend exited with 137", [], "out of memory"),
        (CHECKED, ["connection to server at 10.0.0.9, port 5432 failed"], "database unreachable"),
        (CHECKED, ["sqlalchemy.exc.OperationalError: timeout expired"], "database unreachable"),
        (CHECKED, ["GET /v1/health 500"], "health check"),
        ("Essential container in task exited, backend exited with 1", ["ImportError"], "crash"),
    ],
)
def test_the_cause_is_told_by_the_reason_and_by_what_the_task_wrote(
    reason: str, lines: list[str], cause: str
) -> None:
    assert wont_start.cause_of(reason, lines) == cause


def test_a_denial_names_the_statement_that_denies_and_else_how_many_do_not_allow() -> None:
    allow = {"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"}
    deny = {"Sid": "NotThisOne", "Effect": "Deny", "Action": "*", "Resource": "key"}
    asked = ("secretsmanager:GetSecretValue", "key")
    assert iam.why_denied([{"Statement": [allow]}], *asked) == ""
    assert "NotThisOne denies" in iam.why_denied([{"Statement": [allow, deny]}], *asked)
    assert iam.why_denied([{"Statement": []}], *asked).startswith("none of 0 statements")


@pytest.mark.parametrize(
    ("rule", "opens"),
    [
        ({"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}, True),
        ({"IpProtocol": "-1"}, True),
        ({"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379}, False),
        ({"IpProtocol": "udp", "FromPort": 5432, "ToPort": 5432}, False),
    ],
)
def test_a_security_group_opens_a_port_to_the_group_it_names(
    rule: dict[str, Any], opens: bool
) -> None:
    pairs = [{"GroupId": "sg-services"}]
    groups = [{"GroupName": "database", "IpPermissions": [{**rule, "UserIdGroupPairs": pairs}]}]
    assert bool(network.opening(groups, sources=["sg-services"], port=5432)) is opens
    assert network.opening(groups, sources=["sg-other"], port=5432) == ""
