"""Faults of AWS calls as callers meet them: errors in their service's words, lost answers."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from studio_sandbox.control_plane import names

CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ecs": ("ecs", "list_clusters", {}),
    "rds": ("rds", "describe_db_clusters", {}),
    "s3": ("s3", "list_objects_v2", {"Bucket": names.ASSETS_BUCKET}),
    "ec2": ("ec2", "describe_vpcs", {}),
    "ses": ("sesv2", "get_account", {}),
    "monitoring": ("cloudwatch", "describe_alarms", {}),
}


@pytest.fixture
def faulty(control_plane: Any) -> Iterator[Any]:
    """The session's own, without faults afterwards: they change nothing else."""
    yield control_plane
    control_plane.control("DELETE", "faults")


def order(control_plane: Any, **fault: Any) -> None:
    control_plane.control("POST", "faults", {"action": "*", **fault})


def call(control_plane: Any, signed_for: str) -> Any:
    service, operation, arguments = CALLS[signed_for]
    return getattr(control_plane.client(service), operation)(**arguments)


@pytest.mark.parametrize(
    ("name", "service", "code"),
    [
        ("throttled", "ecs", "ThrottlingException"),
        ("throttled", "rds", "Throttling"),
        ("throttled", "s3", "SlowDown"),
        ("throttled", "ec2", "RequestLimitExceeded"),
        ("throttled", "ses", "TooManyRequestsException"),
        ("throttled", "monitoring", "ThrottlingException"),
        ("denied", "ecs", "AccessDeniedException"),
        ("denied", "rds", "AccessDenied"),
        ("denied", "ec2", "UnauthorizedOperation"),
        ("expired", "ecs", "ExpiredTokenException"),
        ("expired", "rds", "ExpiredToken"),
        ("expired", "s3", "ExpiredToken"),
    ],
)
def test_named_error_has_the_code_of_its_service(
    faulty: Any, name: str, service: str, code: str
) -> None:
    order(faulty, service=service, name=name)
    with pytest.raises(ClientError) as refused:
        call(faulty, service)
    assert refused.value.response["Error"]["Code"] == code
    assert call(faulty, service)


def test_denied_names_who_may_not_do_what(faulty: Any) -> None:
    order(faulty, service="monitoring", name="denied")
    with pytest.raises(ClientError, match=r"user/oncall is not .* cloudwatch:DescribeAlarms"):
        call(faulty, "monitoring")


def test_lost_answer_leaves_its_effect(changing: Callable[..., Any], control_plane: Any) -> None:
    order(control_plane, service="secretsmanager", kind="lost")
    with pytest.raises(ConnectionClosedError):
        changing("secretsmanager").put_secret_value(
            SecretId=names.OPENAI_KEY, SecretString="sk-stored-and-never-confirmed"
        )
    stored = changing("secretsmanager").get_secret_value(SecretId=names.OPENAI_KEY)
    assert stored["SecretString"] == "sk-stored-and-never-confirmed"


def test_cut_connection_changes_nothing(changing: Callable[..., Any], control_plane: Any) -> None:
    before = changing("secretsmanager").get_secret_value(SecretId=names.OPENAI_KEY)
    order(control_plane, service="secretsmanager", kind="cut")
    with pytest.raises(ConnectionClosedError):
        changing("secretsmanager").put_secret_value(SecretId=names.OPENAI_KEY, SecretString="x")
    after = changing("secretsmanager").get_secret_value(SecretId=names.OPENAI_KEY)
    assert after["VersionId"] == before["VersionId"]


def test_slow_call_waits_alone(faulty: Any) -> None:
    order(faulty, service="ecs", kind="slow", delay_s=2)
    done: dict[str, float] = {}

    def timed(service: str) -> None:
        call(faulty, service)
        done[service] = time.monotonic()

    call(faulty, "rds")  # its client is made
    started = time.monotonic()
    slow = threading.Thread(target=timed, args=("ecs",))
    slow.start()
    while faulty.control("GET", "faults")["faults"]:
        time.sleep(0.01)
    timed("rds")
    slow.join()
    assert done["rds"] < done["ecs"]
    assert done["ecs"] - started >= 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "late", "code": "X"},
        {"name": "tired"},
        {"kind": "error"},
        {"kind": "slow"},
        {"code": "X", "often": 3},
    ],
)
def test_fault_that_is_none_is_refused(faulty: Any, fault: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        order(faulty, service="ecs", **fault)
    assert faulty.control("GET", "faults")["faults"] == []


def test_a_lost_region_cuts_every_call_that_is_signed_for_it(fresh_control_plane: Any) -> None:
    fresh_control_plane.control("POST", "misfortunes", {"misfortune": "region-lost"})
    for signed_for in CALLS:
        with pytest.raises(ConnectionClosedError):
            call(fresh_control_plane, signed_for)
    assert fresh_control_plane.client("ecs", region="eu-west-1").list_clusters()["clusterArns"]
    fresh_control_plane.control("DELETE", "misfortunes?misfortune=region-lost")
    assert call(fresh_control_plane, "ecs")


def test_there_is_no_misfortune_that_nobody_knows(control_plane: Any) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        control_plane.control("POST", "misfortunes", {"misfortune": "earthquake"})
