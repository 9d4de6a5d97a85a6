"""The operations runbook's library: `from runbook import Runbook, jobs`.

Names are imported when they are first used, so that a command pays for what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook.notebook import Runbook
    from runbook.studio import (
        alarms,
        aurora,
        dashboards,
        front,
        health,
        iam,
        jobs,
        logs,
        mail_account,
        maintenance,
        secret_use,
        subscriptions,
        usage_sync,
    )

__all__ = [
    "Runbook",
    "alarms",
    "aurora",
    "dashboards",
    "front",
    "health",
    "iam",
    "jobs",
    "logs",
    "mail_account",
    "maintenance",
    "secret_use",
    "subscriptions",
    "usage_sync",
]


def __getattr__(name: str) -> Any:
    if name == "Runbook":
        return importlib.import_module("runbook.notebook").Runbook
    if name in __all__:
        return importlib.import_module(f"runbook.studio.{name}")
    raise AttributeError(f"module 'runbook' has no attribute {name!r}")
