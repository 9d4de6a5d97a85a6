"""Admins and what protects them, judged without an account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runbook import settings
from runbook.clients import Identity
from runbook.settings import Environment
from runbook.studio import iam
from runbook.studio.iam import Access, User

ENVIRONMENT: Environment = settings.load("sandbox").model_copy(
    update={"access": settings.Access(operators=("user/me",), known_users=("me", "admin"))}
)
SAFE = {"AccountMFAEnabled": 1, "AccountAccessKeysPresent": 0}
ADMIN = User("admin", admin_by=("inline all (everything)",), console=True, mfa=True)


def access(*users: User, name: str = "user/me", **summary: int) -> Access:
    identity = Identity(ENVIRONMENT.account, f"arn:aws:iam::{ENVIRONMENT.account}:{name}")
    return Access(ENVIRONMENT, identity, "eu-central-1", "", {**SAFE, **summary}, users)


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Action": action, "Resource": resource, **more}]}


@pytest.mark.parametrize(
    ("document", "rights"),
    [
        (allow("*"), "everything"),
        (allow(["s3:Get*", "*"], ["*"]), "everything"),
        (allow("*:*"), "everything"),
        (allow("IAM:*"), "all of IAM"),
        ({"Statement": allow("*")["Statement"][0]}, "everything"),
        (allow("*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}), "everything"),
        (allow("*", "arn:aws:s3:::bucket/*"), ""),
        (allow("s3:*"), ""),
        (allow("iam:Get*"), ""),
        ({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}, ""),
        ({"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]},
         "all of IAM and more"),
        ({"Statement": [{"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}]}, ""),
        ({}, ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_policy_makes_an_admin_or_not(document: Any, rights: str) -> None:
    assert iam.admin_rights(document) == rights


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (access(ADMIN), "ok", "all 1 admins have MFA"),
        (access(replace(ADMIN, mfa=False)), "critical", "admin is an admin without MFA"),
        (access(AccountMFAEnabled=0), "critical", "root has no MFA"),
        (access(AccountAccessKeysPresent=1), "critical", "root has access keys"),
        (access(User("guest")), "warning", "guest is an IAM user outside SSO"),
        (access(User("me", console=True)), "warning", "without MFA"),
        (access(User("me", key_ages_days=(90,))), "ok", "You are user/me"),
        (access(User("me", key_ages_days=(3, 91))), "warning", "access key of 91 days, over 90"),
        (access(name="user/other"), "warning", "user/other is none of user/me"),
        # a session's own name does not make another person of a role
        (access(name="assumed-role/x/user"), "warning", "assumed-role/x is none of"),
    ],
)
def test_what_is_found_is_judged_and_says_what_to_do(found: Access, status: str, says: str) -> None:
    told = found.findings()
    assert told["status"] == status
    assert says in told["says"]
    assert all(one.do.endswith(".") for one in found.all_findings())
    assert bool(found.all_findings()) == (status != "ok")


def test_the_worst_comes_first() -> None:
    found = access(User("guest"), replace(ADMIN, mfa=False), AccountMFAEnabled=0).all_findings()
    assert [one.status for one in found] == ["critical", "critical", "warning"]
