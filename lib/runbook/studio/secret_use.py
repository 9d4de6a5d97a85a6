"""Secrets in use: which there are, how old, and which live service reads which. Never a value.

    found = secret_use.read(rb.clients)
    found.findings(), found.table(), found.reference_table()

Who reads what is taken from the live task definitions, never from a list: a list is right until
the next deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.headline import Status, in_short, worst
from runbook.settings import Secrets
from runbook.studio import ecs, secretsmanager
from runbook.studio.ecs import Reference
from runbook.studio.secretsmanager import Listed
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """One secret, or the name of one that is not there, with everything known of it."""

    name: str
    secret: Listed | None
    critical: bool
    readers: tuple[str, ...]
    status: Status
    says: str


@dataclass(frozen=True)
class SecretUse:
    """All secrets and all references to secrets, as of `now`."""

    settings: Secrets
    secrets: tuple[Listed, ...]
    references: tuple[Reference, ...]
    now: datetime

    def judged(self) -> list[Judged]:
        """Every secret, and every one that should be there; the worst first. Pure."""
        there = {one.name: one for one in self.secrets}
        named = [*self.settings.critical, *(n for n in there if n not in self.settings.critical)]
        found = [self._judge(name, there.get(name)) for name in named]
        order = ("critical", "warning", "ok")
        return sorted(found, key=lambda one: (order.index(one.status), not one.critical, one.name))

    def dangling(self) -> list[Reference]:
        """References to secrets that do not exist. Pure."""
        return [one for one in self.references if _is_secret(one) and not self._secret_of(one)]

    def frame(self) -> pd.DataFrame:
        """Columns: status, secret, critical, age_days, due_in_days, last_access_days, read_by,
        says."""
        import pandas as pd

        rows = [
            {
                "status": one.status,
                "secret": one.name,
                "critical": one.critical,
                "age_days": self._age_days(one.secret),
                "due_in_days": self._due_in_days(one.secret),
                "last_access_days": self._access_days(one.secret),
                "read_by": ", ".join(one.readers),
                "says": one.says,
            }
            for one in self.judged()
        ]
        return pd.DataFrame(rows)

    def table(self) -> Table:
        """The secrets, to be read."""
        return Table(self.frame(), empty="There is no secret, and none is expected.")

    def reference_table(self) -> Table:
        """What each live revision takes, and whether it is there, to be read."""
        import pandas as pd

        dangling = set(self.dangling())
        rows = [
            {
                "status": "critical" if one in dangling else "ok",
                "service": one.service,
                "revision": one.revision,
                "setting": one.name,
                "from": _name_of(one) if _is_secret(one) else one.value_from,
                "says": _of_reference(one, dangling=one in dangling),
            }
            for one in self.references
        ]
        return Table(pd.DataFrame(rows), empty="No live task definition takes a secret.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        judged, dangling = self.judged(), self.dangling()
        lost: tuple[Status, ...] = ("critical",) if dangling else ()
        return {
            "status": worst(*lost, *(one.status for one in judged)),
            "says": self._sentence(judged, dangling),
            "missing": [one.name for one in judged if one.critical and one.secret is None],
            "unread": [one.name for one in judged if one.secret and not one.readers],
            "dangling": [f"{one.service} {one.name}" for one in dangling],
            "rotation_due": [
                one.name for one in judged if (self._due_in_days(one.secret) or 0) < 0
            ],
        }

    def _sentence(self, judged: list[Judged], dangling: list[Reference]) -> str:
        told = [
            f"{one.revision} takes {one.name} from {_name_of(one)}, which does not exist"
            for one in dangling
        ]
        told += [f"{one.name}: {one.says}" for one in judged if one.status != "ok"]
        if told:
            return in_short(told)
        count = sum(one.critical for one in judged)
        due = [days for one in judged if (days := self._due_in_days(one.secret)) is not None]
        next_due = f" The next is due in {min(due)} days." if due else ""
        return f"All {count} critical secrets are there, read, and young enough.{next_due}"

    def _judge(self, name: str, secret: Listed | None) -> Judged:
        critical = name in self.settings.critical
        readers = tuple(sorted({
            one.service for one in self.references if secret and self._secret_of(one) == secret
        }))  # fmt: skip
        status, says = self._why(secret, critical=critical, readers=readers)
        return Judged(name, secret, critical, readers, status, says)

    def _why(
        self, secret: Listed | None, *, critical: bool, readers: tuple[str, ...]
    ) -> tuple[Status, str]:
        if secret is None:
            return "critical", "is missing"
        if secret.deleted_at:
            needed = critical or readers
            return "critical" if needed else "warning", "waits to be deleted"
        told = []
        if (due := self._due_in_days(secret)) is not None and due < 0:
            told.append(f"its rotation was due {-due} days ago")
        if not readers and not secret.owner:
            told.append("no live service reads it")
        if told:
            return "warning", ", ".join(told)
        return "ok", "a newer version is staged" if secret.pending else ""

    def _secret_of(self, reference: Reference) -> Listed | None:
        return secretsmanager.referred(self.secrets, reference.value_from)

    def _age_days(self, secret: Listed | None) -> int | None:
        return (self.now - secret.changed_at).days if secret else None

    def _due_in_days(self, secret: Listed | None) -> int | None:
        """Days until a rotation is due; None for what AWS itself looks after."""
        if secret is None or secret.owner:
            return None
        return self.settings.rotate_after_days - (self.now - secret.changed_at).days

    def _access_days(self, secret: Listed | None) -> int | None:
        return (
            (self.now.date() - secret.accessed_on).days if secret and secret.accessed_on else None
        )


def read(clients: Clients) -> SecretUse:
    """List secrets, and read live task definitions. Raises BadInput when there is no cluster."""
    client = clients.aws("ecs")
    services = ecs.read_services(client, cluster=clients.environment.ecs.cluster)
    return SecretUse(
        clients.environment.secrets,
        secrets=secretsmanager.read_secrets(clients.aws("secretsmanager")),
        references=ecs.read_references(client, services),
        now=SYSTEM_CLOCK.now(),
    )


def _is_secret(reference: Reference) -> bool:
    return secretsmanager.is_secret(reference.value_from)


def _name_of(reference: Reference) -> str:
    return reference.value_from.split(":")[6] if _is_secret(reference) else reference.value_from


def _of_reference(reference: Reference, *, dangling: bool) -> str:
    if not _is_secret(reference):
        return "not in Secrets Manager, not looked at"
    return "there is no such secret" if dangling else ""
