"""Secrets and who reads them, judged without an account."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from runbook.settings import Secrets
from runbook.studio.ecs import Reference, _taken
from runbook.studio.secret_use import SecretUse
from runbook.studio.secretsmanager import Listed

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
KEY = Listed("KEY", f"{ARN}KEY-abc123", NOW - timedelta(days=10), date(2026, 11, 24))
READ = Reference("web", "web:7", "API_KEY", KEY.arn)
SETTINGS = Secrets(critical=("KEY",), rotate_after_days=90)


def use(secret: Listed | None = KEY, *references: Reference) -> SecretUse:
    return SecretUse(SETTINGS, (secret,) if secret else (), references, NOW)


def aged(days: int) -> Listed:
    return replace(KEY, changed_at=NOW - timedelta(days=days))


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (use(KEY, READ), "ok", "All 1 critical secrets are there, read, and young enough. "
                               "The next is due in 80 days."),
        (use(aged(90), READ), "ok", "All 1 critical secrets are there, read, and young enough. "
                                    "The next is due in 0 days."),
        (use(aged(91), READ), "warning", "KEY: its rotation was due 1 days ago."),
        (use(KEY), "warning", "KEY: no live service reads it."),
        (use(replace(KEY, deleted_at=NOW), READ), "critical", "KEY: waits to be deleted."),
        (use(None), "critical", "KEY: is missing."),
    ],
)  # fmt: skip
def test_a_critical_secret_is_judged(found: SecretUse, status: str, says: str) -> None:
    told = found.findings()
    assert (told["status"], told["says"]) == (status, says)


@pytest.mark.parametrize(
    "value_from", [KEY.arn, f"{KEY.arn}:field::", f"{KEY.arn}:field:AWSCURRENT:", f"{ARN}KEY"]
)
def test_a_reference_is_followed_whatever_form_of_arn_it_has(value_from: str) -> None:
    found = use(KEY, replace(READ, value_from=value_from))
    assert found.dangling() == []
    assert found.judged()[0].readers == ("web",)


@pytest.mark.parametrize("value_from", [f"{ARN}KEYS-abc123", f"{ARN}KEY-abc124", f"{ARN}KE"])
def test_a_reference_to_no_secret_is_critical_and_named(value_from: str) -> None:
    told = use(KEY, READ, replace(READ, name="OTHER", value_from=value_from)).findings()
    assert told["status"] == "critical"
    assert told["dangling"] == ["web OTHER"]
    assert told["says"].startswith("web:7 takes OTHER from KE")


def test_a_parameter_of_ssm_is_no_dangling_secret() -> None:
    found = use(KEY, READ, replace(READ, value_from="arn:aws:ssm:eu:1:parameter/x"))
    assert found.findings()["status"] == "ok"
    assert "not looked at" in repr(found.reference_table())


def test_what_aws_itself_looks_after_is_neither_due_nor_unread() -> None:
    owned = replace(aged(400), name="rds!x", arn=f"{ARN}rds!x-abc123", owner="rds")
    found = SecretUse(SETTINGS, (KEY, owned), (READ,), NOW)
    assert found.findings()["status"] == "ok"


def test_a_container_takes_secrets_in_three_places() -> None:
    container: dict[str, Any] = {
        "secrets": [{"name": "A", "valueFrom": "a"}],
        "logConfiguration": {"secretOptions": [{"name": "B", "valueFrom": "b"}]},
        "repositoryCredentials": {"credentialsParameter": "c"},
    }
    assert [value for _, value in _taken(container)] == ["a", "b", "c"]
    assert _taken({}) == []
