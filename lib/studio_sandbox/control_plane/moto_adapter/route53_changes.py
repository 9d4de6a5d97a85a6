"""Route 53: a batch of changes is judged whole, applied whole or not at all, and takes a while.

Source: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.moto_adapter import core

_IN_SYNC_S = 60.0  # AWS: generally within 60 seconds on all its name servers
_COMPARED = (
    "ttl", "weight", "failover", "region", "health_check_id", "geo_location", "multi_value_answer",
)  # fmt: skip
Key = tuple[str, str, str]


def patch() -> None:
    """Plain moto lets a CREATE double a record, finds DELETE's match in a journal, is in sync."""
    from moto.route53 import models, responses

    models.Route53Backend.change_resource_record_sets = _change
    response = responses.Route53
    change = response.change_resource_record_sets
    response.change_resource_record_sets = lambda self: _numbered(self, change)
    response.get_change = _get_change


def _change(self: Any, zoneid: str, change_list: list[dict[str, Any]]) -> None:
    """Apply all changes in their order, or raise InvalidChangeBatch with all that is wrong."""
    zone = self.get_hosted_zone(zoneid)
    batch = _Batch(zone.name, {_key(one): one for one in zone.rrsets})
    for change in change_list:
        batch.apply(change["Action"], change["ResourceRecordSet"])
    if batch.wrong:
        raise SandboxError(f"[{', '.join(batch.wrong)}]", code="InvalidChangeBatch", status=400)
    zone.rrsets = list(batch.records.values())


@dataclass
class _Batch:
    """The zone's records as they would be, and what is wrong with the way there."""

    zone: str
    records: dict[Key, Any]
    wrong: list[str] = field(default_factory=list)

    def apply(self, action: str, given: dict[str, Any]) -> None:
        record = _record(given)
        key = _key(record)
        told = f"resource record set [name='{record.name}', type='{record.type}'" + (
            f", set-identifier='{record.set_identifier}']" if record.set_identifier else "]"
        )
        if not f".{record.name}".endswith(f".{self.zone.rstrip('.')}."):
            self.wrong.append(
                f"RRSet with DNS name {record.name} is not permitted in zone {self.zone}"
            )
        elif action == "DELETE":
            self._delete(key, record, told)
        elif action == "CREATE" and key in self.records:
            self.wrong.append(f"Tried to create {told} but it already exists")
        elif action not in ("CREATE", "UPSERT"):
            self.wrong.append(f"Value '{action}' is none of CREATE, DELETE, UPSERT")
        elif conflict := self._conflict(key):
            self.wrong.append(conflict)
        else:
            self.records[key] = record

    def _delete(self, key: Key, record: Any, told: str) -> None:
        if key not in self.records:
            self.wrong.append(f"Tried to delete {told} but it was not found")
        elif _values(self.records[key]) != _values(record):
            self.wrong.append(
                f"Tried to delete {told} but the values provided do not match the current values"
            )
        else:
            del self.records[key]

    def _conflict(self, key: Key) -> str:
        """A CNAME stands alone and never at the zone's own name; simple records have no company."""
        name, kind, identifier = key
        others = [one for one in self.records if one[0] == name and one != key]
        told = f"RRSet of type {kind} with DNS name {name}. is not permitted"
        if kind == "CNAME" and name == self.zone.rstrip(".").lower():
            return f"{told} at apex in zone {self.zone}"
        if any((kind == "CNAME") != (one[1] == "CNAME") for one in others):
            return (
                f"{told} because a conflicting RRSet with the same DNS name already exists in zone "
                f"{self.zone}"
            )
        if any(one[1] == kind and bool(one[2]) != bool(identifier) for one in others):
            return (
                f"RRSet with DNS name {name}., type {kind}, SetIdentifier {identifier or 'null'} "
                "cannot be created because a non multi-answer rrset exists with the same name and "
                "type, or the other way round"
            )
        return ""


def _record(given: dict[str, Any]) -> Any:
    from moto.route53.models import RecordSet

    values = [one["Value"] for one in given.get("ResourceRecords") or []]
    record = RecordSet({**given, "ResourceRecords": values})
    record.name = record.name.rstrip(".") + "."
    return record


def _key(record: Any) -> Key:
    return record.name.rstrip(".").lower(), record.type, record.set_identifier or ""


def _values(record: Any) -> dict[str, Any]:
    """All that a DELETE has to repeat."""
    alias = record.alias_target or {}
    return {
        **{name: str(getattr(record, name) or "") for name in _COMPARED},
        "records": sorted(record.records or []),
        "alias": (
            alias.get("HostedZoneId", ""),
            alias.get("DNSName", "").rstrip(".").lower(),
            str(alias.get("EvaluateTargetHealth", "")).lower(),
        ),
    }


# the change itself: pending for a while


@dataclass(frozen=True)
class _Change:
    id: str
    submitted: datetime = field(default_factory=core.now)
    began: float = field(default_factory=time.monotonic)

    def told(self) -> dict[str, Any]:
        in_sync = time.monotonic() - self.began >= pace.seconds(_IN_SYNC_S)
        status = "INSYNC" if in_sync else "PENDING"
        return {"Id": f"/change/{self.id}", "Status": status, "SubmittedAt": self.submitted}


def _changes(backend: Any) -> dict[str, _Change]:
    found: dict[str, _Change] = backend.__dict__.setdefault("sandbox_changes", {})
    return found


def _numbered(response: Any, change: Any) -> Any:
    from moto.core.responses import ActionResult
    from moto.moto_api._internal import mock_random

    change(response)
    made = _Change(f"C{mock_random.get_random_hex(13).upper()}")
    _changes(response.backend)[made.id] = made
    return ActionResult({"ChangeInfo": made.told()})


def _get_change(self: Any) -> Any:
    from moto.core.responses import ActionResult

    wanted = str(self._get_param("Id")).rsplit("/", 1)[-1]
    found = _changes(self.backend).get(wanted)
    if found is None:
        message = f"Could not find resource with ID: {wanted}"
        raise SandboxError(message, code="NoSuchChange", status=404)
    return ActionResult({"ChangeInfo": found.told()})
