"""Secrets Manager: which secrets there are, which version is the current one. Never a value.

A version is named by its id; staging labels point to versions. Moving `AWSCURRENT` moves
`AWSPREVIOUS` along, to the version that was current until then.

Kind of change: `secret-stage`; target `secret:NAME`, before and after are labels with version ids.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent

KIND = "secret-stage"
CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
_PREFIX, _SUFFIX = "arn:aws:secretsmanager:", 7  # AWS puts a dash and six signs behind a name
_OWN = (CURRENT, PREVIOUS, PENDING)  # AWS's own labels: always read, attached or not


@dataclass(frozen=True)
class Version:
    """One version of a secret, without its value. `stages` is empty once no label points to it."""

    id: str
    stages: tuple[str, ...]
    created_at: datetime  # aware, UTC

    def age_days(self, now: datetime) -> float:
        """Days since it was stored."""
        return (now - self.created_at).total_seconds() / 86_400


@dataclass(frozen=True)
class Versions:
    """All versions of one secret, newest first."""

    secret: str
    versions: tuple[Version, ...]

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"secret:{self.secret}"

    @property
    def stages(self) -> dict[str, str | None]:
        """Each label with the version that it points to; AWS's own are there in any case."""
        attached = {stage: one.id for one in self.versions for stage in one.stages}
        return {**dict.fromkeys(_OWN), **attached}


@dataclass(frozen=True)
class Listed:
    """A secret as it is listed, without its value. `accessed_on` is a day, as AWS keeps it."""

    name: str
    arn: str
    changed_at: datetime  # when its current value was stored
    accessed_on: date | None = None
    deleted_at: datetime | None = None  # put to be deleted; the date it was
    pending: bool = False  # a version is staged that is not the current one
    owner: str = ""  # the AWS service that manages it


def read_secrets(secretsmanager: Any) -> tuple[Listed, ...]:
    """All secrets by name, those that wait to be deleted too. Reads no value.

    Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
    """
    pages = secretsmanager.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)
    found = [_listed(one) for page in pages for one in page["SecretList"]]
    return tuple(sorted(found, key=lambda one: one.name))


def is_secret(value_from: str) -> bool:
    """Whether it is one of Secrets Manager's: what has no such ARN is a parameter of SSM's."""
    return value_from.startswith(_PREFIX)


def referred(secrets: Iterable[Listed], value_from: str) -> Listed | None:
    """The secret that a reference means: by its ARN, whole or without AWS's six signs. Pure."""
    arn = ":".join(value_from.split(":")[:7])
    return next((one for one in secrets if arn in (one.arn, one.arn[:-_SUFFIX])), None)


def read_versions(secretsmanager: Any, secret: str) -> Versions:
    """All versions of a secret: ids, labels, ages. Reads no value.

    Raises BadInput when there is no such secret.
    Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html
    """
    found: list[Version] = []
    request = {"SecretId": secret, "IncludeDeprecated": True, "MaxResults": 100}
    try:
        while True:
            answer = secretsmanager.list_secret_version_ids(**request)
            found += [_version(one) for one in answer["Versions"]]
            if "NextToken" not in answer:
                break
            request["NextToken"] = answer["NextToken"]
    except secretsmanager.exceptions.ResourceNotFoundException as error:
        raise BadInput(f"There is no secret {secret!r}.") from error
    found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return Versions(secret, tuple(found))


def plan_restore(versions: Versions, *, to: str) -> Plan:
    """The plan that makes the version `to` the current one; without changes when it is already.

    Pure. `AWSPREVIOUS` comes to point to the version that is current now. Raises BadInput when
    the secret has no such version, naming those that it has, or none that is current.
    """
    known = {one.id: one for one in versions.versions}
    if to not in known:
        listed = ", ".join(f"{one.id} ({', '.join(one.stages) or 'no label'})" for one in
                           versions.versions)  # fmt: skip
        raise BadInput(f"{versions.secret} has no version {to!r}; it has {listed}.")
    if versions.stages[CURRENT] is None:
        raise BadInput(f"{versions.secret} has no current version to go back from.")
    change = plan_current(versions, to=to)
    warnings = ["Services read a secret when a task starts: restart those that use it."]
    if not known[to].stages:
        warnings.append("No label points to that version; AWS may remove it at any time.")
    return Plan(
        title=f"Make version {to} of {versions.secret} current",
        risk="high",
        changes=() if to == versions.stages[CURRENT] else (change,),
        way_back="undo moves the labels back; what was restarted has to be restarted again.",
        warnings=tuple(warnings),
    )


def plan_current(versions: Versions, *, to: str) -> Change:
    """The change that makes a version the current one, and that one the previous one. Pure."""
    before = {stage: versions.stages[stage] for stage in (CURRENT, PREVIOUS)}
    return Change(KIND, versions.target, before, {CURRENT: to, PREVIOUS: before[CURRENT]})


def _listed(found: Mapping[str, Any]) -> Listed:
    accessed, stages = found.get("LastAccessedDate"), found.get("SecretVersionsToStages", {})
    return Listed(
        name=found["Name"],
        arn=found["ARN"],
        changed_at=found.get("LastChangedDate") or found["CreatedDate"],
        accessed_on=accessed.astimezone(UTC).date() if accessed else None,
        deleted_at=found.get("DeletedDate"),
        pending=any(PENDING in each and CURRENT not in each for each in stages.values()),
        owner=found.get("OwningService", ""),
    )


def _version(found: Mapping[str, Any]) -> Version:
    return Version(
        found["VersionId"], tuple(sorted(found.get("VersionStages", ()))), found["CreatedDate"]
    )


# the kind of change


def read_stages(clients: Clients, target: str) -> dict[str, str | None]:
    """Each label of a secret (by its target) with its version; AWS's own in any case."""
    found = clients.aws("secretsmanager").describe_secret(SecretId=target.removeprefix("secret:"))
    versions = found.get("VersionIdsToStages", {})
    attached = {stage: version for version, stages in versions.items() for stage in stages}
    return {**dict.fromkeys(_OWN), **attached}


def _read(clients: Clients, target: str) -> Json:
    return read_stages(clients, target)


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    move_labels(clients, change)


def move_labels(clients: Clients, change: Change) -> None:
    """Move each label that is not yet where it belongs, AWSCURRENT first: it takes one along.

    Each move names the version that it takes the label from, so that AWS refuses it when
    somebody else was faster.
    """
    moves = clients.aws("secretsmanager", once=True)
    for stage in sorted(change.after, key=lambda name: name != CURRENT):
        now, wanted = read_stages(clients, change.target).get(stage), change.after[stage]
        if now == wanted:
            continue
        ends = {"RemoveFromVersionId": now, "MoveToVersionId": wanted}
        moves.update_secret_version_stage(
            SecretId=change.target.removeprefix("secret:"),
            VersionStage=stage,
            **{end: version for end, version in ends.items() if version},
        )


register(KIND, read=_read, apply=_apply, measure=lambda change: {"secrets": 1})
