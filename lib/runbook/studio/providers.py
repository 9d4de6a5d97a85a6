"""Providers of models: whether one accepts a key, what its status page says, how it answers.

    providers.tried(clients, provider, key)         the status that it answers a key with
    providers.read_rates(clients, window)           requests, failures and latency by provider

How it answers is read from the requests in the log of the service that it provides for: a line has
`model`, `status` and `latency_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runbook.clients import Clients
from runbook.errors import NotReachable
from runbook.secret import Secret
from runbook.settings import Provider, Providers
from runbook.studio import logs
from runbook.studio.logs import Window

if TYPE_CHECKING:
    import pandas as pd

ACCEPTED = 200
_FAILED_FROM = 500
_BY_MODEL = """
    filter ispresent(model) and ispresent(latency_ms)
    | stats count(*) as requests, avg(latency_ms) as average_ms, pct(latency_ms, 95) as p95_ms
      by model, status
"""
_BY_MINUTE = """
    filter ispresent(model) and ispresent(latency_ms)
    | stats count(*) as requests, avg(latency_ms) as average_ms by bin(1m), model, status
"""


@dataclass(frozen=True)
class Rate:
    """How one provider answered: requests, how many failed, milliseconds on average."""

    requests: int
    failed: int
    average_ms: float

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.requests if self.requests else 0.0


def of_secret(settings: Providers, secret: str) -> tuple[str, Provider] | None:
    """The provider whose key a secret holds, with its name. Pure."""
    found = ((name, one) for name, one in settings.known.items() if one.secret == secret)
    return next(found, None)


def tried(clients: Clients, provider: Provider, key: Secret) -> int:
    """The status that a provider answers a key with; ACCEPTED is good. Raises NotReachable."""
    status, _ = clients.ask(
        provider.try_url,
        headers={provider.header: provider.form.format(key=key.reveal())},
        timeout_s=clients.environment.providers.timeout_s,
    )
    return status


def accepts(clients: Clients, provider: Provider) -> bool | None:
    """Whether a provider accepts the key that its secret holds now; None: it does not answer."""
    try:
        return tried(clients, provider, clients.secret(provider.secret)) == ACCEPTED
    except NotReachable:
        return None


def read_models(clients: Clients, window: Window) -> pd.DataFrame:
    """How each model was answered, and by whom.

    Columns: provider, model, status, requests, average_ms, p95_ms.
    """
    return _asked(clients, _BY_MODEL, window)


def read_minutes(clients: Clients, window: Window) -> pd.DataFrame:
    """The same by minute. Columns: provider, minute, model, status, requests, average_ms."""
    # a time by its name alone: an alias would make it text
    return _asked(clients, _BY_MINUTE, window).rename(columns={"bin(1m)": "minute"})


def rates(frame: pd.DataFrame, settings: Providers) -> dict[str, Rate]:
    """How each known provider answered, from either frame. Pure."""
    found = {}
    for name in settings.known:
        mine = frame[frame.provider == name] if len(frame) else frame
        requests = int(mine.requests.sum()) if len(mine) else 0
        failed = int(mine[mine.status >= _FAILED_FROM].requests.sum()) if len(mine) else 0
        spent = float((mine.average_ms * mine.requests).sum()) if len(mine) else 0.0
        found[name] = Rate(requests, failed, spent / requests if requests else 0.0)
    return found


def read_rates(clients: Clients, window: Window) -> Mapping[str, Rate]:
    """How each known provider answered within a window."""
    return rates(read_models(clients, window), clients.environment.providers)


def _asked(clients: Clients, query: str, window: Window) -> pd.DataFrame:
    settings = clients.environment.providers
    frame = logs.query(
        clients.aws("logs"),
        clients.environment.logs,
        query,
        window=window,
        services=settings.log,
        factor=clients.environment.waits.factor,
    ).frame
    if len(frame):
        frame["provider"] = [_provider(settings, str(model)) for model in frame.model]
    return frame


def _provider(settings: Providers, model: str) -> str:
    """Whose a model is; empty where no pattern fits."""
    for name, one in settings.known.items():
        if any(fnmatchcase(model, pattern) for pattern in one.models):
            return name
    return ""
