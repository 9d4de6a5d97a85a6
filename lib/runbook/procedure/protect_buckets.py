"""Bringing buckets to the strategy: versions, how long they are kept, and who may delete a bucket.

found = protect_buckets.read(rb.clients, only="")
found.table()         a row for each bucket and each thing that protects it
found.plan()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Backups
from runbook.studio import s3_bucket
from runbook.studio.s3_bucket import Bucket
from runbook.table import Table


@dataclass(frozen=True)
class Protection:
    """The buckets as they are set up, and the strategy."""

    settings: Backups
    buckets: tuple[Bucket, ...]

    def plan(self) -> Plan:
        """The plan that brings every bucket that is there to the strategy. Pure.

        What a bucket has beyond it stays: other rules, other statements, tags.
        """
        found = (
            s3_bucket.change_of(
                one,
                s3_bucket.protected(one, keep_days=self.settings.versions_kept_days),
                region=one.region,
            )
            for one in self.buckets
            if one.there
        )
        changes = tuple(filter(None, found))
        return Plan(
            title=f"Protect {len(changes)} buckets",
            risk="low",
            changes=changes,
            way_back="undo puts each setting back; versions that were kept by then stay.",
            warnings=tuple(self._warnings()),
        )

    def table(self) -> Table:
        """Each bucket with what protects it, to be read."""
        import pandas as pd

        rows = [
            {
                "status": self._status(one),
                "bucket": one.name,
                "region": one.region or "there is no such bucket",
                "versions": self._versions(one),
                "encrypted": one.encryption,
                "public": "" if not one.there else one.public_access or "not blocked",
                "deletion": "" if not one.there else "denied" if one.denies_deletion else "allowed",
                "mfa delete": one.mfa_delete,
            }
            for one in self.buckets
        ]
        return Table(pd.DataFrame(rows), empty="The environment names no bucket.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        gone = [one.name for one in self.buckets if not one.there]
        open_ = [one.target.partition(":")[2].partition("@")[0] for one in self.plan().changes]
        told = [f"{', '.join(gone)}: gone."] if gone else []
        told.append(
            f"{len(open_)} of {len(self.buckets)} buckets are protected less than the strategy "
            f"wants: {', '.join(open_)}."
            if open_
            else f"All {len(self.buckets) - len(gone)} buckets are protected as the strategy wants."
        )
        return {
            "status": "critical" if gone else "warning" if open_ else "ok",
            "says": " ".join(told),
            "gone": gone,
            "unprotected": open_,
        }

    def _status(self, one: Bucket) -> str:
        if not one.there:
            return "critical"
        wanted = s3_bucket.protected(one, keep_days=self.settings.versions_kept_days)
        return "warning" if s3_bucket.change_of(one, wanted, region=one.region) else "ok"

    def _versions(self, one: Bucket) -> str:
        if not one.there:
            return ""
        if one.versioning != "Enabled":
            return "none are kept"
        days = one.versions_kept_days
        return f"kept for {days} days" if days else "kept for ever"

    def _warnings(self) -> Iterator[str]:
        gone = [one.name for one in self.buckets if not one.there]
        if gone:
            yield f"{', '.join(gone)} cannot be protected: bring it back first (recover-bucket)."
        if any(one.there and not one.mfa_delete for one in self.buckets):
            yield (
                "MFA delete stays off: only root can switch it on. Until then whoever may delete "
                "versions can remove all of them, one by one."
            )


def read(clients: Clients, *, only: str) -> Protection:
    """The environment's buckets, or one of them. Raises BadInput: it is none of them."""
    settings = clients.environment.backups
    wanted = only.strip()
    if wanted and wanted not in settings.buckets:
        raise BadInput(
            f"bucket: expected one of {', '.join(settings.buckets)}, found {wanted!r}.",
            next="Name it under backups.buckets of the environment, if it is to be protected.",
        )
    client = clients.aws("s3", region=clients.environment.regions.primary)
    names = [wanted] if wanted else settings.buckets
    return Protection(settings, tuple(s3_bucket.read_bucket(client, name) for name in names))
