"""What a drill may order of the data plane: every knob there is, one class each.

    POST   /sandbox/data-plane   {"order": "provider-slow", "provider": "openai", "factor": 20}
    GET    /sandbox/data-plane   what is ordered, and what there is to order
    DELETE /sandbox/data-plane   all is as usual again; ?order=provider-slow takes back that kind

The first may be a list. An order holds until it is taken back, or until everything is reset. All
of them are about what happens by itself, so a still sandbox only notes them, but for those that
say something of an endpoint: a task, a provider's status, a key.
"""

from __future__ import annotations

import re
import threading
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar


@dataclass(frozen=True)
class TrafficRate:
    """Everybody together asks `factor` times as often as usual; 0 is silence."""

    factor: float = 1.0


@dataclass(frozen=True)
class AbusiveUser:
    """One user asks the gateway `per_s` times a second, besides what everybody does."""

    user_id: str
    per_s: float = 5.0
    family: str = "chat"


@dataclass(frozen=True)
class ProviderSlow:
    """A provider takes `factor` times as long; the gateway gives up after its 30 s."""

    provider: str
    factor: float = 10.0


@dataclass(frozen=True)
class ProviderFailing:
    """A provider answers this share of requests with `status`, and its status page says so.

    Of those that are not ordered, one request in 450 fails; a share of 0 is flawless.
    """

    provider: str
    share: float = 1.0
    status: int = 503


@dataclass(frozen=True)
class KeyRevoked:
    """A provider refuses a key with 401: the one that AWSCURRENT was when it was ordered."""

    provider: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class TaskFault:
    """A share of a service's requests fails: `cut` (502), `silent` (504) or `error` (500).

    Health checks pass; a revision that fails them is a behaviour, see `control_plane.behaviours`.
    With `image`, the end of an image's URI, it is about the tasks of that image alone.
    """

    service: str
    how: str = "error"
    share: float = 1.0
    image: str = ""


@dataclass(frozen=True)
class CpuLoad:
    """Each request costs a service `factor` times as much CPU as usual."""

    service: str
    factor: float = 2.0


@dataclass(frozen=True)
class DatabaseLoad:
    """The database's CPU is `factor` times as busy as usual."""

    factor: float = 2.5


@dataclass(frozen=True)
class RedisLoad:
    """The cache's CPU is `factor` times as busy as usual."""

    factor: float = 5.0


@dataclass(frozen=True)
class DiskUsed:
    """The tasks of a service have filled so much of their 30 GiB."""

    service: str
    gib: float = 27.0


@dataclass(frozen=True)
class RedisDown:
    """The cache's primary is gone: no task reaches it. What is in it stays."""


@dataclass(frozen=True)
class UsageUnwritten:
    """Usage is counted in Redis and not written to the database, as by a flusher that died."""


@dataclass(frozen=True)
class WorkersHang:
    """Workers take jobs and never finish them; those that they hold already are kept too."""


@dataclass(frozen=True)
class WebhooksLost:
    """The payment provider's notices of completed payments do not arrive."""


@dataclass(frozen=True)
class PaymentUntold:
    """The payment provider has completed a payment of which the Studio never heard."""

    external_id: str
    amount: str


@dataclass(frozen=True)
class WorkflowFails:
    """Runs of the deployment workflow end in `failure`, before anything is deployed."""


KINDS: dict[str, type[Any]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind
    for kind in (
        TrafficRate, AbusiveUser, ProviderSlow, ProviderFailing, KeyRevoked, TaskFault, CpuLoad,
        DatabaseLoad, RedisLoad, DiskUsed, RedisDown, UsageUnwritten, WorkersHang, WebhooksLost,
        PaymentUntold, WorkflowFails,
    )
}  # fmt: skip
_NAMES = {kind: name for name, kind in KINDS.items()}
_CHOICES = {"provider": ("openai", "anthropic", "google"), "how": ("cut", "silent", "error")}
Order = TypeVar("Order")


class Orders:
    """All that was ordered and not taken back. Safe between threads."""

    def __init__(self) -> None:
        self._orders: list[Any] = []
        self._lock = threading.Lock()

    def add(self, wanted: list[Any]) -> None:
        """Add some; a later one of the same kind wins where only one can hold."""
        with self._lock:
            self._orders += wanted

    def clear(self, name: str = "") -> None:
        """Take back those of one kind, or all. Raises ValueError: there is no such kind."""
        kind = _kind(name) if name else object
        with self._lock:
            self._orders = [one for one in self._orders if not isinstance(one, kind)]

    def all(self, kind: type[Order], **about: str) -> list[Order]:
        """Those of one kind that are about this, the latest first."""
        with self._lock:
            found = [one for one in reversed(self._orders) if isinstance(one, kind)]
        return [
            one for one in found if all(getattr(one, key) == value for key, value in about.items())
        ]

    def first(self, kind: type[Order], **about: str) -> Order | None:
        """The one that holds."""
        return next(iter(self.all(kind, **about)), None)

    def told(self) -> dict[str, Any]:
        """What is ordered, without any key, and what there is to order, as data."""
        with self._lock:
            ordered = [
                {"order": _NAMES[type(one)], **{k: v for k, v in asdict(one).items() if k != "key"}}
                for one in self._orders
            ]
        return {"ordered": ordered, "kinds": {name: _told(kind) for name, kind in KINDS.items()}}


def made(given: dict[str, Any]) -> Any:
    """An order from its data. Raises ValueError or TypeError for what is none."""
    wanted = dict(given)
    kind = _kind(str(wanted.pop("order", "")))
    for name, choices in _CHOICES.items():
        if name in wanted and wanted[name] not in choices:
            raise ValueError(f"{name} {wanted[name]!r}; there are {', '.join(choices)}")
    for number in fields(kind):
        if number.name in wanted and number.type in ("float", "int"):
            wanted[number.name] = float(wanted[number.name])
            if wanted[number.name] < 0:
                raise ValueError(f"{number.name} must not be negative")
    return kind(**wanted)


def _kind(name: str) -> type[Any]:
    if name not in KINDS:
        raise ValueError(f"order {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def _told(kind: type[Any]) -> dict[str, Any]:
    defaults = {
        one.name: None if one.default is MISSING else one.default
        for one in fields(kind)
        if one.name != "key"
    }
    return {"does": (kind.__doc__ or "").split("\n\n")[0].replace("\n   ", ""), "fields": defaults}
