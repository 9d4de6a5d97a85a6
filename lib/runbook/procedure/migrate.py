"""Migrating the database: what the service's image would run, a snapshot, the run, the way back.

found = migrate.read(rb.clients, target="head", snapshot=True)
found.step_table(), found.sql_table()
found.plan()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.studio import aurora_backups, ecs, migrations
from runbook.studio.aurora_backups import Window
from runbook.studio.ecs import Service
from runbook.studio.migrations import Ahead, Head
from runbook.table import Table


@dataclass(frozen=True)
class Migration:
    """Where the schema is, and what would bring it on. `taken` are names of snapshots."""

    window: Window
    service: Service
    head: Head
    ahead: Ahead
    taken: frozenset[str]
    snapshot: bool

    def plan(self) -> Plan:
        """The plan that takes a snapshot and then migrates; without changes at the target. Pure."""
        if not self.ahead.steps:
            return Plan(
                title=f"The schema is at {self._now} already",
                risk="high",
                changes=(),
                way_back="Nothing to take back.",
            )
        migration = migrations.plan_migration(self.window.cluster, self.head, self.ahead)
        taken = aurora_backups.change_of(self.window, name=self.snapshot_name, kept=True)
        steps = len(self.ahead.steps)
        return Plan(
            title=f"Run {steps} migration{'' if steps == 1 else 's'} to {self.ahead.target}",
            risk="high",
            changes=(taken, migration) if self.snapshot else (migration,),
            way_back=self._way_back(),
            warnings=tuple(self._warnings()),
        )

    @property
    def snapshot_name(self) -> str:
        """A name that no snapshot has: what it was taken before."""
        base = f"{self.window.cluster}-before-{self.ahead.target}"
        names = (base if number == 1 else f"{base}-{number}" for number in count(1))
        return next(name for name in names if name not in self.taken)

    def step_table(self) -> Table:
        """The migrations to run, in order."""
        import pandas as pd

        rows = [{"revision": one.revision, "does": one.title} for one in self.ahead.steps]
        return Table(pd.DataFrame(rows), empty="Nothing: the schema is where the image is.")

    def sql_table(self) -> Table:
        """The SQL on the way there, and on the way back."""
        import pandas as pd

        ways = {"there": self.ahead.sql, "back": self.ahead.back}
        rows = [{"way": way, "sql": one} for way, statements in ways.items() for one in statements]
        return Table(pd.DataFrame(rows), empty="No SQL.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        ahead = len(self.ahead.steps)
        told = f"{ahead} behind {self.service.task_definition}" if ahead else "nothing to run"
        return {
            "status": "warning" if ahead else "ok",
            "says": f"The schema is at {self._now}, {told}.",
            "current": self._now,
            "target": self.ahead.target or self._now,
            "steps": [one.revision for one in self.ahead.steps],
        }

    @property
    def _now(self) -> str:
        return ", ".join(self.head.revisions)

    def _way_back(self) -> str:
        kept = f"restore the snapshot {self.snapshot_name}" if self.snapshot else "restore"
        if self.ahead.why_no_way_back:
            return f"The image has no way back ({self.ahead.why_no_way_back}): {kept}."
        return (
            f"undo runs alembic downgrade to {self._now}, as shown; what is written into what it "
            f"drops is lost. Or {kept} (restore-database), which loses all written since."
        )

    def _warnings(self) -> Iterator[str]:
        yield f"Runs with {self.service.task_definition}, in one transaction."
        if any("DROP " in one.upper() for one in self.ahead.sql):
            yield "Something is dropped: code that still runs may need it."
        if any(_locks(one) for one in self.ahead.sql):
            yield "Tables are locked while it runs; nobody writes to them meanwhile."
        if not self.snapshot:
            yield "No snapshot is taken before."


def read(clients: Clients, *, target: str, snapshot: bool) -> Migration:
    """Where the schema is, and what the service's image would run to bring it to `target`.

    Raises BadInput: that is not known, or the image cannot.
    """
    if not target.strip().isalnum():
        raise BadInput(f"target: expected head or a revision, found {target!r}.")
    settings = migrations.settings_of(clients)
    cluster, head = clients.environment.database.cluster, migrations.read_head(clients)
    rds = clients.aws("rds")
    return Migration(
        aurora_backups.read_window(rds, cluster=cluster),
        ecs.read_service(
            clients.aws("ecs"), cluster=clients.environment.ecs.cluster, service=settings.service
        ),
        head,
        migrations.preview(clients, head, target=target.strip()),
        frozenset(one.name for one in aurora_backups.read_snapshots(rds, cluster=cluster)),
        snapshot,
    )


def _locks(sql: str) -> bool:
    """Whether a statement keeps others from writing to a table while it runs. Pure."""
    text = sql.upper()
    if "CONCURRENTLY" in text:
        return False
    return text.startswith(("ALTER TABLE", "CREATE INDEX", "CREATE UNIQUE INDEX", "DROP INDEX"))
