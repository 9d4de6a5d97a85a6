"""Cleaning up storage: what fills what, and files that are kept for longer than they have to be.

    found = clean_up.read(rb.clients, at_most=200)
    found.file_table(), found.bucket_table(), found.table_table(), found.disk_table()
    found.plan()

A file goes in three steps, each of which can be taken back: no job names it any more, its row is
removed, and its object gets a delete marker. Cut off in between, an object without a row is left,
which nobody sees; never a row whose object is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runbook.change.plan import Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Environment
from runbook.studio import aurora, cloudwatch, ecs, files, objects, s3
from runbook.studio.files import Past
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_DISK = "ECS/ContainerInsights"
_LATELY = timedelta(minutes=15)
_TABLES = 5


@dataclass(frozen=True)
class Storage:
    """What fills what, and what may go. `there` are the objects of the files that may, by key."""

    kinds: pd.DataFrame
    buckets: pd.DataFrame
    tables: pd.DataFrame
    disks: pd.DataFrame
    past: Past
    there: Mapping[str, Json]
    settings: Environment

    def plan(self) -> Plan:
        """The plan that removes the files past their time. Pure; without changes for none."""
        count, bucket = len(self.past.rows), self.settings.storage.bucket
        deleted = (
            [objects.plan_delete(bucket, self.there, named_in=files.KEYS)] if self.there else []
        )
        kept = (
            ", ".join(f"{kind} {days} days" for kind, days in self._keep.items()) or "all for ever"
        )
        return Plan(
            title=f"Remove {count:,} files past their time ({self.past.gb:,.2f} GB)",
            risk="high",
            changes=(*files.plan_remove(self.past), *deleted),
            way_back="undo takes the delete markers away and puts rows and results back, for as "
            "long as the bucket keeps old versions.",
            warnings=tuple(self._warnings(kept, count)),
        )

    def file_table(self) -> Table:
        """Files by kind, and how much of them is past its time."""
        return Table(self.kinds.round({"gb": 2, "past_gb": 2}), empty="There is no file.")

    def bucket_table(self) -> Table:
        """Buckets, the largest first."""
        return Table(self.buckets, empty="There is no bucket.")

    def table_table(self) -> Table:
        """The database's largest tables."""
        return Table(self.tables.round(1), empty="There is no table.")

    def disk_table(self) -> Table:
        """How full the disks of each service's tasks are."""
        return Table(self.disks.round(1), empty="Container Insights has no figures.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        past = int(self.kinds.past_files.sum()) if len(self.kinds) else 0
        gb = float(self.kinds.past_gb.sum()) if len(self.kinds) else 0.0
        return {
            "status": "warning" if past else "ok",
            "says": f"{past:,} files are past their time, {gb:,.2f} GB."
            if past
            else "No file is past its time.",
            "past_files": past,
            "past_gb": round(gb, 3),
        }

    def whole(self, clients: Clients, keys: Iterable[str]) -> bool:
        """Whether each of these objects is gone with its row, or there with it.

        What somebody has changed since it was planned stays, and so does its object.
        """
        bucket, client = self.settings.storage.bucket, clients.aws("s3")
        mine = [key for key in keys if key in self.there]
        named = objects.read_named(clients, named_in=files.KEYS, keys=mine)
        images = {key: objects.read_object(client, bucket=bucket, key=key) for key in mine}
        return all(image["deleted"] == (key not in named) for key, image in images.items())

    @property
    def _keep(self) -> Mapping[str, int]:
        return self.settings.storage.keep_days

    def _warnings(self, kept: str, count: int) -> list[str]:
        warnings = [f"Kept are: {kept}. Customers no longer see what is older."]
        if missing := count - len(self.there):
            warnings.append(
                f"{missing:,} of them have no object, or a deleted one: the row alone goes."
            )
        if self.there:
            warnings.append(
                "A deleted object is paid for until the bucket's lifecycle removes its versions."
            )
        return warnings


def read(clients: Clients, *, at_most: int) -> Storage:
    """Look at everything, and at the `at_most` oldest files that may go.

    Raises BadInput for less than one, and Refused where the bucket keeps no versions.
    """
    if at_most < 1:
        raise BadInput(f"at_most: expected 1 or more, found {at_most}.")
    settings, client = clients.environment, clients.aws("s3")
    wanted = settings.storage
    past = files.read_past(clients.database, keep_days=wanted.keep_days, at_most=at_most)
    if past.rows:
        objects.refuse_unless_versioned(client, bucket=wanted.bucket)
    found = {key: objects.read_object(client, bucket=wanted.bucket, key=key) for key in past.keys}
    return Storage(
        files.by_kind(clients.database, keep_days=wanted.keep_days),
        s3.read_sizes(client),
        aurora.read_tables(clients.database, at_most=_TABLES),
        _disks(clients),
        past,
        {key: image for key, image in found.items() if image and not image["deleted"]},
        settings,
    )


def _disks(clients: Clients) -> pd.DataFrame:
    """How full the disks of each service's tasks are: service, used_gb, of_gb, percent."""
    import pandas as pd

    cluster, since = clients.environment.ecs.cluster, SYSTEM_CLOCK.now() - _LATELY
    rows = []
    for service in ecs.read_services(clients.aws("ecs"), cluster=cluster):
        used, of = (
            _newest(clients, name, cluster, service.name, since)
            for name in ("EphemeralStorageUtilized", "EphemeralStorageReserved")
        )
        if used is not None and of:
            rows.append({"service": service.name, "used_gb": used, "of_gb": of,
                         "percent": 100 * used / of})  # fmt: skip
    return pd.DataFrame(rows)


def _newest(clients: Clients, name: str, cluster: str, service: str, since: Any) -> float | None:
    """The newest value of a metric of a service; None where there is none."""
    dimensions = [
        {"Name": "ClusterName", "Value": cluster},
        {"Name": "ServiceName", "Value": service},
    ]
    metric = {"Namespace": _DISK, "MetricName": name, "Dimensions": dimensions}
    asked = {"Metric": metric, "Period": 60, "Stat": "Average"}
    series = cloudwatch.read_series(clients.aws("cloudwatch"), asked, since=since)
    return series[-1][1] if series else None
