"""What users do: requests at a modest, known rate, through the same routing as anybody's."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed import traffic
from studio_sandbox.data_plane.http import Request
from studio_sandbox.data_plane.orders import AbusiveUser, Orders, TrafficRate
from studio_sandbox.data_plane.providers import MODELS
from studio_sandbox.data_plane.served import Served, new_trace

GATEWAY_PER_S = 2.0
API_SHARE, SITE_SHARE = 0.7, 0.34  # of the gateway's requests, as in the seeded hour
TOTAL_PER_S = GATEWAY_PER_S * (1 + API_SHARE + SITE_SHARE)
_HOSTS = {
    names.GATEWAY: names.GATEWAY_HOST,
    names.BACKEND: names.API_HOST,
    names.FRONTEND: names.APP_HOST,
}
_PATHS = {
    "chat": "/v1/chat/complete",
    "image": "/v1/images/generate",
    "video": "/v1/videos/generate",
}
_LATE_S = 1.0  # what could not be asked in time, after a pause, is not asked any more
_SEEDED = [one for one in MODELS if one.name in {row[0] for row in traffic.MODELS}]
# Whoever wants a provider says so; the others leave it to the gateway's settings.
_CHOSEN = ("anthropic",)


class Traffic:
    """Everybody, and whoever floods. `serve` begins a request, `finish` ends it when it is due."""

    def __init__(
        self,
        orders: Orders,
        *,
        serve: Callable[[Request], Served],
        finish: Callable[[Served], None],
        seed: int,
    ) -> None:
        self._orders, self._serve, self._finish = orders, serve, finish
        self._dice = random.Random(f"{seed}:live")  # noqa: S311  believable, not secret
        self.users: Sequence[str] = ()  # who asks; nobody as long as nobody is known
        self._next: dict[str, float] = {}
        self._open: list[tuple[float, int, Served]] = []
        self._numbers = itertools.count()

    def begin(self) -> None:
        """Start from nothing: no users, nothing under way."""
        self.users, self._next, self._open = (), {}, []

    def step(self, now: float) -> None:
        """Ask what is due, and end what has been answered by now. Times never jump."""
        rate = self._orders.first(TrafficRate)
        factor = rate.factor if rate else 1.0
        if self.users and factor:
            self._ask_until(now, "everybody", GATEWAY_PER_S * factor, self._visit)
        for abuser in self._orders.all(AbusiveUser):
            if abuser.per_s:
                self._ask_until(now, abuser.user_id, abuser.per_s, partial(self._flood, abuser))
        while self._open and self._open[0][0] <= now:
            self._finish(heapq.heappop(self._open)[2])

    def _ask_until(self, now: float, who: str, per_s: float, ask: Callable[[], None]) -> None:
        due = max(self._next.get(who, now), now - _LATE_S)
        while due <= now:
            ask()
            due += self._dice.expovariate(per_s)
        self._next[who] = due

    def _visit(self) -> None:
        """A request to the gateway, and what its user does around it under the same trace."""
        dice = self._dice
        user = self.users[int(len(self.users) * dice.random() ** 1.6)]
        trace = new_trace(dice)
        if dice.random() < API_SHARE:
            self._page(names.BACKEND, traffic.API, user, trace)
        if dice.random() < SITE_SHARE:
            self._page(names.FRONTEND, traffic.SITE, user, trace)
        model = dice.choices(_SEEDED, [one.share for one in _SEEDED])[0]
        self._model(model.family, user, trace, model.provider if model.provider in _CHOSEN else "")

    def _flood(self, abuser: AbusiveUser) -> None:
        self._model(abuser.family, abuser.user_id, new_trace(self._dice), "")

    def _page(
        self, service: str, kinds: Sequence[tuple[str, str, float, int]], user: str, trace: str
    ) -> None:
        method, path, _, _ = self._dice.choices(kinds, [kind[2] for kind in kinds])[0]
        self._send(service, method, path, user, trace, b"")

    def _model(self, family: str, user: str, trace: str, provider: str) -> None:
        body = json.dumps({"provider": provider} if provider else {}).encode()
        self._send(names.GATEWAY, "POST", _PATHS[family], user, trace, body)

    def _send(
        self, service: str, method: str, path: str, user: str, trace: str, body: bytes
    ) -> None:
        request = Request(
            method=method,
            path=path,
            host=_HOSTS[service],
            headers={"x-user-id": user, "x-amzn-trace-id": f"Root={trace}"},
            body=body,
            source_ip=f"203.0.113.{1 + hash(user) % 250}",  # TEST-NET-3: nobody's
        )
        served = self._serve(request)
        due = time.monotonic() + served.seconds
        heapq.heappush(self._open, (due, next(self._numbers), served))
