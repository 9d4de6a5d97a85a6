"""Bringing the database back: restored beside the one that serves, compared, and then switched to.

    found = recover_database.read(rb.clients, moment="…", snapshot="", stop_writes=True)
    found.stage               "restore", then "switch", then "switched": each is a run of its own
    found.table(), found.comparison
    found.plan()
    recover_database.follow(rb.clients, plan.changes)

Two plans of one section. The first stops what writes (how many tasks there were stands in a tag of
the new cluster) and restores; nothing that the Studio uses is touched by it. The second is made
once the restored database has been compared with the one of now, and what would be lost is known:
it lets the DSN name the restored one, and starts what reads it, in the order of a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.procedure import rollout, scale
from runbook.procedure.check_backups import RECOVERY_S
from runbook.procedure.scale import Scaled
from runbook.studio import (
    aurora_backups,
    aurora_restore,
    autoscaling,
    compare,
    dsn,
    ecs,
    secretsmanager,
)
from runbook.studio.aurora_backups import Snapshot, Window
from runbook.studio.aurora_restore import Setup
from runbook.studio.compare import Comparison
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

Stage = Literal["choose", "restore", "switch", "switched"]
COUNTS = "kept-counts"  # a tag of the restored cluster: SERVICE=TASKS:LEAST-MOST …
_TAKES_WRITES = (
    "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
)
_LONGEST = 60  # of a cluster's name; its instance's is longer


@dataclass(frozen=True)
class Point:
    """What is restored: a moment (aware, UTC) or a snapshot."""

    moment: datetime | None
    snapshot: str = ""

    @property
    def suffix(self) -> str:
        """What tells a cluster that is restored to it by its name."""
        if not self.moment and not self.snapshot:
            return "no moment yet"
        if self.moment:
            return f"{self.moment.astimezone(UTC):%Y%m%d-%H%M%S}"
        return re.sub(r"[^a-z0-9]+", "-", self.snapshot.lower()).strip("-")

    def __str__(self) -> str:
        if self.moment:
            return f"{self.moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"snapshot {self.snapshot}"


@dataclass(frozen=True)
class Recovery:
    """The cluster that serves, the one that is restored, and what reads the database."""

    serving: Setup
    source: Setup  # the same, or the one that it was restored from: where the moment is
    restored: Setup | None
    name: str  # of the restored one
    point: Point
    window: Window
    snapshots: tuple[Snapshot, ...]
    consumers: tuple[Scaled, ...]
    stop_writes: bool
    now: datetime
    comparison: Comparison | None = None
    switch: Change | None = None  # what lets the DSN name the restored one

    @property
    def stage(self) -> Stage:
        """What comes next."""
        if not self.name:
            return "choose"
        if self.serving.name == self.name:
            return "switched"
        return "switch" if self.restored and self.restored.serves else "restore"

    def plan(self) -> Plan:
        """The plan of this stage; without changes before it is chosen and once it is switched."""
        return {"restore": self._plan_restore, "switch": self._plan_switch,
                "switched": self._nothing, "choose": self._nothing}[self.stage]()  # fmt: skip

    def table(self) -> Table:
        """What serves and what is restored, beside each other, to be read."""
        import pandas as pd

        columns = {"now": self.serving, "restored": self.restored}
        rows = {
            "cluster": {name: one.name if one else f"{self.name}, not yet".lstrip(", ")
                        for name, one in columns.items()},
            "as of": {"now": "now", "restored": str(self.point)},
            "status": {name: _status(one) for name, one in columns.items()},
            "version": {name: one.version if one else "" for name, one in columns.items()},
            "capacity": {name: f"{one.min_acu:g} to {one.max_acu:g} ACU"
                         if one and one.min_acu is not None else ""
                         for name, one in columns.items()},
            "network": {name: f"{one.subnet_group}, {', '.join(one.security_groups)}" if one else ""
                        for name, one in columns.items()},
            "parameters": {name: one.parameter_group if one else ""
                           for name, one in columns.items()},
            "encrypted": {name: one.encrypted if one else "" for name, one in columns.items()},
            "protected": {name: one.deletion_protection if one else ""
                          for name, one in columns.items()},
        }  # fmt: skip
        frame = pd.DataFrame(rows).T.rename_axis("").reset_index()
        return Table(frame)

    def consumer_table(self) -> Table:
        """What reads the DSN, and how many tasks of it run, to be read."""
        import pandas as pd

        kept = self._kept()
        rows = [
            {
                "service": one.service.name,
                "desired": one.service.desired_count,
                "running": one.service.running_count,
                "range": f"{one.scaling.min_capacity} to {one.scaling.max_capacity}"
                if one.scaling
                else "",
                "kept": str(kept[one.service.name]) if one.service.name in kept else "",
            }
            for one in self.consumers
        ]
        return Table(pd.DataFrame(rows), empty="No live service reads it.")

    def comparison_table(self) -> Table:
        """Both databases, table by table, once there are two, to be read."""
        import pandas as pd

        if self.comparison:
            return self.comparison.table()
        return Table(pd.DataFrame(), empty=self._not_compared())

    def integrity_table(self) -> Table:
        """Schema and foreign keys of the restored database, to be read."""
        import pandas as pd

        if self.comparison:
            return self.comparison.integrity_table()
        return Table(pd.DataFrame(), empty=self._not_compared())

    def lost_table(self) -> Table:
        """The newest rows that the switch would lose, to be read."""
        import pandas as pd

        if self.comparison:
            return self.comparison.lost_table()
        return Table(pd.DataFrame(), empty=self._not_compared())

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        found: dict[str, Any] = {
            "status": "ok" if self.stage == "switched" else "warning",
            "says": self._sentence(),
            "stage": self.stage,
            "cluster": self.name,
            "serving": self.serving.name,
        }
        if self.comparison:
            found["comparison"] = self.comparison.as_data()
        if self.stage == "switched":
            found[RECOVERY_S] = round(self._recovery_s(), 1)
            lost_s = self._lost_s()
            found["recovery_point_s"] = None if lost_s is None else round(lost_s, 1)
        return found

    def stopped(self) -> bool:
        """Whether nothing that reads the DSN runs."""
        return not any(one.service.running_count for one in self.consumers)

    def came_of(self, changes: Iterable[Change]) -> bool:
        """Whether this is what a plan of these changes was to bring about.

        A plan that was cut off is taken on when much of it is done: what there was says nothing.
        """
        if any(one.kind == aurora_restore.CLUSTER for one in changes):
            quiet = self.stopped() or not self.stop_writes
            whole = self.comparison is None or self.comparison.whole
            return self.stage == "switch" and quiet and whole
        running = all(one.steady() and one.service.running_count for one in self.consumers)
        return self.stage == "switched" and running

    def _sentence(self) -> str:
        if self.stage == "choose":
            return (
                f"{self.serving.name} can be restored to any moment from "
                f"{_shown(self.window.earliest)} to {_shown(self.window.latest)} UTC; name one, "
                "or a snapshot."
            )
        if self.stage == "restore":
            return f"{self.serving.name} serves; {self.point} is not restored yet."
        if self.stage == "switch":
            if self.comparison is None:
                return f"{self.name} is restored to {self.point}; {self._not_compared()}"
            lost = self.comparison.lost
            well = "is whole" if self.comparison.whole else "IS NOT WHOLE"
            return (
                f"{self.name} is restored to {self.point} and {well}; "
                f"{lost:,} rows that are younger would be lost by switching to it."
            )
        lost_s = self._lost_s()
        lost_words = "" if lost_s is None else f", {lost_s:,.0f} s of writes are lost"
        return (
            f"{self.name}, as of {self.point}, serves; it took {self._recovery_s():,.0f} s from "
            f"the restore's beginning{lost_words}."
        )

    def _recovery_s(self) -> float:
        """Seconds since the restored cluster was begun, just after writes were stopped."""
        began = self.restored.created_at if self.restored else self.now
        return (self.now - began).total_seconds()

    def _lost_s(self) -> float | None:
        """Seconds from the moment that was restored to the restore: what was written is gone."""
        if self.point.moment is None or self.restored is None:
            return None
        return (self.restored.created_at - self.point.moment).total_seconds()

    # the first plan

    def _plan_restore(self) -> Plan:
        changes = [change for one in self.consumers for change in self._stop(one)]
        tags = {COUNTS: self._counts()} if self.stop_writes else {}
        restore = aurora_restore.plan_cluster(
            self.source,
            name=self.name,
            moment=self.point.moment,
            snapshot=self.point.snapshot,
            tags=tags,
        )
        stopped = ", ".join(one.service.name for one in self.consumers)
        return Plan(
            title=f"Restore {self.source.name} as of {self.point} into {self.name}",
            risk="destructive" if self.stop_writes else "high",
            changes=(*changes, *restore),
            way_back="undo deletes the restored cluster"
            + (" and starts the stopped services again" if self.stop_writes else "")
            + "; nothing that serves is touched.",
            warnings=tuple(
                filter(
                    None,
                    (
                        f"Stops {stopped}: the Studio is down until the switch, or the undo."
                        if self.stop_writes
                        else "Writes go on: what is written from now on is lost by the switch.",
                        f"Restoring takes {_expected(self.snapshots)}; the DSN is not touched yet.",
                        "A second cluster is paid for until somebody deletes it.",
                        self._already_stopped(),
                    ),
                )
            ),
        )

    def _already_stopped(self) -> str:
        none = [one.service.name for one in self.consumers if not one.service.desired_count]
        if not none or self.restored:
            return ""
        return (
            f"{', '.join(none)} has no task already: if a run was cut off, apply its plan again, "
            "which knows how many there were."
        )

    def _stop(self, one: Scaled) -> tuple[Change, ...]:
        """No task, and then a range in which auto scaling starts none.

        In this order: a range that is moved first leaves auto scaling free to move the number of
        tasks, and a plan that is cut off there finds another than the one it keeps. An undo
        restores the range first, outside of which the number would not last.
        """
        if not self.stop_writes:
            return ()
        none: tuple[Change, ...] = ()
        if one.scaling:
            none = autoscaling.plan_range(one.scaling, min_capacity=0, max_capacity=0).changes
        return (*ecs.plan_scale(one.service, desired_count=0).changes, *none)

    def _counts(self) -> str:
        """How many tasks each consumer has, and its range, as a tag can hold it.

        Of a restore that was cut off, what it has kept: now they are stopped.
        """
        if self.restored and COUNTS in self.restored.tags:
            return self.restored.tags[COUNTS]
        return " ".join(
            f"{one.service.name}={one.service.desired_count}"
            + (f":{one.scaling.min_capacity}-{one.scaling.max_capacity}" if one.scaling else "")
            for one in self.consumers
        )

    def _kept(self) -> dict[str, Kept]:
        return read_counts(self.restored.tags if self.restored else {})

    # the second plan

    def _plan_switch(self) -> Plan:
        if self.switch is None:
            raise BadInput(f"{self.name} does not answer, so nothing switches to it.")
        starts = [change for one in self.consumers for change in self._start(one)]
        return Plan(
            title=f"Switch to {self.name}, as of {self.point}",
            risk="destructive",
            changes=(self.switch, *starts),
            way_back=f"undo lets the DSN name {self.serving.name} again, which is not deleted; "
            "what was written since is then only in the restored one. Start or restart what reads "
            "it after that.",
            warnings=tuple(self._switch_warnings()),
        )

    def _start(self, one: Scaled) -> tuple[Change, ...]:
        """Back to the tasks that were kept; a service that runs is restarted."""
        kept = self._kept().get(one.service.name)
        if one.service.desired_count or kept is None:
            return ecs.plan_restart(one.service).changes
        # by the range first: outside of it the number of tasks does not last
        ranged: tuple[Change, ...] = ()
        if one.scaling and kept.range:
            least, most = kept.range
            ranged = autoscaling.plan_range(
                one.scaling, min_capacity=least, max_capacity=most
            ).changes
        return (*ranged, *ecs.plan_scale(one.service, desired_count=kept.tasks).changes)

    def _switch_warnings(self) -> Iterator[str]:
        found = self.comparison
        if found is None:
            yield f"{self._not_compared()} Nobody knows what the switch loses."
        else:
            for one in found.tables:
                if one.lost:
                    yield f"{one.lost:,} rows of {one.name} are younger than that, and are lost."
            if not found.whole:
                yield "The restored database is not whole: look at its schema and foreign keys."
        if not self.stopped():
            yield "Something still writes: what it writes from now on is lost, and is not counted."
        yield f"{self.serving.name} stays as it is, and is paid for, until somebody deletes it."

    def _nothing(self) -> Plan:
        return Plan(
            title=f"{self.name} serves already" if self.name else "Name a moment or a snapshot",
            risk="low",
            changes=(),
            way_back="Nothing to undo.",
        )

    def _not_compared(self) -> str:
        if self.stage == "choose":
            return "Nothing is chosen yet."
        if self.stage == "restore":
            return "Not restored yet: run this again after that."
        return "The database of now does not answer, so the two could not be compared."


@dataclass(frozen=True)
class Kept:
    """How many tasks a service had, and the range that it scaled in."""

    tasks: int
    range: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.tasks}" + (f" ({self.range[0]} to {self.range[1]})" if self.range else "")


def read_counts(tags: Mapping[str, str]) -> dict[str, Kept]:
    """What the tag of a restored cluster says of the services that were stopped. Pure."""
    found = {}
    for part in tags.get(COUNTS, "").split():
        name, _, told = part.partition("=")
        tasks, _, ranged = told.partition(":")
        least, _, most = ranged.partition("-")
        found[name] = Kept(int(tasks), (int(least), int(most)) if ranged else None)
    return found


def read(clients: Clients, *, moment: str, snapshot: str, stop_writes: bool) -> Recovery:
    """What serves, and how far the restore of a moment or a snapshot is.

    Compares both databases when there are two. Raises BadInput for a moment that cannot be
    restored, and for a snapshot that is not there.
    """
    rds = clients.aws("rds")
    serving = aurora_restore.read_used(clients)
    source, window, snapshots, point = _from(rds, serving, moment, snapshot)
    known = clients.environment.database.cluster
    chosen = point.moment or point.snapshot
    name = f"{known}-{point.suffix}"[:_LONGEST].rstrip("-") if chosen else ""
    restored = aurora_restore.read_setup(rds, cluster=name) if name else None
    found = Recovery(
        serving=serving,
        source=source,
        restored=restored,
        name=name,
        point=point,
        window=window,
        snapshots=snapshots,
        consumers=_consumers(clients),
        stop_writes=stop_writes,
        now=SYSTEM_CLOCK.now(),
    )
    if found.stage != "switch" or restored is None:
        return found
    switch = dsn.change_of(clients, host=restored.endpoint, port=restored.port)
    return replace(found, comparison=_compared(clients, restored), switch=switch)


def choose(moment: str, snapshot: str, window: Window, snapshots: Iterable[Snapshot]) -> Point:
    """What to restore, as it was asked for; nothing yet, when it was not. Pure.

    Raises BadInput, with what there is.
    """
    bounds = f"from {_shown(window.earliest)} to {_shown(window.latest)}"
    if moment.strip() and snapshot.strip():
        raise BadInput("Name either a moment in UTC or a snapshot, not both.")
    if not moment.strip() and not snapshot.strip():
        return Point(None)
    if snapshot.strip():
        known = [one for one in snapshots if one.status == "available"]
        if snapshot.strip() not in [one.name for one in known]:
            raise BadInput(
                f"There is no snapshot {snapshot.strip()!r} of {window.cluster}.",
                next=f"There are {', '.join(one.name for one in known) or 'none'}.",
            )
        return Point(None, snapshot.strip())
    wanted = _moment(moment)
    early = window.earliest is None or wanted < window.earliest
    if early or window.latest is None or wanted > window.latest:
        raise BadInput(
            f"{window.cluster} cannot be restored to {_shown(wanted)}, but {bounds}.",
            next="Wait some minutes for a moment that has just been; before that, name a snapshot.",
        )
    return Point(wanted)


def follow(clients: Clients, changes: Iterable[Change]) -> Table:
    """Follow what a plan has begun to its end: services that start, stop or restart, in order."""
    import pandas as pd

    rows = []
    for change in changes:
        if change.kind not in (ecs.SERVICE, ecs.RESTART):
            continue
        name = change.target.rpartition("/")[2]
        if change.kind == ecs.RESTART:
            rollout.follow(clients, [change])
        service = scale.follow(clients, service=name).service
        rows.append(
            {"service": name, "desired": service.desired_count, "running": service.running_count}
        )
    return Table(pd.DataFrame(rows), empty="No service was started or stopped.")


def takes_writes(clients: Clients) -> bool:
    """Whether the server that the DSN names now would take a write. Writes nothing."""
    import sqlalchemy

    with clients.database_writer.connect() as connection:
        return bool(connection.execute(sqlalchemy.text(_TAKES_WRITES)).scalar_one())


def _from(
    rds: Any, serving: Setup, moment: str, snapshot: str
) -> tuple[Setup, Window, tuple[Snapshot, ...], Point]:
    """The cluster that has what is asked for: the one that serves, or one that it came from.

    A cluster that was restored has nothing of before it was made; after that, nobody else has what
    was written. Raises BadInput, with what the one that serves can be restored to.
    """
    wanted = _moment(moment) if moment.strip() else None
    refused: BadInput | None = None
    for source in _ancestry(rds, serving):
        if wanted and wanted < source.created_at and aurora_restore.FROM in source.tags:
            continue
        window = aurora_backups.read_window(rds, cluster=source.name)
        snapshots = aurora_backups.read_snapshots(rds, cluster=source.name)
        try:
            return source, window, snapshots, choose(moment, snapshot, window, snapshots)
        except BadInput as error:
            refused = refused or error
            if wanted:
                break
    raise refused or BadInput(f"{serving.name} was restored, and what it came from is gone.")


def _ancestry(rds: Any, serving: Setup) -> Iterator[Setup]:
    """The cluster that serves, then the one it was restored from, and so on."""
    found: Setup | None = serving
    seen: set[str] = set()
    while found and found.name not in seen:
        seen.add(found.name)
        yield found
        origin = found.tags.get(aurora_restore.FROM)
        found = aurora_restore.read_setup(rds, cluster=origin) if origin else None


def _consumers(clients: Clients) -> tuple[Scaled, ...]:
    """The services whose live task definitions read the DSN, in the order of a deployment."""
    client, manager = clients.aws("ecs"), clients.aws("secretsmanager")
    wanted = clients.environment
    known = [
        one
        for one in secretsmanager.read_secrets(manager)
        if wanted.database.secret in (one.name, one.arn)
    ]
    services = ecs.read_services(client, cluster=wanted.ecs.cluster)
    readers = {
        one.service
        for one in ecs.read_references(client, services)
        if secretsmanager.referred(known, one.value_from)
    }
    mine = ecs.in_order((one for one in services if one.name in readers), wanted.ecs.order)
    return tuple(scale.read(clients, service=one.name) for one in mine)


def _compared(clients: Clients, restored: Setup) -> Comparison | None:
    """Both databases; None when the one of now does not answer: it may be beyond that."""
    import sqlalchemy

    beside = clients.database_beside(host=restored.endpoint, port=restored.port)
    try:
        clients.database.connect().close()
    except sqlalchemy.exc.OperationalError:
        return None
    return compare.compare(clients.database, beside)


def _status(one: Setup | None) -> str:
    if one is None:
        return ""
    instances = ", ".join(f"{name} {status}" for name, status in one.instances.items())
    return f"{one.status}; {instances or 'no instance'}"


def _expected(snapshots: Iterable[Snapshot]) -> str:
    """How long a restore takes, by the size of the largest snapshot."""
    size = max((one.size_gib for one in snapshots), default=0)
    return f"some 20 to 60 minutes for {size} GiB and the log since" if size else "a while"


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(
            f"moment: expected a time in UTC such as 2026-11-28T02:00:00, found {text!r}."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "never"
