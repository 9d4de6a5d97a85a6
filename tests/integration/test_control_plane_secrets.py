"""Seven secrets with a past, whose values are in one answer only."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names


def value(client: Any, name: str, stage: str = "AWSCURRENT") -> str:
    return str(client.get_secret_value(SecretId=name, VersionStage=stage)["SecretString"])


def test_all_seven_are_there_with_their_previous_versions(aws: Callable[..., Any]) -> None:
    secrets = aws("secretsmanager").list_secrets()["SecretList"]
    assert {secret["Name"] for secret in secrets} == set(names.SECRETS)
    for secret in secrets:
        stages = sorted(
            stage for found in secret["SecretVersionsToStages"].values() for stage in found
        )
        assert stages == ["AWSCURRENT", "AWSPREVIOUS"]


def test_addresses_of_database_and_redis_are_the_given_ones(aws: Callable[..., Any]) -> None:
    secrets = aws("secretsmanager")
    database = "postgresql://ai_studio:database-password@127.0.0.1:1/ai_studio"
    assert value(secrets, names.DATABASE_URL) == database
    assert value(secrets, names.REDIS_URL) == "redis://:redis-password@127.0.0.1:2/0"


def test_values_are_readable_nowhere_else(aws: Callable[..., Any]) -> None:
    secrets, ecs = aws("secretsmanager"), aws("ecs")
    values = [
        value(secrets, one, s) for one in names.SECRETS for s in ("AWSCURRENT", "AWSPREVIOUS")
    ]
    answers = [
        secrets.list_secrets(),
        *(secrets.describe_secret(SecretId=one) for one in names.SECRETS),
        *(secrets.list_secret_version_ids(SecretId=one) for one in names.SECRETS),
        *(ecs.describe_task_definition(taskDefinition=one) for one in names.SERVICES),
        aws("cloudtrail").lookup_events(),
    ]
    text = json.dumps(answers, default=str)
    assert not [found for found in values if found in text]


def test_each_version_has_a_date_of_its_own(control_plane: Any) -> None:
    secrets = control_plane.client("secretsmanager")
    for name in names.SECRETS:
        answer = secrets.list_secret_version_ids(SecretId=name)
        dates = {v["VersionStages"][0]: v["CreatedDate"] for v in answer["Versions"]}
        assert dates["AWSPREVIOUS"] < dates["AWSCURRENT"] < control_plane.anchor
        assert answer["ARN"].startswith("arn:aws:secretsmanager:")


def test_current_stage_moved_back_is_what_a_plain_read_answers(
    changing: Callable[..., Any],
) -> None:
    secrets, name = changing("secretsmanager"), names.OPENAI_KEY
    before = value(secrets, name)
    secrets.put_secret_value(SecretId=name, SecretString="sk-new")
    stages = secrets.describe_secret(SecretId=name)["VersionIdsToStages"]
    by_stage = {found[0]: version for version, found in stages.items()}
    assert sorted(by_stage) == ["AWSCURRENT", "AWSPREVIOUS"]
    secrets.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        MoveToVersionId=by_stage["AWSPREVIOUS"],
        RemoveFromVersionId=by_stage["AWSCURRENT"],
    )
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == before
    assert value(secrets, name, "AWSPREVIOUS") == "sk-new"


def test_a_stage_that_is_moved_dates_the_secret(changing: Callable[..., Any]) -> None:
    secrets, name = changing("secretsmanager"), names.ANTHROPIC_KEY
    found = secrets.describe_secret(SecretId=name)
    by_stage = {stages[0]: one for one, stages in found["VersionIdsToStages"].items()}
    began = datetime.now(UTC)
    secrets.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        MoveToVersionId=by_stage["AWSPREVIOUS"],
        RemoveFromVersionId=by_stage["AWSCURRENT"],
    )
    changed = secrets.describe_secret(SecretId=name)["LastChangedDate"]
    assert found["LastChangedDate"] < began - timedelta(days=1)
    assert began - timedelta(milliseconds=1) <= changed <= datetime.now(UTC)


def test_staged_version_leaves_the_current_one_alone(changing: Callable[..., Any]) -> None:
    secrets, name = changing("secretsmanager"), names.GOOGLE_KEY
    before = value(secrets, name)
    secrets.put_secret_value(SecretId=name, SecretString="staged", VersionStages=["AWSPENDING"])
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == before
    assert value(secrets, name, "AWSPENDING") == "staged"


def test_same_request_token_with_another_value_is_refused(changing: Callable[..., Any]) -> None:
    secrets, token = changing("secretsmanager"), "a" * 32
    put = {"SecretId": names.GOOGLE_KEY, "ClientRequestToken": token}
    secrets.put_secret_value(SecretString="one", **put)
    assert secrets.put_secret_value(SecretString="one", **put)["VersionId"] == token
    with pytest.raises(ClientError, match="already in use"):
        secrets.put_secret_value(SecretString="two", **put)


def test_replica_in_the_backup_region_follows_each_change(changing: Callable[..., Any]) -> None:
    replica = changing("secretsmanager", region="eu-west-1")
    assert {one["Name"] for one in replica.list_secrets()["SecretList"]} == set(names.SECRETS)
    changing("secretsmanager").put_secret_value(SecretId=names.JWT_SECRET, SecretString="rotated")
    assert value(replica, names.JWT_SECRET) == "rotated"


def test_a_replica_becomes_a_secret_of_its_own_when_replication_is_stopped(
    changing: Callable[..., Any],
) -> None:
    """Plain moto has no such operation, and a replica refuses every new value."""
    primary, replica = changing("secretsmanager"), changing("secretsmanager", region="eu-west-1")
    before, name = value(primary, names.DATABASE_URL), names.DATABASE_URL
    with pytest.raises(ClientError):
        replica.put_secret_value(SecretId=name, SecretString="promoted")
    arn = replica.describe_secret(SecretId=name)["ARN"]
    assert replica.stop_replication_to_replica(SecretId=name)["ARN"] == arn
    replica.put_secret_value(SecretId=arn, SecretString="promoted")
    assert (value(replica, name), value(primary, name)) == ("promoted", before)
    assert "ReplicationStatus" not in primary.describe_secret(SecretId=name)
    with pytest.raises(ClientError, match="not a replica"):
        replica.stop_replication_to_replica(SecretId=name)
