"""Route 53: where a host's name leads, and leading it elsewhere.

Kind of change: `dns-alias`, target `dns:HOST/TYPE`; before and after are the load balancer's name
that the host is an alias of, and its hosted zone. It is done once all name servers know.

Source: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
and https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import register
from runbook.change.plan import Change, Json
from runbook.clients import Clients
from runbook.errors import Failed
from runbook.record.journal import Intent
from runbook.wait import Wait

ALIAS = "dns-alias"
ALIAS_TTL_S = 60  # of an alias of a load balancer: AWS's, and nobody can set it
_HOME = "us-east-1"  # Route 53 is global; its control plane is there, whatever region is lost
_LEADS = ("A", "AAAA", "CNAME")
_IN_SYNC_S = 600.0


@dataclass(frozen=True)
class Record:
    """A record of a host. `targets` are addresses or names; an alias has one, and no TTL."""

    host: str
    type: str
    targets: tuple[str, ...]
    alias: bool = False


def read_records(route53: Any, host: str) -> tuple[Record, ...]:
    """All records that lead a host's name somewhere; none when no public zone of ours has it."""
    zone = _zone_of(route53, host)
    if not zone:
        return ()
    answer = route53.list_resource_record_sets(HostedZoneId=zone, StartRecordName=host)
    return tuple(
        _record(one)
        for one in answer["ResourceRecordSets"]
        if plain(one["Name"]) == plain(host) and one["Type"] in _LEADS
    )


def plain(name: str) -> str:
    """A name as it is compared: no dot behind, no `dualstack.` of AWS's before. Pure."""
    return name.rstrip(".").lower().removeprefix("dualstack.")


def _zone_of(route53: Any, host: str) -> str:
    """The id of the public zone that has the host: the one with the longest name."""
    pages = route53.get_paginator("list_hosted_zones").paginate()
    zones = [zone for page in pages for zone in page["HostedZones"]]
    mine = [
        zone
        for zone in zones
        if not zone.get("Config", {}).get("PrivateZone")
        and f".{plain(host)}".endswith(f".{plain(zone['Name'])}")
    ]
    return str(max(mine, key=lambda zone: len(zone["Name"]))["Id"]) if mine else ""


def _record(found: dict[str, Any]) -> Record:
    alias = found.get("AliasTarget")
    targets = [alias["DNSName"]] if alias else [r["Value"] for r in found["ResourceRecords"]]
    names = tuple(plain(target) for target in targets)
    return Record(plain(found["Name"]), found["Type"], names, alias=bool(alias))


def client_of(clients: Clients) -> Any:
    """A client that answers while one of the environment's own regions does not."""
    return clients.aws("route53", region=_HOME)


def change_of(record: Record, *, zone: str, to: str, zone_of: str) -> Change:
    """The change that makes an alias lead to another load balancer, `to` in the zone `zone_of`.

    `zone` is that of what it leads to now. Pure.
    """
    return Change(
        ALIAS,
        f"dns:{record.host}/{record.type}",
        {"to": record.targets[0], "zone": zone},
        {"to": plain(to), "zone": zone_of},
    )


def read_alias(clients: Clients, host: str, type: str) -> dict[str, str | None]:
    """What an alias leads to (`to`), and the hosted zone of that (`zone`); null: it is none."""
    found = _alias_set(client_of(clients), host, type)
    alias = found.get("AliasTarget") if found else None
    if not alias:
        return {"to": None, "zone": None}
    return {"to": plain(alias["DNSName"]), "zone": alias["HostedZoneId"]}


def _alias_set(route53: Any, host: str, type: str) -> dict[str, Any] | None:
    """A record set in AWS's words."""
    zone = _zone_of(route53, host)
    if not zone:
        return None
    answer = route53.list_resource_record_sets(
        HostedZoneId=zone, StartRecordName=host, StartRecordType=type
    )
    found = [
        one
        for one in answer["ResourceRecordSets"]
        if plain(one["Name"]) == plain(host) and one["Type"] == type
    ]
    return found[0] if len(found) == 1 else None


# the kind of change


def _named(target: str) -> tuple[str, str]:
    host, _, type = target.removeprefix("dns:").partition("/")
    return host, type


def _read(clients: Clients, target: str) -> Json:
    return read_alias(clients, *_named(target))


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Lead the alias elsewhere, all else of the record as it is, and wait until it is in sync.

    Twice does the same. Raises Failed: there is no such alias any more.
    """
    route53, (host, type) = client_of(clients), _named(change.target)
    found = _alias_set(route53, host, type)
    if found is None or "AliasTarget" not in found:
        raise Failed(f"{host} has no alias of type {type} any more.")
    alias = {
        **found["AliasTarget"],
        "DNSName": f"dualstack.{change.after['to']}",
        "HostedZoneId": change.after["zone"],
    }
    made = route53.change_resource_record_sets(
        HostedZoneId=_zone_of(route53, host),
        ChangeBatch={
            "Changes": [{"Action": "UPSERT", "ResourceRecordSet": {**found, "AliasTarget": alias}}]
        },
    )["ChangeInfo"]["Id"]
    Wait(_IN_SYNC_S, factor=clients.environment.waits.factor).until(
        lambda: route53.get_change(Id=made)["ChangeInfo"]["Status"] == "INSYNC",
        what=f"all name servers to know {host}",
    )


register(ALIAS, read=_read, apply=_apply, measure=lambda change: {"records": 1})
