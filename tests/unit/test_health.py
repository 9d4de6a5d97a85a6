"""Health, judged without a server: answers, target groups, services."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook import settings
from runbook.studio import endpoints, health
from runbook.studio.alb import Target
from runbook.studio.ecs import Deployment, Service
from runbook.studio.endpoints import Answer, Question
from runbook.studio.promises import Kept, Promise

SETTINGS = settings.Endpoints(fresh_s=60, slow_ms=1000)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
QUESTION = Question("api", "host", "health", "api.example", "api.example", "/v1/health", True)
PAGE = replace(QUESTION, tells_health=False)


def said(status: str = "healthy", *, age_s: float = 0, zone: str = "Z") -> bytes:
    told = (NOW - timedelta(seconds=age_s)).isoformat().replace("+00:00", zone)
    return json.dumps({"status": status, "timestamp": told}).encode()


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (Answer(QUESTION, NOW, 200, 5, said()), "ok", "healthy"),
        (Answer(QUESTION, NOW, 200, 5, said(zone="")), "ok", "healthy"),
        (Answer(QUESTION, NOW, 200, 5, said(age_s=60)), "ok", "healthy"),
        (Answer(QUESTION, NOW, 200, 5, said(age_s=61)), "warning", "its time is 61 s old"),
        (Answer(QUESTION, NOW, 200, 5, said(age_s=-90)), "warning", "90 s in the future"),
        (Answer(QUESTION, NOW, 200, 1001, said()), "warning", "slow, over 1,000 ms"),
        (Answer(QUESTION, NOW, 200, 5, said("unhealthy")), "critical", "says 'unhealthy'"),
        (Answer(QUESTION, NOW, 503, 5, said("unhealthy")), "critical", "503, it says unhealthy"),
        (Answer(QUESTION, NOW, 502, 5, b"<html>"), "critical", "answers 502"),
        (Answer(QUESTION, NOW, 200, 5, b"<html>"), "critical", "says no status"),
        (Answer(QUESTION, NOW, 200, 5, b"[1]"), "critical", "says no status"),
        (Answer(QUESTION, NOW, 200, 5, b'{"status": "healthy"}'), "warning", "says no time"),
        (Answer(QUESTION, NOW, error="refuses connections"), "critical", "refuses connections"),
        (Answer(PAGE, NOW, 200, 5, b"<html>"), "ok", "answers"),
        (Answer(PAGE, NOW, 301, 5, b""), "critical", "answers 301"),
    ],
)
def test_an_answer_is_judged(answer: Answer, status: str, says: str) -> None:
    found = endpoints.judge(answer, SETTINGS)
    assert found[0] == status
    assert says in found[1]


def test_questions_go_by_host_and_by_path_with_the_hosts_certificate() -> None:
    wanted = settings.load("sandbox").endpoints
    asked = endpoints.questions(wanted, alb_name="alb.example", what=["health", "docs"])
    assert len(asked) == 4 * len(wanted.services)
    backend = {(one.by, one.what): one for one in asked if one.service == "backend"}
    host = wanted.services["backend"].host
    assert {key: one.url for key, one in backend.items()} == {
        ("host", "health"): f"https://{host}/v1/health",
        ("host", "docs"): f"https://{host}/docs",
        ("ALB path", "health"): "https://alb.example/api/v1/health",
        ("ALB path", "docs"): "https://alb.example/api/v1/docs",
    }
    assert {one.certificate_of for one in backend.values()} == {host}


@pytest.mark.parametrize(
    ("states", "status", "says"),
    [
        (["healthy", "healthy"], "ok", "all healthy"),
        (["healthy", "initial"], "ok", "1 on the way in or out"),
        (["healthy", "unhealthy"], "warning", "1 of 2 unhealthy: Timeout"),
        (["unhealthy"], "critical", "1 of 1 unhealthy: Timeout"),
        (["draining"], "critical", "no healthy target"),
        (["none"], "critical", "no healthy target"),
    ],
)
def test_a_target_group_is_judged(states: list[str], status: str, says: str) -> None:
    targets = [Target("g", str(n), state, "Timeout") for n, state in enumerate(states)]
    assert health.judge_group(targets) == (status, says)


def service(desired: int, running: int, **deployment: Any) -> Service:
    current = Deployment("d", "PRIMARY", "web:7", "COMPLETED", "", desired, running, 0, None)
    return Service("c", "web", "web:7", desired, running, 0, (replace(current, **deployment),))


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (service(2, 2), "ok", "all run"),
        (service(2, 3, rollout_state="IN_PROGRESS"), "ok", "web:7 is being rolled out"),
        (service(2, 1), "warning", "1 of 2 tasks are missing"),
        (service(0, 0), "warning", "scaled to no task at all"),
        (service(2, 0), "critical", "no task runs of 2 desired"),
        (service(2, 2, failed_tasks=3), "warning", "3 tasks of web:7 did not start"),
        (service(2, 2, rollout_state="FAILED"), "warning", "deployment of web:7 has failed"),
        (service(2, 2, rollout_reason="breaker: rolling back to x"), "warning", "rolling back"),
    ],
)
def test_a_service_is_judged(found: Service, status: str, says: str) -> None:
    judged = health.judge_service(found)
    assert judged[0] == status
    assert says in judged[1]


def test_what_is_worst_is_said_first_and_the_rest_is_counted() -> None:
    answers = tuple(Answer(QUESTION, NOW, error=f"error {n}") for n in range(4))
    found = health.Health(
        SETTINGS, answers, (Target("g", "t", "healthy"),), (service(2, 1),), Kept(())
    )
    told = found.findings()
    assert told["status"] == "critical"
    assert told["says"].startswith("https://api.example/v1/health: error 0; ")
    assert told["says"].endswith("And 2 more.")


def test_a_promise_that_is_broken_is_as_bad_as_an_endpoint_that_is() -> None:
    kept = Kept(
        (
            Promise("mail goes out", "critical", "sending is switched off", "email-not-sending"),
            Promise("jobs are finished", "ok", "none waits", "clear-stuck-jobs"),
        )
    )
    answers = (Answer(QUESTION, NOW, status=200),)
    found = health.Health(SETTINGS, answers, (Target("g", "t", "healthy"),), (service(2, 2),), kept)

    assert found.findings()["status"] == "critical"
    assert "mail goes out: sending is switched off" in found.findings()["says"]
    assert [one.name for one in kept.broken] == ["mail goes out"]


def test_a_cluster_without_services_is_not_healthy() -> None:
    found = health.Health(SETTINGS, (), (), (), Kept(()))
    assert found.findings()["status"] == "warning"
