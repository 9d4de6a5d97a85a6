"""check-service-endpoints on the sandbox: its answers, names and certificates are the `aws`'s."""

from __future__ import annotations

import json

from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook.clients import Clients
from runbook.studio import alb, front, route53
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names


def test_every_way_in_answers_and_names_lead_where_the_aws_command_says(
    box: Box, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    told = runbook("run", "check-service-endpoints")
    result = told.json["result"]
    assert (told.code, result["status"]) == (0, "ok"), told.err
    assert len(result["endpoints"]) == 12
    assert set(result["endpoints"].values()) == {200}
    balancer = say(installed("aws"), "elbv2", "describe-load-balancers", "--query",
                   "LoadBalancers[0].DNSName", env=exported)  # fmt: skip
    assert result["dns"] == {
        host: [json.loads(balancer)]
        for host in (names.API_HOST, names.APP_HOST, names.GATEWAY_HOST)
    }


def test_a_host_that_was_moved_and_one_that_is_gone_are_told(
    fresh_box: Box, clients: Clients
) -> None:
    client = clients.aws("route53")
    (zone,) = client.list_hosted_zones()["HostedZones"]
    found = client.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    mine = {one["Name"].rstrip("."): one for one in found}
    moved = {"Name": names.API_HOST, "Type": "A", "TTL": 60,
             "ResourceRecords": [{"Value": "192.0.2.7"}]}  # fmt: skip
    changes = [
        {"Action": "DELETE", "ResourceRecordSet": mine[names.GATEWAY_HOST]},
        {"Action": "UPSERT", "ResourceRecordSet": moved},
    ]
    client.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})
    dns = {row["host"]: row for row in front.read(clients).dns().to_dict("records")}
    assert dns[names.GATEWAY_HOST]["says"] == "no record leads anywhere"
    assert dns[names.API_HOST]["says"] == "leads to 192.0.2.7, not to the load balancer"
    assert dns[names.APP_HOST]["status"] == "ok"


def test_a_host_of_no_zone_leads_nowhere(box: Box, clients: Clients) -> None:
    assert route53.read_records(clients.aws("route53"), "api.elsewhere.example") == ()
    assert route53.read_records(clients.aws("route53"), f"x{names.DOMAIN}") == ()


def test_certificates_are_those_of_the_listener(box: Box, clients: Clients) -> None:
    (found,) = alb.read_certificates(clients.aws("elbv2"), clients.aws("acm"), names.LOAD_BALANCER)
    told = clients.aws("acm").describe_certificate(CertificateArn=found.arn)["Certificate"]
    assert (found.until, set(found.names)) == (
        told["NotAfter"], {names.DOMAIN, f"*.{names.DOMAIN}"},
    )  # fmt: skip
