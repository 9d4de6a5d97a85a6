"""What keeps the Studio's data and its names: buckets, Aurora, Redis, DNS, mail."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

BUCKETS = pytest.mark.parametrize("bucket", names.BUCKETS)


def cluster(rds: Any, name: str = names.DATABASE_CLUSTER) -> dict[str, Any]:
    (found,) = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
    return dict(found)


def records(route53: Any) -> dict[tuple[str, str], dict[str, Any]]:
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    found = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    return {(one["Name"].rstrip("."), one["Type"]): one for one in found}


@BUCKETS
def test_bucket_is_versioned_encrypted_and_closed(aws: Callable[..., Any], bucket: str) -> None:
    s3 = aws("s3")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    access = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(access.values())
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert s3.get_bucket_encryption(Bucket=bucket)


def test_backup_bucket_lies_in_the_backup_region_and_has_all_assets(
    aws: Callable[..., Any],
) -> None:
    s3 = aws("s3")
    where = s3.get_bucket_location(Bucket=names.BACKUP_BUCKET)["LocationConstraint"]
    keys = [
        {one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]}
        for bucket in (names.ASSETS_BUCKET, names.BACKUP_BUCKET)
    ]
    assert where == "eu-west-1"
    assert keys[0] == keys[1]
    assert len(keys[0]) == 300


def test_terraform_state_has_a_version_for_each_apply(aws: Callable[..., Any]) -> None:
    versions = aws("s3").list_object_versions(Bucket=names.STATE_BUCKET)["Versions"]
    times = [one["LastModified"] for one in versions]
    assert len(versions) == 6
    assert [one["IsLatest"] for one in versions] == [True] + [False] * 5
    assert times == sorted(times, reverse=True)


def test_deleted_object_comes_back_with_its_marker_gone(changing: Callable[..., Any]) -> None:
    s3, asset = changing("s3"), {"Bucket": names.ASSETS_BUCKET}
    asset["Key"] = s3.list_objects_v2(**asset)["Contents"][0]["Key"]
    before = s3.get_object(**asset)["Body"].read()
    marker = s3.delete_object(**asset)
    with pytest.raises(ClientError) as gone:
        s3.head_object(**asset)
    assert gone.value.response["Error"]["Code"] == "404"
    s3.delete_object(**asset, VersionId=marker["VersionId"])
    assert s3.get_object(**asset)["Body"].read() == before


def test_a_bucket_whose_policy_denies_that_is_not_deleted_and_the_trail_names_it(
    changing: Callable[..., Any],
) -> None:
    s3, bucket = changing("s3"), "to-be-kept"
    s3.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    statement = {"Sid": "Keep", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket",
                 "Resource": f"arn:aws:s3:::{bucket}"}  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)
    events = changing("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "DeleteBucket"}]
    )["Events"]
    told = [json.loads(one["CloudTrailEvent"]) for one in events]
    assert told[0]["requestParameters"] == {"bucketName": bucket}
    assert "errorCode" in told[1]


def test_object_is_written_once_where_that_was_asked(changing: Callable[..., Any]) -> None:
    new = {"Bucket": names.ASSETS_BUCKET, "Key": "once", "IfNoneMatch": "*"}
    changing("s3").put_object(**new, Body=b"1")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        changing("s3").put_object(**new, Body=b"2")


def test_database_is_serverless_protected_and_restorable(
    aws: Callable[..., Any], control_plane: Any
) -> None:
    found = cluster(aws("rds"))
    scaling = found["ServerlessV2ScalingConfiguration"]
    assert (scaling["MinCapacity"], scaling["MaxCapacity"]) == (0.5, 8)
    assert (found["Status"], found["BackupRetentionPeriod"]) == ("available", 7)
    assert found["DeletionProtection"]
    lag = datetime.now(UTC) - found["LatestRestorableTime"]
    assert timedelta(minutes=3) < lag < timedelta(minutes=10)
    assert control_plane.anchor - timedelta(days=8.1) < found["EarliestRestorableTime"]


def test_database_has_a_writer_and_a_reader_in_different_zones(aws: Callable[..., Any]) -> None:
    members = {m["DBInstanceIdentifier"]: m["IsClusterWriter"] for m in
               cluster(aws("rds"))["DBClusterMembers"]}  # fmt: skip
    instances = aws("rds").describe_db_instances()["DBInstances"]
    assert members == {names.DATABASE_WRITER: True, names.DATABASE_READER: False}
    assert len({one["AvailabilityZone"] for one in instances}) == 2
    assert {one["DBInstanceClass"] for one in instances} == {"db.serverless"}


def test_snapshots_are_daily_for_a_week_and_two_by_hand(
    aws: Callable[..., Any], control_plane: Any
) -> None:
    snapshots = aws("rds").describe_db_cluster_snapshots()["DBClusterSnapshots"]
    daily = sorted(s["SnapshotCreateTime"] for s in snapshots if s["SnapshotType"] == "automated")
    assert len(daily) == 7
    assert len(snapshots) == 9
    assert {after - before for before, after in pairwise(daily)} == {timedelta(days=1)}
    assert control_plane.anchor - timedelta(days=1) < daily[-1] < control_plane.anchor


@pytest.mark.parametrize("way", ["snapshot", "point in time"])
def test_restored_cluster_has_no_instance_and_stands_in_the_default_network(
    changing: Callable[..., Any], way: str
) -> None:
    rds, new = changing("rds"), {"DBClusterIdentifier": "restored"}
    if way == "snapshot":
        (snapshot, *_) = rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
        identifier = snapshot["DBClusterSnapshotIdentifier"]
        rds.restore_db_cluster_from_snapshot(
            **new, SnapshotIdentifier=identifier, Engine="aurora-postgresql"
        )
    else:
        rds.restore_db_cluster_to_point_in_time(
            **new, SourceDBClusterIdentifier=names.DATABASE_CLUSTER, UseLatestRestorableTime=True
        )
    source, restored = cluster(rds), cluster(rds, "restored")
    assert restored["DBClusterMembers"] == []
    assert restored["DBSubnetGroup"] == "default"
    assert restored["VpcSecurityGroups"] != source["VpcSecurityGroups"]
    assert not restored["DeletionProtection"]
    assert "ServerlessV2ScalingConfiguration" not in restored


def test_restored_cluster_stands_where_it_is_told_to(changing: Callable[..., Any]) -> None:
    rds = changing("rds")
    source = cluster(rds)
    groups = [group["VpcSecurityGroupId"] for group in source["VpcSecurityGroups"]]
    rds.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="restored",
        SourceDBClusterIdentifier=names.DATABASE_CLUSTER,
        UseLatestRestorableTime=True,
        DBSubnetGroupName=source["DBSubnetGroup"],
        VpcSecurityGroupIds=groups,
        DBClusterParameterGroupName=source["DBClusterParameterGroup"],
        ServerlessV2ScalingConfiguration=source["ServerlessV2ScalingConfiguration"],
    )
    restored = cluster(rds, "restored")
    for key in ("DBSubnetGroup", "VpcSecurityGroups", "DBClusterParameterGroup",
                "ServerlessV2ScalingConfiguration"):  # fmt: skip
        assert restored[key] == source[key]


def test_protected_cluster_is_not_deleted(aws: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="protect"):
        aws("rds").delete_db_cluster(
            DBClusterIdentifier=names.DATABASE_CLUSTER, SkipFinalSnapshot=True
        )
    assert cluster(aws("rds"))["Status"] == "available"


def test_redis_has_a_primary_and_a_replica(aws: Callable[..., Any]) -> None:
    cache = aws("elasticache")
    (group,) = cache.describe_replication_groups()["ReplicationGroups"]
    (nodes,) = group["NodeGroups"]
    roles = {m["CacheClusterId"]: m["CurrentRole"] for m in nodes["NodeGroupMembers"]}
    assert (group["ReplicationGroupId"], group["Status"]) == (names.REDIS_GROUP, "available")
    assert sorted(roles.values()) == ["primary", "replica"]
    assert ".euc1.cache." in nodes["PrimaryEndpoint"]["Address"]
    existing = cache.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    assert {one["CacheClusterId"] for one in existing} == set(roles)
    assert {one["CacheNodes"][0]["CacheNodeStatus"] for one in existing} == {"available"}


def test_hosts_follow_the_load_balancer(aws: Callable[..., Any]) -> None:
    (balancer,) = aws("elbv2").describe_load_balancers()["LoadBalancers"]
    found = records(aws("route53"))
    for host in (names.APP_HOST, names.API_HOST, names.GATEWAY_HOST):
        target = found[host, "A"]["AliasTarget"]
        assert target["DNSName"].rstrip(".") == f"dualstack.{balancer['DNSName']}"
        assert target["HostedZoneId"] == balancer["CanonicalHostedZoneId"]


def test_changed_record_is_read_back(changing: Callable[..., Any]) -> None:
    route53 = changing("route53")
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    record = {"Name": names.API_HOST, "Type": "TXT", "TTL": 60,
              "ResourceRecords": [{"Value": '"moved"'}]}  # fmt: skip
    route53.change_resource_record_sets(
        HostedZoneId=zone["Id"],
        ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]},
    )
    assert records(route53)[names.API_HOST, "TXT"]["TTL"] == 60


def test_mail_is_out_of_the_sandbox_and_its_domain_signs(aws: Callable[..., Any]) -> None:
    account = aws("sesv2").get_account()
    domain = aws("sesv2").get_email_identity(EmailIdentity=names.MAIL_DOMAIN)
    assert account["ProductionAccessEnabled"]
    assert account["SendingEnabled"]
    assert account["SendQuota"]["SentLast24Hours"] < account["SendQuota"]["Max24HourSend"]
    assert domain["VerifiedForSendingStatus"]
    for token in domain["DkimAttributes"]["Tokens"]:
        assert (f"{token}._domainkey.{names.DOMAIN}", "CNAME") in records(aws("route53"))


def test_mail_statistics_add_up_to_what_was_sent(aws: Callable[..., Any]) -> None:
    points = aws("ses").get_send_statistics()["SendDataPoints"]
    sent = sum(point["DeliveryAttempts"] for point in points)
    assert sent == aws("sesv2").get_account()["SendQuota"]["SentLast24Hours"]


def test_switched_off_sending_shows_in_both_apis(changing: Callable[..., Any]) -> None:
    changing("ses").update_account_sending_enabled(Enabled=False)
    assert not changing("ses").get_account_sending_enabled()["Enabled"]
    assert not changing("sesv2").get_account()["SendingEnabled"]


def test_new_identity_waits_for_its_owner(changing: Callable[..., Any]) -> None:
    ses, address = changing("ses"), f"new@{names.DOMAIN}"
    ses.verify_email_identity(EmailAddress=address)
    found = ses.get_identity_verification_attributes(Identities=[address])
    assert found["VerificationAttributes"][address]["VerificationStatus"] == "Pending"


def test_people_have_mfa_and_their_devices_keep_their_seeds(aws: Callable[..., Any]) -> None:
    devices = aws("iam").list_virtual_mfa_devices()["VirtualMFADevices"]
    assert {"oncall", "approver"} <= {one["User"]["UserName"] for one in devices}
    assert not [one for one in devices if "Base32StringSeed" in one]


def test_backup_region_has_what_a_failover_needs_first(aws: Callable[..., Any]) -> None:
    there = {"region": "eu-west-1"}
    for service in names.SERVICES:
        found = [
            {
                image["imageDigest"]
                for image in ecr.describe_images(repositoryName=service)["imageDetails"]
            }
            for ecr in (aws("ecr"), aws("ecr", **there))
        ]
        assert found[0] == found[1]
    snapshots = aws("rds", **there).describe_db_cluster_snapshots()["DBClusterSnapshots"]
    assert len(snapshots) == 2
    assert aws("ecs", **there).list_clusters()["clusterArns"]
    found = aws("ecs", **there).describe_services(
        cluster=names.CLUSTER, services=list(names.SERVICES)
    )["services"]
    assert [one["desiredCount"] for one in found] == [0, 0, 0, 0]
    for one in found:
        definition = aws("ecs", **there).describe_task_definition(
            taskDefinition=one["taskDefinition"]
        )["taskDefinition"]
        assert "eu-central-1" not in str(definition)
    balancers = aws("elbv2", **there).describe_load_balancers(Names=[names.LOAD_BALANCER])
    assert balancers["LoadBalancers"][0]["State"]["Code"] == "active"


def test_snapshot_copy_is_restored_in_the_backup_region(changing: Callable[..., Any]) -> None:
    rds = changing("rds", region="eu-west-1")
    (snapshot, *_) = rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
    (group,) = rds.describe_db_subnet_groups()["DBSubnetGroups"]
    made = rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier=names.DATABASE_CLUSTER,
        SnapshotIdentifier=snapshot["DBClusterSnapshotIdentifier"],
        Engine="aurora-postgresql",
        DBSubnetGroupName=group["DBSubnetGroupName"],
    )["DBCluster"]
    assert made["DBClusterArn"].split(":")[3] == "eu-west-1"
    assert all(zone.startswith("eu-west-1") for zone in made["AvailabilityZones"])
