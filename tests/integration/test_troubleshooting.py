"""Sections that look for trouble, on the sandbox: calm in a whole Studio, loud in a broken one."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg2
import pytest

from runbook.clients import Clients
from runbook.studio import changes, ecs, latency, mail, metering, webhooks, wont_start
from runbook.studio.logs import strangers
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

PENDING = """
    UPDATE subscriptions SET status = 'pending' WHERE id::text = (
        SELECT meta_json ->> 'subscription_id' FROM payments
        WHERE status = 'completed' AND created_at < now() - interval '2 h'
        ORDER BY created_at DESC LIMIT 1
    ) RETURNING id::text
"""


def test_all_of_them_are_calm_in_a_whole_studio(box: Box, clients: Clients) -> None:
    for section in (wont_start, latency, metering, webhooks, mail):
        found = section.read(clients).findings()
        assert found["status"] == "ok", found


def test_who_has_paid_and_got_nothing_is_named_with_sum_and_subscription(
    fresh_box: Box, clients: Clients
) -> None:
    with closing(psycopg2.connect(fresh_box.database_url)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(PENDING)
        waiting = {row[0] for row in cursor.fetchall()}

    found = webhooks.read(clients).findings()

    assert found["status"] == "critical"
    assert waiting <= {one["subscription"] for one in found["waiting"]}
    assert found["registered"] == f"https://{names.API_HOST}/v1/payments/webhook/hyperpay"


def test_mail_that_is_switched_off_is_critical_and_named(fresh_box: Box, clients: Clients) -> None:
    clients.aws("sesv2").put_account_sending_attributes(SendingEnabled=False)
    found = mail.read(clients).findings()
    assert (found["status"], found["problems"]) == ("critical", ["sending is switched off"])


def test_addresses_of_a_suppression_list_are_counted_and_never_shown(
    fresh_box: Box, clients: Clients
) -> None:
    clients.aws("sesv2").put_suppressed_destination(
        EmailAddress="someone@elsewhere.example", Reason="BOUNCE"
    )
    found = mail.read(clients)
    assert found.suppressed == {"BOUNCE": 1}
    assert "someone" not in repr(found.account_table())


@pytest.mark.usefixtures("fresh_box")
def test_redis_that_does_not_answer_is_a_finding_and_no_error(clients: Clients) -> None:
    clients.redis.connection_pool.connection_kwargs["port"] = 1
    clients.redis.connection_pool.disconnect()
    found = metering.read(clients).findings()
    assert (found["status"], found["redis"]) == ("critical", False)
    assert found["says"].startswith("Redis does not answer (ConnectionError")


def test_the_way_to_the_database_is_open_until_its_security_group_is_closed(
    fresh_box: Box, clients: Clients
) -> None:
    backend = ecs.read_service(clients.aws("ecs"), cluster=names.CLUSTER, service=names.BACKEND)
    assert wont_start.way_to_database(clients, backend).startswith("not the security group")
    ec2 = clients.aws("ec2")
    only = [{"Name": "group-name", "Values": ["ai-studio-database"]}]
    (group,) = ec2.describe_security_groups(Filters=only)["SecurityGroups"]

    ec2.revoke_security_group_ingress(
        GroupId=group["GroupId"], IpPermissions=group["IpPermissions"]
    )

    closed = wont_start.way_to_database(clients, backend)
    assert closed.startswith(f"no security group of {names.DATABASE_CLUSTER} lets {names.BACKEND}")


def test_what_was_changed_lately_is_told_by_the_trail_and_by_the_pipelines_file(
    fresh_box: Box, clients: Clients
) -> None:
    since = SYSTEM_CLOCK.now() - timedelta(days=30)
    clients.aws("cloudwatch").delete_alarms(AlarmNames=[names.ALARM_DISK])

    trail = changes.read_trail(
        clients.aws("cloudtrail"), since=since, until=SYSTEM_CLOCK.now() + timedelta(seconds=1)
    )
    deployed = changes.read_activity(clients, since=since)

    newest = trail[0]
    assert (newest.what, newest.by, newest.ours) == ("DeleteAlarms", "oncall", True)
    assert newest.concerns(names.ALARM_DISK)
    assert deployed
    assert all(one.what.startswith("deployed ") for one in deployed)
    assert [one.at for one in deployed] == sorted((one.at for one in deployed), reverse=True)


def test_a_line_of_something_that_is_no_task_is_found_and_no_tasks_own(
    fresh_box: Box, clients: Clients
) -> None:
    logs, group = clients.aws("logs"), names.LOG_GROUPS[names.WORKER]
    now = SYSTEM_CLOCK.now()
    logs.create_log_stream(logGroupName=group, logStreamName="ecs/maintenance")
    event = {"timestamp": int(now.timestamp() * 1000), "message": '{"message": "a script ran"}'}
    logs.put_log_events(logGroupName=group, logStreamName="ecs/maintenance", logEvents=[event])

    tasks = ecs.list_task_ids(clients.aws("ecs"), cluster=names.CLUSTER)
    groups = clients.environment.logs.groups
    found = strangers.read(logs, groups, tasks=tasks, since=now - timedelta(minutes=5))

    assert [line.message for line in found] == ["a script ran"]
