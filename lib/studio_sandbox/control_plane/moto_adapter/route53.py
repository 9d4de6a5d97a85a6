"""Route 53: one hosted zone and its records."""

from __future__ import annotations

from typing import Any

from studio_sandbox.control_plane.moto_adapter import core


def zone(account: str, name: str, *, comment: str, records: list[dict[str, Any]]) -> str:
    """A public hosted zone with records in the API's own words; gives its id."""
    dns = core.backend("route53", account, "aws")
    made = dns.create_hosted_zone(f"{name}.", False, f"seed-{name}", comment=comment)
    changes = [{"Action": "CREATE", "ResourceRecordSet": record} for record in records]
    dns.change_resource_record_sets(made.id, changes)
    return str(made.id)


def led_to(account: str, host: str) -> str:
    """The DNS name that a host's alias leads to; empty when it has none."""
    zones = core.backend("route53", account, "aws").zones.values()
    for record in (one for zone in zones for one in zone.rrsets):
        if record.name.rstrip(".") == host and record.alias_target:
            return str(record.alias_target["DNSName"])
    return ""


def alias(name: str, target: str, target_zone: str) -> dict[str, Any]:
    """A record that follows a load balancer's addresses."""
    return {
        "Name": f"{name}.",
        "Type": "A",
        "AliasTarget": {
            "HostedZoneId": target_zone,
            "DNSName": f"dualstack.{target}.",
            "EvaluateTargetHealth": True,
        },
    }


def record(name: str, kind: str, values: list[str], *, ttl_s: int = 300) -> dict[str, Any]:
    """A plain record."""
    return {
        "Name": f"{name}.",
        "Type": kind,
        "TTL": ttl_s,
        "ResourceRecords": [{"Value": value} for value in values],
    }
