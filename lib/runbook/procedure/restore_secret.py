"""Making an earlier version of a secret current again, and restarting whoever reads it.

    found = restore_secret.read(rb.clients, secret="…", version="")
    found.version_table(), found.consumer_table()
    found.plan()

A task is given a secret when it starts, so the version and its consumers belong to one plan. Who
they are is read from the live task definitions. No value is ever read: ids, labels and ages tell
versions apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.procedure import consumers
from runbook.procedure.consumers import Consumers
from runbook.studio import ecs, secretsmanager
from runbook.studio.secretsmanager import CURRENT, PREVIOUS, Version, Versions
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_LEAST = 8  # signs of a version's id that are enough to name it


@dataclass(frozen=True)
class Restore:
    """A secret's versions, and the services that read it, in the order of a deployment."""

    versions: Versions
    readers: Consumers
    now: datetime
    version: str = ""

    def choose(self) -> Version:
        """The version to go back to: the one named, or the one that was current before. Pure.

        Raises BadInput when it is not there, or not one.
        """
        wanted = self.version or self.versions.stages[PREVIOUS] or ""
        found = [one for one in self.versions.versions if one.id.startswith(wanted)]
        if len(wanted) < _LEAST or len(found) != 1:
            known = ", ".join(one.id for one in self.versions.versions)
            raise BadInput(
                f"version: {self.version!r} is not one version of {self.versions.secret}; name it "
                f"by {_LEAST} signs of its id or more."
                if self.version
                else f"{self.versions.secret} has no version that was current before this one.",
                next=f"It has {known}.",
            )
        return found[0]

    def plan(self) -> Plan:
        """The plan that moves the labels and then restarts every consumer. Pure.

        Without changes when the version is current already.
        """
        moved = secretsmanager.plan_restore(self.versions, to=self.choose().id)
        if not moved.changes:
            return moved
        restarts = [ecs.plan_restart(one) for one in self.readers.services]
        names = ", ".join(self.readers.names)
        told = (
            f"Restarts what reads it: {names}."
            if names
            else "No live service reads it, so nothing is restarted."
        )
        unlabelled = moved.warnings[1:]  # its first says to restart, which this plan does
        return replace(
            moved,
            changes=(*moved.changes, *(change for one in restarts for change in one.changes)),
            way_back="undo moves the labels back; then restart each consumer (restart-service).",
            warnings=(told, *unlabelled, *(text for one in restarts for text in one.warnings)),
        )

    def version_table(self) -> Table:
        """Versions with labels and age, newest first, and which is to come, to be read."""
        import pandas as pd

        chosen = self.choose()
        rows = [
            {
                "version": one.id,
                "labels": ", ".join(one.stages),
                "age_days": int(one.age_days(self.now)),
                "then": CURRENT if one == chosen else "",
            }
            for one in self.versions.versions
        ]
        return Table(pd.DataFrame(rows))

    def consumer_table(self) -> Table:
        """The services that read the secret, and as which setting, to be read."""
        return self.readers.table()

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        current = self.versions.stages[CURRENT] or ""
        short = self.readers.short
        missing = f"; {', '.join(short)} lack tasks" if short else ""
        return {
            "status": "warning" if short else "ok",
            "says": f"{self.versions.secret} is at version {current[:_LEAST]}, read by "
            f"{len(self.readers.services)} services{missing}.",
            "current": current,
            "consumers": self.readers.names,
        }


def read(clients: Clients, *, secret: str, version: str) -> Restore:
    """A secret's versions and who reads it. Raises BadInput when there is no such secret."""
    versions = secretsmanager.read_versions(clients.aws("secretsmanager"), secret)
    return Restore(versions, consumers.read(clients, secret), SYSTEM_CLOCK.now(), version.strip())
