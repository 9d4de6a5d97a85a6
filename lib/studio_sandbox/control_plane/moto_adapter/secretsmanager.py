"""Secrets Manager: stages that a plain read follows, and secrets with a past.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.moto_adapter import core
from studio_sandbox.control_plane.overlay import Context, operation
from studio_sandbox.control_plane.request import AwsRequest


def patch() -> None:
    """A plain read answers what AWSCURRENT points to; each read dates the secret."""
    from moto.secretsmanager import models, responses

    responses.SecretsManagerResponse.list_secret_version_ids = _list_secret_version_ids
    _follow_current(models.SecretsManagerBackend)
    _date_reads(models.SecretsManagerBackend, models.FakeSecret)


def _follow_current(backend: Any) -> None:
    """Plain moto moves the labels of AWSCURRENT and still reads the version that had it, and does
    not say that the secret was changed."""
    move_stage = backend.update_secret_version_stage

    def update_secret_version_stage(
        self: Any,
        secret_id: str,
        version_stage: str,
        remove_from_version_id: str,
        move_to_version_id: str,
    ) -> Any:
        answer = move_stage(
            self, secret_id, version_stage, remove_from_version_id, move_to_version_id
        )
        self.secrets[secret_id].last_changed_date = time.time()
        if version_stage == "AWSCURRENT" and move_to_version_id:
            self.secrets[secret_id].set_default_version_id(move_to_version_id)
        return answer

    backend.update_secret_version_stage = update_secret_version_stage


def _date_reads(backend: Any, secret: Any) -> None:
    """Plain moto never says when a secret was read last. AWS says the day, not the time.

    It also describes versions that no stage points to; AWS leaves them out.
    """
    get_value, to_dict = backend.get_secret_value, secret.to_dict

    def get_secret_value(
        self: Any, secret_id: str, version_id: str, version_stage: str
    ) -> dict[str, Any]:
        value: dict[str, Any] = get_value(self, secret_id, version_id, version_stage)
        self.secrets[secret_id].last_accessed_date = _day(datetime.now(UTC))
        return value

    def described(self: Any) -> dict[str, Any]:
        found: dict[str, Any] = to_dict(self)
        for key in ("VersionIdsToStages", "SecretVersionsToStages"):
            if key in found:
                found[key] = {one: stages for one, stages in found[key].items() if stages}
        return {**found, "LastAccessedDate": getattr(self, "last_accessed_date", None)}

    backend.get_secret_value, secret.to_dict = get_secret_value, described


def _list_secret_version_ids(self: Any) -> str:
    """Versions with their own dates. Plain moto says that all were made, and read, just now."""
    import json

    asked = self._get_param("SecretId")
    self.backend.describe_secret(asked)  # raises what AWS raises when there is none
    secret = self.backend.secrets[asked]
    versions = [
        {
            "VersionId": version_id,
            "VersionStages": version["version_stages"],
            "CreatedDate": version["createdate"],
        }
        for version_id, version in secret.versions.items()
        if version["version_stages"] or self._get_param("IncludeDeprecated")
    ]
    return json.dumps({"ARN": secret.arn, "Name": secret.name, "Versions": versions})


@operation("secretsmanager", "StopReplicationToReplica")
def _stop_replication(asked: AwsRequest, context: Context) -> dict[str, Any]:
    """A replica becomes a secret of its own, with the versions that it has now.

    Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_StopReplicationToReplica.html
    """
    wanted = str(asked.parameters["SecretId"])
    with core.LOCK:
        secrets = core.backend("secretsmanager", context.account, asked.region).secrets
        replica = secrets.get(wanted)
        source = getattr(replica, "source", None)
        if source is None:
            raise SandboxError(
                f"{wanted} is not a replica secret.", code="InvalidRequestException", status=400
            )
        own = copy.copy(source)
        own.region, own.arn, own.replicas = asked.region, replica.arn, []
        own.versions = copy.deepcopy(source.versions)
        secrets[replica.arn] = own
        source.replicas = [one for one in source.replicas if one is not replica]
        return {"ARN": own.arn}


def find(account: str, region: str, reference: str) -> str:
    """The ARN that a reference means; empty when there is no such secret, or it is deleted."""
    found = core.backend("secretsmanager", account, region).secrets.get(reference)
    return "" if found is None or found.is_deleted() else str(found.arn)


def value(account: str, region: str, reference: str, *, stage: str = "", version: str = "") -> str:
    """What a consumer is given: the current value, or that of a stage or version; else empty."""
    found = core.backend("secretsmanager", account, region).secrets.get(reference)
    secret = getattr(found, "source", found)  # a replica has no versions of its own
    if secret is None or secret.is_deleted():
        return ""
    stage = stage or "AWSCURRENT"
    for version_id, one in secret.versions.items():
        if version_id == version or (not version and stage in one["version_stages"]):
            return str(one.get("secret_string") or "")
    return ""


@dataclass(frozen=True)
class Version:
    """One value of a secret; `stage` is AWSCURRENT or AWSPREVIOUS."""

    id: str
    value: str = field(repr=False)
    stage: str
    created: datetime


def put(
    account: str,
    region: str,
    name: str,
    *,
    arn_suffix: str,
    description: str,
    tags: dict[str, str],
    versions: list[Version],
    accessed: datetime,
    replica_region: str,
) -> str:
    """A secret with its versions, oldest first; gives its ARN. The last one is current.

    The replica in the other region follows every change, as in AWS.
    """
    backend = core.backend("secretsmanager", account, region)
    secret, _ = backend._add_secret(
        name,
        secret_string=versions[-1].value,
        description=description,
        tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        version_id=versions[-1].id,
    )
    secret.arn = f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-{arn_suffix}"
    secret.versions = {version.id: _stored(version) for version in versions}
    secret.created_date = versions[0].created.timestamp()
    secret.last_changed_date = versions[-1].created.timestamp()
    secret.last_accessed_date = _day(accessed)
    secret.replicas = secret.create_replicas([{"Region": replica_region}], force_overwrite=False)
    return str(secret.arn)


def _stored(version: Version) -> dict[str, Any]:
    return {
        "version_id": version.id,
        "version_stages": [version.stage],
        "secret_string": version.value,
        "createdate": int(version.created.timestamp()),
    }


def _day(moment: datetime) -> float:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
