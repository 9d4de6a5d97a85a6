"""What keeps data and what leads to it: cache, mail, names, objects, database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.proofs.probing import Aws, Probe, unique

# ElastiCache


def _cache(aws: Aws) -> dict[str, Any]:
    found = aws("elasticache").describe_replication_groups(ReplicationGroupId=names.REDIS_GROUP)
    return dict(found["ReplicationGroups"][0])


def _primary(aws: Aws) -> str:
    members = _cache(aws)["NodeGroups"][0]["NodeGroupMembers"]
    (found,) = [m["CacheClusterId"] for m in members if m["CurrentRole"] == "primary"]
    return str(found)


def _changed_cache(aws: Aws, change: Callable[[], Any]) -> list[str]:
    """The group's status at once, and in the end."""
    status = change()["ReplicationGroup"]["Status"]
    ended = aws.until(lambda: _cache(aws)["Status"], lambda now: now == "available")
    return [status, ended]


def _failed_over(aws: Aws) -> list[Any]:
    before = _primary(aws)
    states = _changed_cache(
        aws,
        lambda: aws("elasticache").test_failover(
            ReplicationGroupId=names.REDIS_GROUP, NodeGroupId="0001"
        ),
    )
    return [*states, _primary(aws) != before]


def _resized(aws: Aws) -> list[Any]:
    states = _changed_cache(
        aws,
        lambda: aws("elasticache").modify_replication_group(
            ReplicationGroupId=names.REDIS_GROUP,
            CacheNodeType="cache.t4g.medium",
            ApplyImmediately=True,
        ),
    )
    nodes = aws("elasticache").describe_cache_clusters()["CacheClusters"]
    return [*states, sorted({one["CacheNodeType"] for one in nodes})]


_CACHE = (
    Probe("ElastiCache", "TestFailover: modifying, available, another primary",
          ["modifying", "available", True], _failed_over),
    Probe("ElastiCache", "ModifyReplicationGroup, a node type: of all nodes in the end",
          ["modifying", "available", ["cache.t4g.medium"]], _resized),
)  # fmt: skip


# SES


def _mail(source: str, to: str) -> dict[str, Any]:
    return {
        "Source": source,
        "Destination": {"ToAddresses": [to]},
        "Message": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "b"}}},
    }


def _new_domain(aws: Aws) -> list[Any]:
    made = aws("sesv2").create_email_identity(EmailIdentity=f"{unique('d')}.example")
    return [made["DkimAttributes"]["Status"], len(made["DkimAttributes"].get("Tokens", []))]


def _new_address(aws: Aws) -> str:
    address = f"{unique('a')}@elsewhere.example"
    aws("ses").verify_email_identity(EmailAddress=address)
    found = aws("ses").get_identity_verification_attributes(Identities=[address])
    return str(found["VerificationAttributes"][address]["VerificationStatus"])


def _paused(aws: Aws) -> bool:
    """Switched off in v1, read in v2, and switched on again."""
    aws("ses").update_account_sending_enabled(Enabled=False)
    try:
        return bool(aws("sesv2").get_account()["SendingEnabled"])
    finally:
        aws("ses").update_account_sending_enabled(Enabled=True)


_MAIL = (
    Probe("SES", "VerifyEmailIdentity waits for its owner", "Pending", _new_address),
    Probe("SES", "CreateEmailIdentity of a domain: DKIM waits for three records", ["PENDING", 3],
          _new_domain),
    Probe("SES", "SendEmail from an address that nobody verified", "error MessageRejected",
          lambda aws: aws("ses").send_email(**_mail("no@nowhere.example", names.MAIL_SENDER))),
    Probe("SES", "UpdateAccountSendingEnabled, then GetAccount of v2", False, _paused),
    Probe("SES", "ListSuppressedDestinations", [],
          lambda aws: aws("sesv2").list_suppressed_destinations()
          ["SuppressedDestinationSummaries"]),
)  # fmt: skip


# Route 53


def _records(aws: Aws, *changes: tuple[str, str]) -> Any:
    """Changes of one TXT record in a zone of its own: action and value; gives the last answer."""
    domain = f"{unique('z')}.example"
    zone = aws("route53").create_hosted_zone(Name=domain, CallerReference=domain)
    answer: Any = None
    for action, value in changes:
        record = {"Name": f"a.{domain}", "Type": "TXT", "TTL": 60,
                  "ResourceRecords": [{"Value": f'"{value}"'}]}  # fmt: skip
        answer = aws("route53").change_resource_record_sets(
            HostedZoneId=zone["HostedZone"]["Id"],
            ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]},
        )
    return answer


def _synchronised(aws: Aws) -> list[str]:
    change = _records(aws, ("CREATE", "1"))["ChangeInfo"]
    end = aws.until(
        lambda: aws("route53").get_change(Id=change["Id"])["ChangeInfo"]["Status"],
        lambda status: status == "INSYNC",
    )
    return [change["Status"], end]


_DNS = (
    Probe("Route 53", "CREATE of a record that exists", "error InvalidChangeBatch",
          lambda aws: _records(aws, ("CREATE", "1"), ("CREATE", "2"))["ChangeInfo"]["Status"]),
    Probe("Route 53", "DELETE with another value", "error InvalidChangeBatch",
          lambda aws: _records(aws, ("CREATE", "1"), ("DELETE", "2"))),
    Probe("Route 53", "ChangeResourceRecordSets, then GetChange", ["PENDING", "INSYNC"],
          _synchronised),
    Probe("Route 53", "GetChange of a change that nobody made", "error NoSuchChange",
          lambda aws: aws("route53").get_change(Id="C1PA6795UKMFR9")["ChangeInfo"]["Status"]),
)  # fmt: skip


# S3


def _locked(aws: Aws, do: Callable[[Any, dict[str, Any]], Any]) -> Any:
    """Do something to a version that compliance mode keeps for a day."""
    s3, bucket = aws("s3"), unique("probe")
    s3.create_bucket(
        Bucket=bucket,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    version = s3.put_object(
        Bucket=bucket,
        Key="kept",
        Body=b"1",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
    )["VersionId"]
    do(s3, {"Bucket": bucket, "Key": "kept", "VersionId": version})
    return "done"


def _twice(aws: Aws) -> str:
    s3, key = aws("s3"), unique("probe")
    for _ in range(2):
        s3.put_object(Bucket=names.ASSETS_BUCKET, Key=key, Body=b"1", IfNoneMatch="*")
    return "done"


_OBJECTS = (
    Probe("S3", "DeleteObject of a version in compliance mode", "error AccessDenied",
          lambda aws: _locked(aws, lambda s3, it: s3.delete_object(**it))),
    Probe("S3", "PutObject with If-None-Match: * of a key that exists", "error PreconditionFailed",
          _twice),
)  # fmt: skip


# RDS


def _cluster(aws: Aws) -> dict[str, Any]:
    found = aws("rds").describe_db_clusters(DBClusterIdentifier=names.DATABASE_CLUSTER)
    return dict(found["DBClusters"][0])


_DATABASE = (
    Probe("RDS", "LatestRestorableTime lies in the last ten minutes", True,
          lambda aws: timedelta(0) <= datetime.now(UTC) - _cluster(aws)["LatestRestorableTime"]
          < timedelta(minutes=10)),
    Probe("RDS", "DeleteDBCluster of a protected cluster", "error InvalidParameterCombination",
          lambda aws: aws("rds").delete_db_cluster(
              DBClusterIdentifier=names.DATABASE_CLUSTER, SkipFinalSnapshot=True)),
    Probe("RDS", "DescribeEvents of the last hour: its events", "events",
          lambda aws: aws("rds").describe_events(
              SourceType="db-cluster", Duration=60)["Events"], refused=True),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*_CACHE, *_MAIL, *_DNS, *_OBJECTS, *_DATABASE)
