"""check-health on the sandbox: what the `aws` command sees, and what breaks it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.clients import Clients
from runbook.studio import health
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names


@pytest.fixture
def sick(fresh_box: Box) -> None:
    """The backend answers 500 to whatever it is asked."""
    order = {"behaviour": "unhealthy", "revision": names.BACKEND, "status": 500}
    url, body = f"{fresh_box.aws_endpoint_url}/sandbox/faults", json.dumps(order).encode()
    urllib.request.urlopen(url, body, timeout=10).close()  # noqa: S310  a POST


def test_targets_and_tasks_are_those_of_the_aws_command(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    aws, found = installed("aws"), health.read(clients)
    told = say(aws, "ecs", "describe-services", "--cluster", names.CLUSTER, "--services",
               *names.SERVICES, "--query", "services[].[serviceName,desiredCount,runningCount]",
               env=exported)  # fmt: skip
    mine = [[one.name, one.desired_count, one.running_count] for one in found.services]
    assert sorted(mine) == sorted(json.loads(told))
    group = next(one.group for one in found.targets if "backend" in one.group)
    arn = clients.aws("elbv2").describe_target_groups(Names=[group])["TargetGroups"][0]
    query = "TargetHealthDescriptions[].[Target.Id,TargetHealth.State]"
    asked = ("--target-group-arn", arn["TargetGroupArn"], "--query", query)
    told = say(aws, "elbv2", "describe-target-health", *asked, env=exported)
    ours = [[one.id.split(":")[0], one.state] for one in found.targets if one.group == group]
    assert sorted(ours) == sorted(json.loads(told))


def test_a_healthy_studio_is_ok_in_one_sentence(box: Box) -> None:
    told = runbook("run", "check-health")
    assert (told.code, told.json["verdict"]) == (0, "succeeded"), told.err
    result = told.json["result"]
    assert result["status"] == "ok", result
    assert result["says"].startswith("6 endpoints of 3 services answer")
    assert set(result["endpoints"].values()) == {200}


@pytest.mark.usefixtures("sick")
def test_a_service_that_answers_500_is_critical_by_host_and_by_path(clients: Clients) -> None:
    found: dict[str, Any] = health.read(clients).findings()
    assert found["status"] == "critical"
    assert found["says"].startswith(f"https://api.{names.DOMAIN}/v1/health: answers 500")
    bad = [url for url, status in found["endpoints"].items() if status != 200]
    assert len(bad) == 2


def test_an_endpoint_that_nobody_reaches_is_critical_and_says_why(box: Box) -> None:
    environment = settings.load("sandbox")
    somewhere = environment.endpoints.model_copy(update={"connection": "", "timeout_s": 0.5})
    clients = Clients(environment.model_copy(update={"endpoints": somewhere}))
    found = health.read(clients).endpoints()  # over DNS and TLS: a name that nobody has
    assert set(found.status) == {"critical"}
    assert all(says.startswith(("cannot be asked", "does not answer")) for says in found.says)
    clients.close()
