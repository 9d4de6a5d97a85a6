"""Banning a user: no new session, and none of those that there are.

    found = ban.read(rb.clients, user="…")
    found.table(), found.plan()

A token that was issued works until its lifetime is over, whatever the table says; so the gateway
refuses the user for as long as one may last that is issued until the plan has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.settings import Environment
from runbook.studio import users
from runbook.studio.users import Block, Holdings, User
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK


@dataclass(frozen=True)
class Ban:
    """A user with all that a ban concerns."""

    user: User
    block: Block
    holdings: Holdings
    now: datetime
    settings: Environment

    @property
    def banned(self) -> bool:
        """Whether the user is inactive, and refused at the gateway."""
        return not self.user.is_active and self.block.value is not None

    def table(self) -> Table:
        """The user, the block, and what the user has, to be read."""
        import pandas as pd

        rows = [
            ("since", f"{self.user.created_at:%Y-%m-%d}"),
            ("active", "yes" if self.user.is_active else "no"),
            ("at the gateway", self.block.says),
            *self.holdings.facts(),
        ]
        return Table(pd.DataFrame(rows, columns=["what", self.user.id]))

    def plan(self) -> Plan:
        """The plan that blocks and deactivates the user. Pure; without changes when both are so."""
        lasts = self.settings.users.token_hours
        until = users.later(self.now, hours=lasts, minutes=self.settings.plans.expire_after_minutes)
        active = [users.active_change(self.user, active=False)] if self.user.is_active else []
        changes = () if self.banned else (users.block_change(self.block, until=until), *active)
        return Plan(
            title=f"Ban user {self.user.id}",
            risk="high",
            changes=changes,
            way_back="undo makes the user active again and puts back the block that there was.",
            warnings=(
                f"A token works for {lasts:g} h after it was issued: the gateway refuses the user "
                f"until {until:%Y-%m-%d %H:%M} UTC.",
                *self.holdings.doubts(),
            ),
            on_failure="inverse",  # nobody is half banned
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        active = "active" if self.user.is_active else "not active"
        return {
            "status": "ok",
            "says": f"User {self.user.id} is {active}, and {self.block.says}.",
            "user": self.user.id,
            "banned": self.banned,
            "subscriptions": len(self.holdings.subscriptions),
            "jobs": self.holdings.jobs,
        }

    def again(self, clients: Clients) -> Ban:
        """The same, read anew."""
        return read(clients, user=self.user.id)


def read(clients: Clients, *, user: str) -> Ban:
    """A user with all that a ban concerns. Raises BadInput when there is none of that id."""
    found = users.read_user(clients.database, user)
    return Ban(
        found,
        users.read_block(clients.redis, found.id),
        users.read_holdings(clients.database, found.id),
        SYSTEM_CLOCK.now(),
        clients.environment,
    )
