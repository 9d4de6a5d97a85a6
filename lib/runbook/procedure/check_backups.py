"""Whether what was lost could be brought back: the backup strategy, judged against what there is.

    found = check_backups.read(rb.clients)
    found.findings()                            status, one sentence, and the numbers
    found.target_table()                        RPO and RTO: promised and measured
    found.database_table(), found.bucket_table(), found.contradictions()

The recovery point is measured, not taken from a schedule: it is now minus the latest moment that
the database can be restored to. The recovery time is that of the last rehearsal on record: who has
not done it does not know how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from runbook.clients import Clients
from runbook.headline import Status, in_short, worst
from runbook.record.runs import runs, store_of
from runbook.settings import Backups
from runbook.studio import aurora_backups, aurora_restore, s3, s3_bucket
from runbook.studio.aurora_backups import AUTOMATED, Snapshot, Window
from runbook.studio.s3 import Version
from runbook.studio.s3_bucket import Bucket
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_LATE = 1.25  # a daily snapshot is not taken to the minute
RECOVERY_S = "recovery_s"  # in the result of a section that has brought the database back


@dataclass(frozen=True)
class Judged:
    """One thing that the strategy asks for. `open` is the section that mends it."""

    status: Status
    about: str
    wanted: str
    found: str
    open: str = ""


@dataclass(frozen=True)
class Rehearsal:
    """The last run on record that brought the database back, and how long that took."""

    section: str
    run: str
    at: datetime
    recovery_s: float


@dataclass(frozen=True)
class Checked:
    """The backups as of `now`. `copies` are the snapshots in the backup region."""

    settings: Backups
    window: Window
    snapshots: tuple[Snapshot, ...]
    copies: tuple[Snapshot, ...]
    buckets: tuple[Bucket, ...]
    not_copied: tuple[Version, ...]  # files that the backup bucket has not
    rehearsal: Rehearsal | None
    now: datetime

    def targets(self) -> list[Judged]:
        """What a loss may cost, promised and measured. Pure."""
        return [self._recovery_point(), self._recovery_time(), self._rehearsed()]

    def database(self) -> list[Judged]:
        """The database's snapshots and how long they are kept. Pure."""
        return [self._taken(), self._gaps(), self._retention(), self._encrypted(), self._copies()]

    def files(self) -> list[Judged]:
        """Each bucket, and the copy of the files. Pure."""
        found = [judged for bucket in self.buckets for judged in self._of_bucket(bucket)]
        return [*found, self._files_copied()]

    def contradictions(self) -> Table:
        """Where the strategy promises what its own means cannot keep, to be read."""
        import pandas as pd

        return Table(
            pd.DataFrame(list(self._contradictions()), columns=["promised", "but", "so"]),
            empty="Nothing contradicts anything.",
        )

    def target_table(self) -> Table:
        """The targets, to be read."""
        return _table(self.targets())

    def database_table(self) -> Table:
        """The database's backups, to be read."""
        return _table(self.database())

    def bucket_table(self) -> Table:
        """The buckets, to be read."""
        return _table(self.files())

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        judged = [*self.targets(), *self.database(), *self.files()]
        lag_s = self.window.lag_s(self.now)
        return {
            "status": worst(*(one.status for one in judged)),
            "says": self._sentence(judged),
            "recovery_point_s": None if lag_s is None else round(lag_s),
            "recovery_time_s": self.rehearsal.recovery_s if self.rehearsal else None,
            "findings": [
                [one.status, one.about, one.found] for one in judged if one.status != "ok"
            ],
        }

    def _sentence(self, judged: Sequence[Judged]) -> str:
        order = ("critical", "warning")
        bad = sorted((one for one in judged if one.status != "ok"),
                     key=lambda one: order.index(one.status))  # fmt: skip
        if bad:
            return in_short([f"{one.about}: {one.found}" for one in bad])
        return f"Everything is kept as it should be; {self.targets()[0].found} would be lost now."

    def _recovery_point(self) -> Judged:
        lag_s, most = self.window.lag_s(self.now), self.settings.rpo_hours
        if lag_s is None:
            return Judged("critical", "recovery point", f"{most:g} h", "no moment can be restored")
        status: Status = "critical" if lag_s > most * _HOUR_S else "ok"
        return Judged(status, "recovery point", f"{most:g} h at most", _words(lag_s))

    def _recovery_time(self) -> Judged:
        most = self.settings.rto_hours
        if self.rehearsal is None:
            return Judged("warning", "recovery time", f"{most:g} h at most",
                          "nobody has measured it", "recover-database")  # fmt: skip
        took = self.rehearsal.recovery_s
        status: Status = "critical" if took > most * _HOUR_S else "ok"
        return Judged(status, "recovery time", f"{most:g} h at most",
                      f"{_words(took)}, by {self.rehearsal.run}")  # fmt: skip

    def _rehearsed(self) -> Judged:
        within = self.settings.rehearse_within_days
        wanted, about = f"within {within:g} days", "last restore"
        if self.rehearsal is None:
            return Judged("warning", about, wanted, "none on record", "recover-database")
        days = (self.now - self.rehearsal.at).total_seconds() / _DAY_S
        status: Status = "warning" if days > within else "ok"
        return Judged(status, about, wanted, f"{days:.0f} days ago", "recover-database")

    def _daily(self) -> list[Snapshot]:
        return [one for one in self.snapshots if one.kind == AUTOMATED and one.taken_at]

    def _taken(self) -> Judged:
        every, daily = self.settings.snapshot_every_hours, self._daily()
        wanted = f"every {every:g} h"
        if not daily:
            return Judged("critical", "last automated snapshot", wanted, "there is none")
        late = daily[0].age_days(self.now) * _DAY_S > every * _HOUR_S * _LATE
        return Judged("critical" if late else "ok", "last automated snapshot", wanted,
                      f"{_words(daily[0].age_days(self.now) * _DAY_S)} old")  # fmt: skip

    def _gaps(self) -> Judged:
        most = self.settings.snapshot_every_hours * _HOUR_S * _LATE
        times = [one.taken_at for one in self._daily() if one.taken_at]
        apart = [(later - earlier).total_seconds() for later, earlier in pairwise(times)]
        long = [one for one in apart if one > most]
        found = f"{len(long)} days are missing" if long else f"{len(times)} in a row"
        return Judged("warning" if long else "ok", "none left out", "no gap", found)

    def _retention(self) -> Judged:
        wanted, has = self.settings.snapshots_kept_days, self.window.retention_days
        return Judged("critical" if has < wanted else "ok", "snapshots are kept",
                      f"{wanted} days", f"{has} days")  # fmt: skip

    def _encrypted(self) -> Judged:
        bare = [one.name for one in self.snapshots if not one.encrypted]
        found = f"{len(bare)} are not: {bare[0]}" if bare else "all are"
        return Judged("critical" if bare else "ok", "snapshots are encrypted", "all", found)

    def _copies(self) -> Judged:
        most = self.settings.snapshot_every_hours * _HOUR_S * 2
        about, wanted = "copied to the backup region", "the last or the one before"
        if not self.copies:
            return Judged("critical", about, wanted, "no snapshot is there", "fail-over-region")
        age_s = self.copies[0].age_days(self.now) * _DAY_S
        status: Status = "critical" if age_s > most * _LATE else "ok"
        return Judged(status, about, wanted, f"{_words(age_s)} old", "fail-over-region")

    def _of_bucket(self, bucket: Bucket) -> Iterator[Judged]:
        if not bucket.there:
            yield Judged("critical", bucket.name, "to be there", "is gone", "recover-bucket")
            return
        yield self._versioned(bucket)
        missing = [what for what, has in self._guards(bucket).items() if not has]
        if missing:
            yield Judged("warning", bucket.name, "kept from being deleted",
                         f"lacks {', '.join(missing)}", "protect-buckets")  # fmt: skip

    def _versioned(self, bucket: Bucket) -> Judged:
        days, about = self.settings.versions_kept_days, bucket.name
        if bucket.name == self.settings.state_bucket:
            about += " (Terraform's state)"
        wanted, kept = f"versions for {days} days", bucket.versions_kept_days
        if bucket.versioning != "Enabled":
            return Judged("critical", about, wanted, "keeps no versions", "protect-buckets")
        if kept is None:
            return Judged("ok", about, wanted, "keeps versions for ever")
        status: Status = "critical" if kept < days else "ok"
        return Judged(status, about, wanted, f"keeps them for {kept} days",
                      "protect-buckets" if status != "ok" else "")  # fmt: skip

    def _guards(self, bucket: Bucket) -> dict[str, bool]:
        return {
            "a policy that denies deletion": bucket.denies_deletion,
            "encryption": bool(bucket.encryption),
            "a block of public access": bool(bucket.public_access),
        }

    def _files_copied(self) -> Judged:
        about, most = "files without a copy", self.settings.rpo_hours
        if not self.not_copied:
            return Judged("ok", about, f"none older than {most:g} h", "every file has one")
        oldest = min(one.modified_at for one in self.not_copied)
        age_s = (self.now - oldest).total_seconds()
        status: Status = "warning" if age_s > most * _HOUR_S else "ok"
        return Judged(status, about, f"none older than {most:g} h",
                      f"{len(self.not_copied):,}, the oldest for {_words(age_s)}",
                      "back-up-now" if status != "ok" else "")  # fmt: skip

    def _contradictions(self) -> Iterator[tuple[str, str, str]]:
        every, most = self.settings.snapshot_every_hours, self.settings.rpo_hours
        if every > most:
            yield (
                f"at most {most:g} h are lost, by automated snapshots",
                f"these are taken every {every:g} h, so that up to {every:g} h are lost",
                "restore to a point in time: recover-database does",
            )
        kept = self.settings.snapshots_kept_days
        if self.window.retention_days != kept:
            yield (
                f"snapshots are kept for {kept} days",
                f"the cluster keeps them for {self.window.retention_days}",
                "change one of the two",
            )
        bare = [one for one in self.buckets if one.there and not one.denies_deletion]
        if bare:
            yield (
                "versioning keeps files from being lost",
                "it does not keep a bucket from being deleted: "
                f"{len(bare)} of {len(self.buckets)} buckets may be",
                "protect-buckets",
            )
        if all(not one.mfa_delete and not one.replication for one in self.buckets):
            yield (
                "versions can be brought back",
                "whoever may delete versions can remove all of them: no bucket has MFA delete or "
                "is replicated",
                "switch MFA delete on as root; the copy in the backup region is a day old",
            )


def read(clients: Clients) -> Checked:
    """Read snapshots, buckets and the record. Raises BadInput when there is no such cluster."""
    wanted, regions = clients.environment, clients.environment.regions
    rds = clients.aws("rds", region=regions.primary)
    cluster = aurora_restore.read_used(clients).name
    backup_rds = clients.aws("rds", region=regions.backup)
    # what was just switched to has copies of its source only
    names = dict.fromkeys((cluster, wanted.database.cluster))
    client = clients.aws("s3", region=regions.primary)
    return Checked(
        wanted.backups,
        aurora_backups.read_window(rds, cluster=cluster),
        aurora_backups.read_snapshots(rds, cluster=cluster),
        tuple(
            one for name in names for one in aurora_backups.read_snapshots(backup_rds, cluster=name)
        ),
        tuple(s3_bucket.read_bucket(client, name) for name in wanted.backups.buckets),
        _not_copied(clients),
        _last_rehearsal(clients),
        SYSTEM_CLOCK.now(),
    )


def _not_copied(clients: Clients) -> tuple[Version, ...]:
    """Files whose key the copy has not; without a bucket or a copy there is nothing to compare."""
    wanted, regions = clients.environment.promises, clients.environment.regions
    shown = s3.read_shown(clients.aws("s3", region=regions.primary), wanted.files_bucket) or {}
    copied = s3.read_shown(clients.aws("s3", region=regions.backup), wanted.files_copy) or {}
    return tuple(one for key, one in shown.items() if key not in copied)


def _last_rehearsal(clients: Clients) -> Rehearsal | None:
    """The last run of a section that restores, and says how long it took."""
    sections = clients.environment.backups.rehearsals
    for about in runs(store_of(clients.environment)):
        took = (about.get("result") or {}).get(RECOVERY_S)
        if about["section"] in sections and about.get("verdict") == "succeeded" and took:
            at = datetime.fromisoformat(about["started_at"])
            return Rehearsal(about["section"], about["run_id"], at, float(took))
    return None


def _words(seconds: float) -> str:
    """A time as one says it."""
    if seconds < 90:
        return f"≈ {seconds:2.0f} s"
    if seconds < 1.5 * _HOUR_S:
        return f"≈ {seconds / 60:2.0f} minutes"
    return f"≈ {seconds / _HOUR_S:2.0f} hours"


def _table(judged: Sequence[Judged]) -> Table:
    import pandas as pd

    from runbook import table

    rows = [
        {
            "status": one.status,
            "what": one.about,
            "wanted": one.wanted,
            "found": one.found,
            "open": table.section(one.open) if one.open and one.status != "ok" else "",
        }
        for one in judged
    ]
    return Table(pd.DataFrame(rows), empty="Nothing is asked for.")
