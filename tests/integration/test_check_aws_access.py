"""check-aws-access on the sandbox: every way to be an admin, and the wrong account stops it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.clients import Clients
from runbook.errors import WrongAccount
from runbook.studio import iam
from studio_sandbox.box import Box

ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


def test_users_and_mfa_are_those_of_the_aws_command(
    box: Box, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    told = runbook("run", "check-aws-access")
    assert (told.code, told.json["result"]["status"]) == (0, "ok"), told.err
    aws = installed("aws")
    devices = json.loads(say(aws, "iam", "list-virtual-mfa-devices", "--query",
                             "VirtualMFADevices[].User.UserName", env=exported))  # fmt: skip
    group = json.loads(say(aws, "iam", "get-group", "--group-name", "ai-studio-admins", "--query",
                           "Users[].UserName", env=exported))  # fmt: skip
    assert sorted(told.json["result"]["admins"]) == sorted(group)
    assert set(group) <= set(devices)


def make(client: Any, name: str) -> None:
    client.create_user(UserName=name)


def test_every_way_to_be_an_admin_is_found(fresh_box: Box, clients: Clients) -> None:
    client = clients.aws("iam")
    for name in ("by-inline", "by-attached", "by-group", "by-groups-attached", "nobody"):
        make(client, name)
    policy = client.create_policy(PolicyName="all-of-it", PolicyDocument=ALL)["Policy"]["Arn"]
    client.put_user_policy(UserName="by-inline", PolicyName="mine", PolicyDocument=ALL)
    client.attach_user_policy(UserName="by-attached", PolicyArn=policy)
    client.create_group(GroupName="attached-admins")
    client.attach_group_policy(GroupName="attached-admins", PolicyArn=policy)
    client.add_user_to_group(GroupName="ai-studio-admins", UserName="by-group")
    client.add_user_to_group(GroupName="attached-admins", UserName="by-groups-attached")
    client.create_login_profile(UserName="nobody", Password="Not-a-real-password-1")
    found = iam.read(clients)
    told = found.findings()
    assert told["status"] == "critical"
    assert sorted(told["admins_without_mfa"]) == [
        "by-attached", "by-group", "by-groups-attached", "by-inline",
    ]  # fmt: skip
    assert told["admins"]["by-inline"] == ["inline mine (everything)"]
    assert told["admins"]["by-attached"] == ["attached all-of-it (everything)"]
    assert told["admins"]["by-groups-attached"] == [
        "group attached-admins: attached all-of-it (everything)"
    ]
    assert set(told["outside_sso"]) == {"nobody", *told["admins_without_mfa"]}
    assert ["warning", "nobody", "may sign in to the console without MFA"] in told["findings"]


def calls(box: Box, since: int = 0) -> Any:
    url = f"{box.aws_endpoint_url}/sandbox/calls?since={since}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_the_wrong_account_stops_everything_before_the_first_read(box: Box) -> None:
    environment = settings.load("sandbox").model_copy(update={"account": "999999999999"})
    elsewhere = Clients(environment)
    before = calls(box)["last"]
    with pytest.raises(WrongAccount, match="these credentials belong to 123456789012"):
        iam.read(elsewhere)
    assert [one["action"] for one in calls(box, before)["calls"]] == ["GetCallerIdentity"]
