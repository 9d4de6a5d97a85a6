"""Who calls the control plane, what it remembers of it, and what it says it cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

WRONG_KEY = {"aws_access_key_id": "AKIAWRONG", "aws_secret_access_key": "wrong"}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("profile", ["oncall", "approver"])
def test_each_profile_is_an_identity_of_its_own(aws: Callable[..., Any], profile: str) -> None:
    answer = aws("sts", profile=profile).get_caller_identity()
    assert answer["Account"] == "123456789012"
    assert answer["Arn"] == f"arn:aws:iam::123456789012:user/{profile}"


def test_default_profile_is_the_one_on_call(aws: Callable[..., Any]) -> None:
    assert aws("sts", profile="default").get_caller_identity()["Arn"].endswith(":user/oncall")


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("rds", "describe_db_clusters", "InvalidClientTokenId"),
        ("route53", "list_hosted_zones", "InvalidClientTokenId"),
        ("secretsmanager", "list_secrets", "UnrecognizedClientException"),
        ("s3", "list_buckets", "InvalidAccessKeyId"),
    ],
)
def test_unknown_access_key_is_refused_in_each_protocol(
    aws: Callable[..., Any], service: str, operation: str, code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(aws(service, **WRONG_KEY), operation)()
    assert code_of(refused) == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_cloudtrail_shows_a_change_with_its_caller_and_without_its_secret(
    changing: Callable[..., Any],
) -> None:
    changing("secretsmanager", profile="approver").put_secret_value(
        SecretId="OPENAI_API_KEY", SecretString="sk-never-to-be-seen"
    )
    attribute = {"AttributeKey": "EventName", "AttributeValue": "PutSecretValue"}
    (event,) = changing("cloudtrail").lookup_events(LookupAttributes=[attribute])["Events"]
    record = json.loads(event["CloudTrailEvent"])
    assert event["Username"] == "approver"
    assert record["userIdentity"]["arn"] == "arn:aws:iam::123456789012:user/approver"
    assert record["requestParameters"]["SecretId"] == "OPENAI_API_KEY"
    assert "never-to-be-seen" not in json.dumps(event, default=str)


def test_cloudtrail_finds_what_happened_to_a_bucket_or_a_zone(changing: Callable[..., Any]) -> None:
    changing("s3").put_bucket_versioning(
        Bucket="ai-studio-quarantine", VersioningConfiguration={"Status": "Suspended"}
    )
    (zone,) = changing("route53").list_hosted_zones()["HostedZones"]
    changing("route53").list_resource_record_sets(HostedZoneId=zone["Id"])
    for name, action in (
        ("ai-studio-quarantine", "PutBucketVersioning"),
        (zone["Id"].rsplit("/", 1)[-1], "ListResourceRecordSets"),
    ):
        attribute = {"AttributeKey": "ResourceName", "AttributeValue": name}
        (event,) = changing("cloudtrail").lookup_events(LookupAttributes=[attribute])["Events"]
        assert event["EventName"] == action


def test_call_log_names_operations_of_every_protocol(fresh_control_plane: Any) -> None:
    last = fresh_control_plane.control("GET", "calls?since=0")["last"]
    s3 = fresh_control_plane.client("s3")
    s3.put_object(Bucket="ai-studio-assets", Key="k", Body=b"1")
    source = {"Bucket": "ai-studio-assets", "Key": "k"}
    s3.copy_object(Bucket="ai-studio-backup-assets", Key="k", CopySource=source)
    s3.delete_object(Bucket="ai-studio-assets", Key="k")
    fresh_control_plane.client("cloudwatch").describe_alarms()
    fresh_control_plane.client("sesv2").get_account()
    calls = fresh_control_plane.control("GET", f"calls?since={last}")["calls"]
    assert [(call["action"], call["read_only"]) for call in calls] == [
        ("PutObject", False),
        ("CopyObject", False),
        ("DeleteObject", False),
        ("DescribeAlarms", True),
        ("GetAccount", True),
    ]
    assert {call["user"] for call in calls} == {"oncall"}


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("ecs", "create_service", {"cluster": "ai-studio-cluster", "serviceName": "x"}),
        ("ecs", "list_service_deployments", {"cluster": "ai-studio-cluster", "service": "x"}),
        ("cloudwatch", "describe_anomaly_detectors", {}),
        ("rds", "describe_events", {}),
        ("lambda", "list_functions", {}),
    ],
)
def test_what_is_missing_says_so_in_the_shape_of_an_aws_error(
    aws: Callable[..., Any], service: str, operation: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match="not in the sandbox yet") as refused:
        getattr(aws(service), operation)(**arguments)
    assert code_of(refused) == "NotInTheSandbox"


def test_ordered_fault_strikes_as_often_as_it_was_ordered(fresh_control_plane: Any) -> None:
    fault = {"service": "ecs", "action": "ListClusters", "times": 1, "status": 400,
             "code": "ThrottlingException"}  # fmt: skip
    fresh_control_plane.control("POST", "faults", fault)
    ecs = fresh_control_plane.client("ecs")
    with pytest.raises(ClientError) as refused:
        ecs.list_clusters()
    assert code_of(refused) == "ThrottlingException"
    assert ecs.list_clusters()["clusterArns"]
    assert fresh_control_plane.control("GET", "faults")["faults"] == []


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code"),
    [
        ("rds", "describe_db_clusters", {"DBClusterIdentifier": "no"}, "DBClusterNotFoundFault"),
        ("s3", "list_objects_v2", {"Bucket": "no-such-bucket"}, "NoSuchBucket"),
        ("secretsmanager", "describe_secret", {"SecretId": "no"}, "ResourceNotFoundException"),
        ("cloudwatch", "get_dashboard", {"DashboardName": "no"}, "ResourceNotFound"),
    ],
)
def test_failed_call_is_remembered_with_its_code(
    control_plane: Any, service: str, operation: str, arguments: dict[str, str], code: str
) -> None:
    last = control_plane.control("GET", "calls?since=0")["last"]
    with pytest.raises(ClientError):
        getattr(control_plane.client(service), operation)(**arguments)
    (call,) = control_plane.control("GET", f"calls?since={last}")["calls"]
    assert call["error"].startswith(code)
