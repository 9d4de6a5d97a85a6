"""check-alarms and create-alarms on the sandbox: drift is found, and mended to the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.studio import alarms, cloudwatch
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

KEYS = "MetricAlarms[].[AlarmName,StateValue,Threshold,ActionsEnabled,AlarmActions]"


def put(clients: Clients, name: str, **changed: Any) -> None:
    (found,) = cloudwatch.read_alarms(clients.aws("cloudwatch"), names=[name])
    kept = {key: value for key, value in found.settings.items() if value not in (None, [])}
    clients.aws("cloudwatch").put_metric_alarm(AlarmName=name, **{**kept, **changed})


@pytest.fixture
def drifted(fresh_box: Box, clients: Clients) -> None:
    """One is missing, one has another threshold, one tells nobody, one watches nothing."""
    clients.aws("cloudwatch").delete_alarms(AlarmNames=[names.ALARM_DISK])
    put(clients, names.ALARM_RDS_CPU, Threshold=99)
    put(clients, names.ALARM_5XX, ActionsEnabled=False)
    put(clients, names.ALARM_REDIS_CPU, MetricName="CPUUtilisation")


def test_a_healthy_studio_has_the_table_to_the_letter(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    found = alarms.read(clients)
    assert found.findings()["status"] == "ok", found.drift_table()
    told = say(installed("aws"), "cloudwatch", "describe-alarms", "--alarm-names", *names.ALARMS,
               "--query", KEYS, env=exported)  # fmt: skip
    keys = ("Threshold", "ActionsEnabled", "AlarmActions")
    ours = [[one.name, one.state, *(one.settings[key] for key in keys)] for one in found.there]
    assert sorted(ours) == sorted(json.loads(told))
    assert all(one.values and one.changes for one in found.watches)


def test_an_alarm_that_is_raised_is_critical(fresh_box: Box, clients: Clients) -> None:
    clients.aws("cloudwatch").set_alarm_state(
        AlarmName=names.ALARM_PROVIDER, StateValue="ALARM", StateReason="a test"
    )
    found = alarms.read(clients)
    assert found.findings()["says"] == "Raised: OpenAI API Errors."
    assert found.findings()["status"] == "critical"
    (raised,) = [one for one in found.watches if one.status == "critical"]
    assert raised.changes[0].reason == "a test"


@pytest.mark.usefixtures("drifted")
def test_what_drifted_is_told_planned_made_and_verified(
    clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    before = alarms.read(clients).findings()
    assert before["status"] == "warning"
    assert before["missing"] == [names.ALARM_DISK]
    assert sorted(before["drifted"]) == sorted(
        [names.ALARM_RDS_CPU, names.ALARM_5XX, names.ALARM_REDIS_CPU]
    )
    assert before["no_metric"] == [names.ALARM_REDIS_CPU]
    planned = runbook("run", "create-alarms")
    assert planned.json["verdict"] == "planned", planned.err
    assert len(planned.json["plan"]["changes"]) == 4
    applied = runbook("run", "create-alarms", "--apply", planned.json["plan"]["digest"])
    assert applied.json["verdict"] == "succeeded", applied.err
    told = say(installed("aws"), "cloudwatch", "describe-alarms", "--alarm-names", *names.ALARMS,
               "--query", KEYS, env=exported)  # fmt: skip
    limits = {name: (limit, told_to) for name, _, limit, told_to, _ in json.loads(told)}
    assert limits[names.ALARM_RDS_CPU] == (80, True)
    assert limits[names.ALARM_5XX] == (10, True)
    assert names.ALARM_DISK in limits
    assert not alarms.read(clients).plan().changes


def test_a_table_that_names_what_the_account_has_not_is_refused(box: Box) -> None:
    environment = settings.load("sandbox")
    about = environment.alarms[names.ALARM_5XX]
    for value, told in (("{load-balancer:x}", "no load balancer 'x'"),
                        ("{target-group:x}", "no target group 'x'"),
                        ("{redis-primary:x}", "no replication group 'x'"),
                        ("{planet:x}", "nobody knows a planet")):  # fmt: skip
        wanted = {**about.settings, "Dimensions": [{"Name": "LoadBalancer", "Value": value}]}
        table = {"one": about.model_copy(update={"settings": wanted})}
        clients = Clients(environment.model_copy(update={"alarms": table}))
        with pytest.raises(BadInput, match=told):
            alarms.wanted_alarms(clients)
        clients.close()
