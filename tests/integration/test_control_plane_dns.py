"""Route 53: a batch is right as a whole or changes nothing, and takes a while to be everywhere.

Plain moto doubles a record that is created twice, and says at once that all is in sync.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

WEIGHTED: dict[str, Any] = {"SetIdentifier": "blue", "Weight": 90}


def text(value: str = "1", *, name: str = f"probe.{names.DOMAIN}", **more: Any) -> dict[str, Any]:
    record = {"Name": name, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": f'"{value}"'}]}
    return record | more


class Zone:
    """The Studio's zone, to be changed."""

    def __init__(self, route53: Any) -> None:
        self.route53 = route53
        (self.zone,) = route53.list_hosted_zones()["HostedZones"]

    def change(self, *changes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        batch = [{"Action": action, "ResourceRecordSet": record} for action, record in changes]
        answer = self.route53.change_resource_record_sets(
            HostedZoneId=self.zone["Id"], ChangeBatch={"Changes": batch}
        )
        return dict(answer["ChangeInfo"])

    def refused(self, *changes: tuple[str, dict[str, Any]]) -> str:
        before = self.records()
        with pytest.raises(ClientError) as refused:
            self.change(*changes)
        assert refused.value.response["Error"]["Code"] == "InvalidChangeBatch"
        assert self.records() == before
        return str(refused.value)

    def records(self) -> list[dict[str, Any]]:
        pages = self.route53.get_paginator("list_resource_record_sets")
        found = pages.paginate(HostedZoneId=self.zone["Id"])
        return [record for page in found for record in page["ResourceRecordSets"]]


@pytest.fixture
def zone(changing: Callable[..., Any]) -> Zone:
    return Zone(changing("route53"))


def test_record_is_created_once(zone: Zone) -> None:
    zone.change(("CREATE", text()))
    assert "but it already exists" in zone.refused(("CREATE", text("2")))
    zone.change(("UPSERT", text("2")))
    values = [one["ResourceRecords"] for one in zone.records() if one["Name"].startswith("probe.")]
    assert values == [[{"Value": '"2"'}]]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (text("2"), "do not match the current values"),
        (text(TTL=61), "do not match the current values"),
        (text(**WEIGHTED), "was not found"),
        (text(name=f"other.{names.DOMAIN}"), "was not found"),
    ],
)
def test_deleting_needs_the_record_as_it_is(
    zone: Zone, record: dict[str, Any], reason: str
) -> None:
    zone.change(("CREATE", text()))
    assert reason in zone.refused(("DELETE", record))
    zone.change(("DELETE", text()))


def test_alias_that_was_seeded_is_deleted_as_it_was_read(zone: Zone) -> None:
    (alias,) = [one for one in zone.records() if one["Name"].rstrip(".") == names.API_HOST]
    zone.change(("DELETE", alias), ("CREATE", alias))
    assert alias in zone.records()


def test_batch_with_one_bad_change_does_nothing(zone: Zone) -> None:
    told = zone.refused(("CREATE", text()), ("DELETE", text(name=f"no.{names.DOMAIN}")))
    assert f"name='no.{names.DOMAIN}.', type='TXT'] but it was not found" in told


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (text(name="probe.elsewhere.example"), "not permitted in zone"),
        (text(Type="CNAME", name=names.DOMAIN), "not permitted at apex"),
        (text(Type="CNAME", name=names.API_HOST), "a conflicting RRSet"),
        (text(**WEIGHTED), "cannot be created"),
    ],
)
def test_record_that_dns_does_not_allow_is_refused(
    zone: Zone, record: dict[str, Any], reason: str
) -> None:
    zone.change(("CREATE", text()))
    assert reason in zone.refused(("CREATE", record))


def test_weights_are_moved_each_by_its_identifier(zone: Zone) -> None:
    green: dict[str, Any] = {"SetIdentifier": "green", "Weight": 10}
    zone.change(("CREATE", text("a", **WEIGHTED)), ("CREATE", text("b", **green)))
    zone.change(("UPSERT", text("a", **WEIGHTED | {"Weight": 0})))
    zone.change(("DELETE", text("b", **green)))
    left = [(o["SetIdentifier"], o["Weight"]) for o in zone.records() if "Weight" in o]
    assert left == [("blue", 0)]


def test_change_is_pending_before_it_is_in_sync(zone: Zone) -> None:
    change = zone.change(("CREATE", text()))
    assert change["Status"] == "PENDING"
    deadline = time.monotonic() + 30
    while zone.route53.get_change(Id=change["Id"])["ChangeInfo"]["Status"] != "INSYNC":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_change_that_nobody_made_is_unknown(zone: Zone) -> None:
    with pytest.raises(zone.route53.exceptions.NoSuchChange):
        zone.route53.get_change(Id="C1PA6795UKMFR9")
