"""The load balancer on loopback: live rules, live targets, and what tasks were started with."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.moving_studio import MovingStudio

from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

NOWHERE = "postgresql://studio:nothing-answers-here@127.0.0.1:1/studio"
MAINTENANCE = {
    "Type": "fixed-response",
    "FixedResponseConfig": {
        "StatusCode": "503",
        "ContentType": "text/html",
        "MessageBody": "<h1>الصيانة جارية</h1>",
    },
}


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (names.API_HOST, "/v1/health"),
        (names.GATEWAY_HOST, "/v1/health"),
        (names.APP_HOST, "/v1/health"),
        ("", "/api/v1/health"),
        ("", "/gateway/v1/health"),
        ("", "/v1/health"),
    ],
)
def test_health_is_answered_by_host_name_and_by_path(
    moving_studio: MovingStudio, host: str, path: str
) -> None:
    found = moving_studio.ask(path, host=host)
    assert (found.status, found.data()["status"]) == (200, "healthy")
    age = datetime.now(UTC) - datetime.fromisoformat(found.data()["timestamp"])
    assert timedelta(0) <= age < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("host", "service"),
    [
        (names.API_HOST, names.BACKEND),
        (names.GATEWAY_HOST, names.GATEWAY),
        (names.APP_HOST, names.FRONTEND),
    ],
)
def test_docs_are_each_services_own(moving_studio: MovingStudio, host: str, service: str) -> None:
    found = moving_studio.ask("/docs", host=host)
    assert found.status == 200
    assert f"{service} - Swagger UI" in found.body.decode()


def test_curl_gets_the_same_answer(moving_studio: MovingStudio) -> None:
    command = ["curl", "-sf", "-H", f"Host: {names.API_HOST}"]
    done = subprocess.run(
        [*command, f"{moving_studio.box.endpoints_url}/v1/health"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith('{"status": "healthy", "timestamp": "20')


def test_still_sandbox_answers_too(box: Box) -> None:
    assert MovingStudio(box).ask("/api/v1/health").data()["status"] == "healthy"


def rule(studio: MovingStudio, priority: int, action: dict[str, Any], *conditions: Any) -> str:
    made = studio.elb.create_rule(
        ListenerArn=studio.listener(),
        Priority=priority,
        Conditions=list(conditions),
        Actions=[action],
    )
    return str(made["Rules"][0]["RuleArn"])


def everything() -> dict[str, Any]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}


def backend(studio: MovingStudio) -> dict[str, Any]:
    found = studio.elb.describe_target_groups(Names=[names.TARGET_GROUPS[names.BACKEND]])
    return {"Type": "forward", "TargetGroupArn": found["TargetGroups"][0]["TargetGroupArn"]}


def test_maintenance_is_a_rule_and_its_allow_list_passes(moving: MovingStudio) -> None:
    secret = {
        "Field": "http-header",
        "HttpHeaderConfig": {"HttpHeaderName": "X-Smoke-Test", "Values": ["allowed"]},
    }
    checks = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["*/v1/health"]}}
    rule(moving, 1, backend(moving), secret)
    rule(moving, 2, backend(moving), checks)
    closed = rule(moving, 3, MAINTENANCE, everything())
    found = moving.ask("/ar/studio", host=names.APP_HOST)
    assert (found.status, found.body.decode()) == (503, "<h1>الصيانة جارية</h1>")
    assert found.headers["Content-Type"] == "text/html; charset=utf-8"
    assert moving.ask("/docs", host=names.APP_HOST, X_Smoke_Test="allowed").status == 200
    assert moving.ask("/v1/health", host=names.API_HOST).status == 200
    moving.elb.delete_rule(RuleArn=closed)
    assert moving.ask("/ar/studio", host=names.APP_HOST).status == 200


@pytest.mark.parametrize(("ranges", "status"), [(["127.0.0.0/8"], 200), (["10.0.0.0/8"], 503)])
def test_allow_list_of_addresses_is_compared_with_the_callers(
    moving: MovingStudio, ranges: list[str], status: int
) -> None:
    rule(moving, 1, backend(moving), {"Field": "source-ip", "SourceIpConfig": {"Values": ranges}})
    rule(moving, 2, MAINTENANCE, everything())
    assert moving.ask("/docs").status == status


def test_redirect_keeps_what_it_does_not_change(moving: MovingStudio) -> None:
    config = {"Host": "status.pulse-studio.example", "StatusCode": "HTTP_302"}
    rule(moving, 1, {"Type": "redirect", "RedirectConfig": config}, everything())
    found = moving.ask("/ar/studio?a=1", host=names.APP_HOST)
    expected = "https://status.pulse-studio.example/ar/studio?a=1"
    assert (found.status, found.headers["Location"]) == (302, expected)


def test_service_without_tasks_is_the_load_balancers_503(moving: MovingStudio) -> None:
    moving.update(names.GATEWAY, desiredCount=0)
    moving.until(lambda: not moving.healths(names.GATEWAY), "no target is left")
    found = moving.ask("/gateway/v1/health")
    assert found.status == 503
    assert "503 Service Temporarily Unavailable" in found.body.decode()
    assert moving.ask("/api/v1/health").status == 200


def test_new_tasks_get_the_dsn_that_is_current_and_fail_when_it_does_not_answer(
    moving: MovingStudio,
) -> None:
    before = moving.service(names.BACKEND)["deployments"][0]
    moving.client("secretsmanager").put_secret_value(
        SecretId=names.DATABASE_URL, SecretString=NOWHERE
    )
    # those that run were started with the one before
    assert moving.ask("/api/v1/health").status == 200
    moving.update(names.BACKEND, forceNewDeployment=True)
    failed = moving.until(
        lambda: [
            task["stoppedReason"]
            for task in moving.tasks(names.BACKEND, "STOPPED")
            if task["stoppedReason"].startswith("Task failed ELB health checks")
        ],
        "a new task failed its health checks",
    )
    assert names.TARGET_GROUPS[names.BACKEND] in failed[0]
    (line, *_) = moving.lines(names.BACKEND, "unreachable")
    assert line["message"].startswith("database unreachable: connection to server at")
    assert "Connection refused" in line["message"]
    assert moving.ask("/api/v1/health").status == 200
    again = moving.until_steady(names.BACKEND)["deployments"]
    assert [one["id"] for one in again] == [before["id"]]  # the circuit breaker rolled back


def test_worker_that_cannot_reach_its_database_exits(moving: MovingStudio) -> None:
    moving.client("secretsmanager").put_secret_value(
        SecretId=names.DATABASE_URL, SecretString=NOWHERE
    )
    moving.update(names.WORKER, forceNewDeployment=True)
    stopped = moving.until(
        lambda: [
            task
            for task in moving.tasks(names.WORKER, "STOPPED")
            if task.get("stopCode") == "EssentialContainerExited"
        ],
        "a worker exited",
    )
    assert stopped[0]["containers"][0]["exitCode"] == 1
    assert moving.lines(names.WORKER, "unreachable")
