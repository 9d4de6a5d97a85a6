"""The world outside: what the providers of models say of themselves.

Source: https://www.atlassian.com/software/statuspage (`/api/v2/status.json`)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runbook.clients import Clients
from runbook.errors import RunbookError

_FINE = "none"


@dataclass(frozen=True)
class Said:
    """What a provider's status page says. `indicator` is empty where nothing could be read."""

    provider: str
    indicator: str
    says: str

    @property
    def troubled(self) -> bool:
        """Whether the provider itself speaks of trouble."""
        return self.indicator not in ("", _FINE)


def read_status(clients: Clients) -> tuple[Said, ...]:
    """Ask every provider's status page that the environment names, side by side."""
    known = clients.environment.providers.known
    asked = {name: one.status_url for name, one in known.items() if one.status_url}
    if not asked:
        return ()
    with ThreadPoolExecutor(len(asked), thread_name_prefix="status") as pool:
        return tuple(pool.map(lambda pair: _ask(clients, *pair), asked.items()))


def _ask(clients: Clients, provider: str, url: str) -> Said:
    try:
        status, body = clients.ask(url, timeout_s=clients.environment.endpoints.timeout_s)
        told = json.loads(body)["status"] if status == 200 else None
    except RunbookError as error:
        return Said(provider, "", error.message)
    except (ValueError, KeyError, TypeError):
        return Said(provider, "", "its status page says nothing that can be read")
    if not isinstance(told, Mapping):
        return Said(provider, "", f"its status page answers {status}")
    return Said(provider, str(told.get("indicator", "")), str(told.get("description", "")))
