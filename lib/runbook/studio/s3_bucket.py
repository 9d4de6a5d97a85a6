"""A bucket as a kind of change: that there is one, and how it is protected.

Kind of change: `s3-bucket`; target `bucket:NAME@REGION`. What is compared: `region` (null: there is
no such bucket), `versioning`, `encryption`, `public_access` (whether all of it is blocked),
`lifecycle` (rules by id), `policy` (statements by Sid) and `tags`. Only keys that differ are in a
change; what is not named stays as it is.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json
from runbook.clients import Clients
from runbook.errors import NotReachable
from runbook.record.journal import Intent

KIND = "s3-bucket"
DENY_DELETE = (
    "DenyBucketDeletion"  # the Sid of the statement that keeps a bucket from being deleted
)
KEEP_VERSIONS = "forget-old-versions"  # the id of the rule that removes overwritten versions
_NONE = frozenset({
    "NoSuchLifecycleConfiguration", "NoSuchBucketPolicy", "NoSuchTagSet",
    "ServerSideEncryptionConfigurationNotFoundError", "NoSuchPublicAccessBlockConfiguration",
})  # fmt: skip
_ENCRYPTION = "AES256"  # S3's own keys: what S3 does by default
_BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Bucket:
    """How a bucket is set up. `region` is empty when there is no such bucket."""

    name: str
    region: str = ""
    versioning: str = ""  # Enabled, Suspended, or empty: never
    mfa_delete: bool = False
    encryption: str = ""  # the algorithm
    public_access: str = ""  # blocked, or empty
    lifecycle: Mapping[str, Json] = field(default_factory=dict)  # rules by id
    policy: Mapping[str, Json] = field(default_factory=dict)  # statements by Sid
    tags: Mapping[str, str] = field(default_factory=dict)
    replication: bool = False

    @property
    def there(self) -> bool:
        return bool(self.region)

    @property
    def versions_kept_days(self) -> int | None:
        """How long an overwritten version is kept; None: for ever, or not at all."""
        days = [
            rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
            for rule in self.lifecycle.values()
            if rule.get("Status") == "Enabled" and "NoncurrentVersionExpiration" in rule
        ]
        return min(days, default=None)

    @property
    def denies_deletion(self) -> bool:
        """Whether its policy denies everybody to delete the bucket."""
        return any(
            one["Effect"] == "Deny"
            and one.get("Principal") in ("*", {"AWS": "*"})
            and "s3:DeleteBucket" in _listed(one.get("Action"))
            for one in self.policy.values()
        )

    def as_json(self) -> dict[str, Json]:
        """What a change of it speaks of."""
        return {
            "region": self.region or None,
            # what was never versioned cannot be so again: it counts as suspended
            "versioning": self.versioning or "Suspended",
            "encryption": self.encryption or None,
            "public_access": self.public_access or None,
            "lifecycle": dict(self.lifecycle),
            "policy": dict(self.policy),
            "tags": dict(self.tags),
        }


def read_bucket(s3: Any, name: str) -> Bucket:
    """A bucket as it is set up; one without a region when there is none.

    Raises NotReachable when the bucket is another account's, or may not be read.
    """
    from botocore.exceptions import ClientError

    try:
        location = s3.get_bucket_location(Bucket=name)["LocationConstraint"]
    except s3.exceptions.NoSuchBucket:
        return Bucket(name)
    except ClientError as error:
        raise NotReachable(f"The bucket {name} does not let itself be read: {error}") from error
    versioning = s3.get_bucket_versioning(Bucket=name)
    encryption = _or_none(s3.get_bucket_encryption, name, "ServerSideEncryptionConfiguration")
    access = _or_none(s3.get_public_access_block, name, "PublicAccessBlockConfiguration") or {}
    policy = json.loads(_or_none(s3.get_bucket_policy, name, "Policy") or "{}")
    return Bucket(
        name,
        region=location or "us-east-1",  # as S3 says it
        versioning=versioning.get("Status", ""),
        mfa_delete=versioning.get("MFADelete") == "Enabled",
        encryption=_algorithm(encryption),
        public_access="blocked" if all(access.get(one) for one in _BLOCKED) else "",
        lifecycle={
            rule.get("ID", f"rule-{n}"): _plain_rule(rule)
            for n, rule in enumerate(_or_none(s3.get_bucket_lifecycle_configuration, name, "Rules")
                                     or ())
        },
        policy={
            one.get("Sid", f"statement-{n}"): one
            for n, one in enumerate(_listed(policy.get("Statement")))
        },
        tags=_tags(s3, name),
        replication=bool(_replicated(s3, name)),
    )  # fmt: skip


def target_of(name: str, region: str) -> str:
    """What is locked and guarded."""
    return f"bucket:{name}@{region}"


def change_of(found: Bucket, wanted: Mapping[str, Json], *, region: str) -> Change | None:
    """The change of just the settings that differ; None when none does. Pure.

    A bucket that there is not is created in `region`, which cannot be taken back: a bucket with
    objects in it is not deleted here.
    """
    has = found.as_json()
    after = {key: value for key, value in wanted.items() if has[key] != value}
    if not found.there:
        after = {"region": region, **after}
    if not after:
        return None
    before = {key: has[key] for key in after}
    return Change(KIND, target_of(found.name, region), before, after, reversible=found.there)


def protected(found: Bucket, *, keep_days: int) -> dict[str, Json]:
    """The settings of a bucket as the strategy wants them; what it has beyond that stays. Pure."""
    kept, rules = found.versions_kept_days, dict(found.lifecycle)
    if kept is None or kept < keep_days:
        others = {
            name: rule for name, rule in rules.items() if "NoncurrentVersionExpiration" not in rule
        }
        rules = {**others, KEEP_VERSIONS: keep_versions(keep_days)}
    policy = dict(found.policy)
    if not found.denies_deletion:
        policy[DENY_DELETE] = deny_delete(found.name)
    return {
        "versioning": "Enabled",
        "encryption": found.encryption or _ENCRYPTION,
        "public_access": "blocked",
        "lifecycle": rules,
        "policy": policy,
    }


@dataclass(frozen=True)
class Deletion:
    """Who deleted a bucket, and when, as CloudTrail has it."""

    at: datetime
    by: str


def read_deletion(cloudtrail: Any, name: str) -> Deletion | None:
    """The last deletion of a bucket within CloudTrail's 90 days; None when it has none.

    Source: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "DeleteBucket"}]
    )
    for one in (each for page in pages for each in page["Events"]):  # the newest first
        told = json.loads(one["CloudTrailEvent"])
        if "errorCode" in told:
            continue
        if (told.get("requestParameters") or {}).get("bucketName") == name:
            by = told.get("userIdentity", {}).get("arn") or one.get("Username", "somebody")
            return Deletion(one["EventTime"], by)
    return None


def deny_delete(name: str) -> dict[str, Json]:
    """The statement that keeps a bucket from being deleted, by anybody, before it is taken away."""
    return {
        "Sid": DENY_DELETE,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteBucket",
        "Resource": f"arn:aws:s3:::{name}",
    }


def keep_versions(days: int) -> dict[str, Json]:
    """The rule that removes overwritten versions after so many days, and uploads left half done."""
    return {
        "ID": KEEP_VERSIONS,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }


def _listed(value: Any) -> list[Any]:
    """One or several, as policies have it."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _tags(s3: Any, name: str) -> dict[str, str]:
    found = _or_none(s3.get_bucket_tagging, name, "TagSet") or ()
    return {one["Key"]: one["Value"] for one in found}


def _algorithm(encryption: Mapping[str, Any] | None) -> str:
    rules = (encryption or {}).get("Rules", ())
    found = [one["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for one in rules]
    return str(found[0]) if found else ""


def _plain_rule(rule: Mapping[str, Any]) -> dict[str, Json]:
    """A rule as it is sent: what is only answered (a filter that is a deprecated prefix) is not."""
    kept: dict[str, Json] = json.loads(json.dumps(rule, default=str))
    return kept


def _or_none(call: Callable[..., Any], name: str, key: str) -> Any:
    from botocore.exceptions import ClientError

    try:
        return call(Bucket=name).get(key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NONE:
            return None
        raise


def _replicated(s3: Any, name: str) -> Any:
    from botocore.exceptions import ClientError

    try:
        return s3.get_bucket_replication(Bucket=name)["ReplicationConfiguration"]["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ReplicationConfigurationNotFoundError":
            return None
        raise


# the kind of change


def _named(target: str) -> tuple[str, str]:
    name, _, region = target.removeprefix("bucket:").partition("@")
    return name, region


def _read(clients: Clients, target: str) -> Json:
    name, region = _named(target)
    return read_bucket(clients.aws("s3", region=region), name).as_json()


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Create the bucket if that is asked, then bring each setting to its value."""
    name, region = _named(change.target)
    s3 = clients.aws("s3", region=region)
    after = dict(change.after)
    if after.pop("region", None) and not read_bucket(s3, name).there:
        # only us-east-1 is not named
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **({} if region == "us-east-1" else where))
    for setting, value in after.items():
        _SETTERS[setting](s3, name, value)


def _set_versioning(s3: Any, name: str, value: Json) -> None:
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": value})


def _set_encryption(s3: Any, name: str, value: Json) -> None:
    if value is None:
        s3.delete_bucket_encryption(Bucket=name)
        return
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": value}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})


def _set_public_access(s3: Any, name: str, value: Json) -> None:
    if value is None:
        s3.delete_public_access_block(Bucket=name)
        return
    s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(_BLOCKED, True)
    )


def _set_lifecycle(s3: Any, name: str, value: Json) -> None:
    if not value:
        s3.delete_bucket_lifecycle(Bucket=name)
        return
    s3.put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": list(value.values())}
    )


def _set_policy(s3: Any, name: str, value: Json) -> None:
    if not value:
        s3.delete_bucket_policy(Bucket=name)
        return
    policy = {"Version": "2012-10-17", "Statement": list(value.values())}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))


def _set_tags(s3: Any, name: str, value: Json) -> None:
    if not value:
        s3.delete_bucket_tagging(Bucket=name)
        return
    tags = [{"Key": key, "Value": text} for key, text in value.items()]
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})


_SETTERS: dict[str, Callable[[Any, str, Json], None]] = {
    "versioning": _set_versioning,
    "encryption": _set_encryption,
    "public_access": _set_public_access,
    "lifecycle": _set_lifecycle,
    "policy": _set_policy,
    "tags": _set_tags,
}


register(
    KIND,
    read=_read,
    apply=_apply,
    measure=lambda change: {"buckets": 1},
    parted=True,
)
