"""Rotating a secret: a new value is stored beside the old one, tried, made current, and read.

    found = rotate_secret.read(rb.clients, secret="OPENAI_API_KEY")
    found.version_table(), found.consumer_table()
    found.take_from("/…/new-key")           where the value comes from; none is read yet
    found.plan()

Until the provider has accepted it nobody is given the new value. When what reads it does not stay
whole, or too many of the provider's requests fail, the plan's own `on_failure` makes the old
version current again and restarts who reads it once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.procedure import consumers
from runbook.procedure.consumers import Consumers
from runbook.studio import logs, providers, secret_values, secretsmanager
from runbook.studio.secretsmanager import CURRENT, Versions
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_BITS = 256
_LEAST = 8  # signs of a version's id
_USERS = "filter ispresent(user_id) | stats count_distinct(user_id) as users"


@dataclass(frozen=True)
class Rotation:
    """A secret's versions, who reads it, and whether its provider accepts the current value.

    `accepted` is None where nobody can be asked: no provider, or it does not answer. `active` is
    the number of users whose sessions would end; None where the secret signs no sessions.
    """

    versions: Versions
    readers: Consumers
    now: datetime
    provider: str = ""
    accepted: bool | None = None
    active: int | None = None
    session_minutes: int = 0
    source: str = ""

    def take_from(self, value_from: str) -> Rotation:
        """The new value comes from this file; without one a person is asked when it is applied.

        Raises BadInput for a file that others may read. Reads nothing of it.
        """
        path = value_from.strip()
        if path:
            secret_values.check_file(path)
        source = secret_values.from_file(path) if path else secret_values.asked()
        secret_values.offer(self.versions.secret, source)
        there = "" if not path or Path(path).exists() else ", which is not there yet"
        told = f"the file {path}{there}; it is removed once the value is stored" if path else (
            "a person, asked at the cell when the plan is applied; headless nobody can be"
        )  # fmt: skip
        return replace(self, source=f"The new value comes from {told}.")

    def draw(self) -> Rotation:
        """The new value is drawn when the plan is applied: 256 random bits, seen by nobody."""
        secret_values.offer(self.versions.secret, secret_values.drawn(_BITS))
        return replace(self, source=f"The new value is {_BITS} random bits, seen by nobody.")

    def plan(self) -> Plan:
        """The plan that stores it, makes it current, and has every consumer read it. Pure."""
        then, now = secret_values.next_version(self.versions), self.versions.stages[CURRENT]
        if now is None:
            raise BadInput(f"{self.versions.secret} has no current version to go back to.")
        stored = secret_values.plan_version(self.versions, to=then)
        current = secretsmanager.plan_current(self.versions, to=then)
        read = (
            secret_values.plan_read(one, secret=self.versions.secret, now=now, then=then)
            for one in self.readers.services
        )
        return Plan(
            title=f"Rotate {self.versions.secret}",
            risk="high",
            changes=(stored, current, *read),
            way_back=f"undo makes version {now[:_LEAST]} current again and restarts who reads it; "
            "so does this plan by itself when it fails.",
            warnings=tuple(self._warnings()),
            on_failure="inverse",
        )

    def version_table(self) -> Table:
        """Versions with labels and age, newest first, to be read."""
        import pandas as pd

        rows = [
            {
                "version": one.id,
                "labels": ", ".join(one.stages),
                "age_days": int(one.age_days(self.now)),
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
        status: Status = "warning" if self.readers.short else "ok"
        told = ""
        if self.accepted is not None:
            word = "accepts it" if self.accepted else "does not accept it"
            told, status = f"; {self.provider} {word}", status if self.accepted else "critical"
        return {
            "status": status,
            "says": f"{self.versions.secret} is at version {current[:_LEAST]}, read by "
            f"{', '.join(self.readers.names) or 'no live service'}{told}.",
            "current": current,
            "consumers": self.readers.names,
            "provider": self.provider,
            "accepted": self.accepted,
            "active_users": self.active,
        }

    def _warnings(self) -> Iterator[str]:
        if self.active is not None:
            yield (
                f"All sessions end, and each user has to sign in again; active in the last "
                f"{self.session_minutes} minutes were ≈ {self.active:,} users."
            )
        yield self.source
        names = ", ".join(self.readers.names)
        yield f"Restarts what reads it: {names}." if names else "No live service reads it."
        if self.provider:
            yield f"No service is given it before {self.provider} has accepted it."


def read(clients: Clients, *, secret: str) -> Rotation:
    """A provider's key: its versions, who reads it, whether the provider accepts it now.

    Raises BadInput: there is no such secret, or nobody says where its value can be tried.
    """
    settings = clients.environment.providers
    found = providers.of_secret(settings, secret)
    rotation = _read(clients, secret)
    if found is None:
        raise BadInput(
            f"secret: nobody says where a value of {secret} can be tried (providers.known).",
            next=f"Those that can: {', '.join(one.secret for one in settings.known.values())}.",
        )
    name, provider = found
    return replace(rotation, provider=name, accepted=providers.accepts(clients, provider))


def read_sessions(clients: Clients) -> Rotation:
    """The secret that signs all sessions: its versions, who reads it, how many users are active.

    Raises BadInput: the environment names no such secret.
    """
    settings = clients.environment.secrets
    if not settings.sessions:
        raise BadInput(f"{clients.environment.name} names no secret that signs sessions.")
    frame = logs.query(
        clients.aws("logs"),
        clients.environment.logs,
        _USERS,
        window=logs.window(minutes=settings.session_minutes),
        factor=clients.environment.waits.factor,
    ).frame
    active = int(frame.users.iloc[0]) if len(frame) else 0
    rotation = _read(clients, settings.sessions)
    return replace(rotation, active=active, session_minutes=settings.session_minutes)


def _read(clients: Clients, secret: str) -> Rotation:
    versions = secretsmanager.read_versions(clients.aws("secretsmanager"), secret)
    return Rotation(versions, consumers.read(clients, secret), SYSTEM_CLOCK.now())
