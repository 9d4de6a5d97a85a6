"""Clients are handed out for the environment's own account, and for no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy

from runbook import settings
from runbook.clients import Clients
from runbook.errors import BadInput, NotReachable, WrongAccount
from studio_sandbox.box import Box


def sandbox(**changes: Any) -> settings.Environment:
    return settings.load("sandbox").model_copy(update=changes)


def test_another_account_is_refused_before_anything_else(box: Box) -> None:
    clients = Clients(sandbox(account="999999999999"))
    for ask in (lambda: clients.aws("ecs"), lambda: clients.database, lambda: clients.redis):
        with pytest.raises(WrongAccount) as refused:
            ask()
        assert "999999999999" in refused.value.message
        assert "123456789012" in refused.value.message


def test_an_ambient_endpoint_is_ignored_by_the_sandbox_and_refused_elsewhere(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Clients(sandbox()).identity.account == "123456789012"
    with pytest.raises(WrongAccount, match="AWS_ENDPOINT_URL") as refused:
        _ = Clients(settings.load("production")).identity
    assert refused.value.next == "unset AWS_ENDPOINT_URL"


def test_a_shell_of_another_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    production = settings.load("production")
    plain = production.model_copy(update={"aws": settings.Aws()})
    with pytest.raises(WrongAccount, match="us-east-1"):
        _ = Clients(plain).identity


def test_a_sandbox_that_is_off_says_how_to_start_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    with pytest.raises(NotReachable) as refused:
        _ = Clients(sandbox()).identity
    assert refused.value.next == "Start it: ./runbook sandbox up"


def test_an_unknown_profile_is_refused(box: Box) -> None:
    with pytest.raises(BadInput, match="nobody"):
        _ = Clients(sandbox(), profile="nobody").identity


def test_the_two_identities_are_two_principals(box: Box) -> None:
    oncall, approver = Clients(sandbox()).identity, Clients(sandbox(), profile="approver").identity
    assert (oncall.name, approver.name) == ("user/oncall", "user/approver")
    assert oncall.principal != approver.principal


def test_the_reading_session_cannot_write_and_both_speak_utc(box: Box) -> None:
    clients = Clients(sandbox(), run_id="some-run")
    for engine in (clients.database, clients.database_writer):
        with engine.connect() as connection:
            asked = "SELECT current_setting('timezone'), current_setting('application_name')"
            found = connection.execute(sqlalchemy.text(asked)).one()
        assert tuple(found) == ("UTC", "runbook some-run")
    with (
        pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"),
        clients.database.begin() as connection,
    ):
        connection.execute(sqlalchemy.text("DELETE FROM jobs"))
    clients.close()


def test_a_secret_is_masked_wherever_it_is_shown(box: Box) -> None:
    value = Clients(sandbox()).secret("AI_STUDIO_DATABASE_URL")
    assert value.reveal().startswith("postgresql://")
    assert f"{value} {value!r} {[value]}" == " ".join(
        ["[secret AI_STUDIO_DATABASE_URL]"] * 2 + ["[[secret AI_STUDIO_DATABASE_URL]]"]
    )
    with pytest.raises(TypeError):
        json.dumps(value)
