"""The database's snapshots as somebody takes one: what there is, one more, and whether it is good.

found = backups.read_database(rb.clients)
found.table()
plan = rb.plan(found.plan(name="…", dated=True))
rb.apply(plan, apply)                    waits until it is available
taken = backups.read_database(rb.clients).named(plan.changes)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Backups
from runbook.studio import aurora_backups, aurora_restore, s3, s3_objects
from runbook.studio.aurora_backups import Snapshot, Window
from runbook.studio.s3 import Inventory, Version
from runbook.studio.s3_objects import Place
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK


@dataclass(frozen=True)
class DatabaseBackups:
    """A cluster's snapshots, and the moments that it can be restored to."""

    window: Window
    snapshots: tuple[Snapshot, ...]
    settings: Backups
    now: datetime

    def plan(self, *, name: str, dated: bool) -> Plan:
        """The plan that takes one more; `dated` puts the time of now behind its name."""
        wanted = aurora_backups.name_now(name) if dated else name
        return aurora_backups.plan_snapshot(self.window, name=wanted, known=self.snapshots)

    def named(self, changes: Iterable[Change]) -> tuple[Snapshot, ...]:
        """Those of the snapshots that these changes are about."""
        names = {
            one.target.removeprefix("snapshot:")
            for one in changes
            if one.kind == aurora_backups.KIND
        }
        return tuple(one for one in self.snapshots if one.name in names)

    def are_good(self, taken: Sequence[Snapshot]) -> bool:
        """Whether there is one, each is available, and none is less encrypted than the cluster."""
        return bool(taken) and all(
            one.status == "available" and one.encrypted >= self.window.encrypted for one in taken
        )

    def table(self, snapshots: Sequence[Snapshot] | None = None) -> Table:
        """All snapshots, or some, to be read."""
        shown = self.snapshots if snapshots is None else snapshots
        return aurora_backups.table(
            shown, now=self.now, old_after_days=self.settings.manual_old_days
        )

    def window_table(self) -> Table:
        """From when to when the cluster can be restored to any moment, to be read."""
        import pandas as pd

        lag = self.window.lag_s(self.now)
        rows = [
            ("earliest moment", self.window.earliest or "none yet"),
            ("latest moment", self.window.latest or "none yet"),
            ("lost if restored now", "everything" if lag is None else f"≈ {lag / 60:.0f} minutes"),
        ]
        return Table(pd.DataFrame(rows, columns=["what", self.window.cluster]))

    def findings(self, taken: Sequence[Snapshot] = ()) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        old = aurora_backups.old(
            self.snapshots, now=self.now, old_after_days=self.settings.manual_old_days
        )
        named = ", ".join(f"{one.name} ({one.size_gib} GiB)" for one in taken)
        told = [f"{named} is available."] if named else []
        told.append(f"{self.window.cluster} has {len(self.snapshots)} snapshots.")
        if old:
            told.append(
                f"{len(old)} taken by hand more than {self.settings.manual_old_days:g} days ago: "
                f"{', '.join(one.name for one in old)}."
            )
        return {
            "status": "ok",
            "says": " ".join(told),
            "taken": [one.name for one in taken],
            "old_manual": [one.name for one in old],
            "snapshots": len(self.snapshots),
        }


def read_database(clients: Clients) -> DatabaseBackups:
    """The cluster that the Studio uses, with its snapshots. Raises BadInput when there is none."""
    rds, cluster = clients.aws("rds"), aurora_restore.read_used(clients).name
    return DatabaseBackups(
        aurora_backups.read_window(rds, cluster=cluster),
        aurora_backups.read_snapshots(rds, cluster=cluster),
        clients.environment.backups,
        SYSTEM_CLOCK.now(),
    )


@dataclass(frozen=True)
class Files:
    """A bucket beside its copy, by key."""

    place: Place
    copy: Place
    shown: Mapping[str, Version]
    copied: Mapping[str, Version]

    def missing(self) -> list[str]:
        """Keys that the copy has not, or not with this content. Pure."""
        return sorted(
            key for key, one in self.shown.items() if not _same(one, self.copied.get(key))
        )

    def plan(self) -> Plan:
        """The plan that copies what is missing; nothing is removed from the copy. Pure."""
        keys = self.missing()
        rows = [
            {
                "key": key,
                "before": s3_objects.content(earlier, own=True) if earlier else None,
                "after": s3_objects.content(self.shown[key]),
            }
            for key in keys
            for earlier in (self.copied.get(key),)
        ]
        mib = round(sum(self.shown[key].size for key in keys) / 2**20, 2)
        change = s3_objects.change_of(
            self.copy,
            rows,
            source=self.place,
            before={"objects": len(self.copied)},
            after={"objects": len(self.copied.keys() | self.shown.keys())},
        )
        return Plan(
            title=f"Copy {len(keys):,} objects ({mib:g} MiB) from {self.place.bucket} to "
            f"{self.copy.bucket}",
            risk="low",
            changes=(change,) if keys else (),
            way_back="undo hides the copied objects again, behind delete markers.",
        )

    def has(self, wanted: Mapping[str, Version]) -> bool:
        """Whether the copy has every one of these with the same content."""
        return all(_same(one, self.copied.get(key)) for key, one in wanted.items())

    def inventories(self) -> tuple[Inventory, Inventory]:
        """Both buckets, counted and with a checksum."""
        return (
            s3.inventory(self.place.bucket, self.shown),
            s3.inventory(self.copy.bucket, self.copied),
        )

    def table(self, *, earlier: Files | None = None) -> Table:
        """Both buckets with counts and checksums, beside how they were earlier, to be read."""
        import pandas as pd

        times = [("before", earlier), ("now", self)] if earlier else [("now", self)]
        rows = [
            {**one.row(when), "not in the copy": len(found.missing()) if n == 0 else None}
            for when, found in times
            if found
            for n, one in enumerate(found.inventories())
        ]
        return Table(pd.DataFrame(rows))


def read_files(clients: Clients) -> Files:
    """The bucket with the users' files and its copy in the backup region.

    Raises BadInput when one of them is not there.
    """
    wanted, regions = clients.environment.promises, clients.environment.regions
    place = Place(wanted.files_bucket, regions.primary)
    copy = Place(wanted.files_copy, regions.backup)
    shown = s3.read_shown(clients.aws("s3", region=place.region), place.bucket)
    # with versions: what is overwritten there has to be found again
    versions = s3.read_versions(clients.aws("s3", region=copy.region), copy.bucket)
    for one, found in ((place, shown), (copy, versions)):
        if found is None:
            raise BadInput(
                f"There is no bucket {one.bucket!r}.", next="Bring it back: recover-bucket"
            )
    return Files(place, copy, shown or {}, s3.shown_of(versions or {}))


def both(database: Plan, files: Plan) -> Plan:
    """One plan of two: the snapshot first, then the copy."""
    if not files.changes:
        return replace(database, warnings=(*database.warnings, "The copy has every object."))
    return replace(
        database,
        title=f"{database.title}; {files.title[0].lower()}{files.title[1:]}",
        changes=(*database.changes, *files.changes),
        way_back=f"{database.way_back} For the files, {files.way_back}",
    )


def findings(database: DatabaseBackups, taken: Sequence[Snapshot], files: Files) -> dict[str, Any]:
    """What was backed up, as data, with `status` and the sentence `says`."""
    found, missing = database.findings(taken), len(files.missing())
    bucket, copy = files.inventories()
    return {
        **found,
        "status": "ok",
        "says": f"{found['says']} Of {bucket.objects:,} objects, {missing:,} are not in "
        f"{copy.bucket}.",
        "not_in_the_copy": missing,
        "files": {one.bucket: [one.objects, one.bytes, one.sha256] for one in (bucket, copy)},
    }


def _same(one: Version, other: Version | None) -> bool:
    """Whether two objects have the same content.

    What was uploaded in parts has an ETag of its own in each place: then sizes are compared, and
    that the copy is not the older one.
    """
    if other is None or one.size != other.size:
        return False
    if "-" in one.etag or "-" in other.etag:
        return one.etag == other.etag or other.modified_at >= one.modified_at
    return one.etag == other.etag
