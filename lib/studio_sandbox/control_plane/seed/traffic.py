"""One hour of requests, drawn once: logs tell them one by one, metrics minute by minute."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from studio_sandbox.control_plane.seed.world import World

WINDOW_S = 3600
_MEAN_GAP_S = 0.98  # between two requests to the gateway

# model, provider, family, path, share of requests, median seconds, tokens
MODELS = (
    ("gpt-4o-mini", "openai", "chat", "/v1/chat/complete", 0.52, 0.72, 640),
    ("gpt-4o", "openai", "chat", "/v1/chat/complete", 0.17, 1.35, 910),
    ("claude-3-5-haiku", "anthropic", "chat", "/v1/chat/complete", 0.16, 0.83, 720),
    ("gpt-image-1", "openai", "image", "/v1/images/generate", 0.11, 4.6, 0),
    ("veo-3", "google", "video", "/v1/videos/generate", 0.04, 1.9, 0),
)
_SHARES = [model[4] for model in MODELS]
FAILURE, RETRY, _LIMITED = 0.0022, 0.003, 0.0018  # shares: 502, a slow retry, 429


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the gateway; `at_s` counts from the start of the hour."""

    at_s: float
    trace_id: str
    user_id: str
    method: str
    path: str
    status: int
    latency_ms: int
    model: str
    provider: str
    family: str
    tokens: int
    retried: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One request to backend or frontend."""

    at_s: float
    trace_id: str
    user_id: str
    method: str
    path: str
    status: int
    latency_ms: int


@dataclass(frozen=True)
class Traffic:
    """The hour before the anchor, by service, each in the order of time."""

    gateway: list[Request]
    backend: list[Page]
    frontend: list[Page]


API = (
    ("GET", "/v1/users/me", 0.34, 12),
    ("GET", "/v1/usage", 0.27, 21),
    ("GET", "/v1/files", 0.16, 34),
    ("POST", "/v1/auth/refresh", 0.11, 17),
    ("GET", "/v1/subscriptions/current", 0.08, 15),
    ("POST", "/v1/payments/checkout", 0.02, 260),
    ("POST", "/v1/auth/magic-link", 0.02, 140),
)
SITE = (
    ("GET", "/ar/studio", 0.44, 38),
    ("GET", "/ar/library", 0.22, 44),
    ("GET", "/en/studio", 0.17, 37),
    ("GET", "/ar/pricing", 0.10, 29),
    ("GET", "/ar/login", 0.07, 24),
)


def draw(world: World, users: Sequence[str]) -> Traffic:
    """Draw the hour: the gateway's requests, and what users do around them."""
    dice = world.dice("traffic")
    started = int(world.anchor.timestamp()) - WINDOW_S
    gateway = [_request(dice, at, started, users) for at in _arrivals(dice, _MEAN_GAP_S)]
    backend = list(_around(dice, gateway, API, share=0.7, before_s=0.4, failing=0.0006))
    frontend = list(_around(dice, gateway, SITE, share=0.34, before_s=1.1, failing=0.0))
    return Traffic(gateway, sorted(backend, key=_at), sorted(frontend, key=_at))


def _at(page: Page) -> float:
    return page.at_s


def _arrivals(dice: random.Random, mean_gap_s: float) -> Iterator[float]:
    """Arrival times with a gentle wave in them, none in the hour's last two seconds."""
    at = 2.0
    while at < WINDOW_S - 2:
        yield at
        at += dice.expovariate(1 / mean_gap_s) * (1 + 0.25 * math.sin(at / 570))


def _request(dice: random.Random, at: float, started: int, users: Sequence[str]) -> Request:
    model, provider, family, path, _, median_s, tokens = dice.choices(MODELS, _SHARES)[0]
    fate = dice.random()
    failed = fate < FAILURE
    limited = FAILURE <= fate < FAILURE + _LIMITED
    retried = FAILURE + _LIMITED <= fate < FAILURE + _LIMITED + RETRY
    latency_ms = int(1000 * median_s * dice.lognormvariate(0, 0.38))
    if limited:
        latency_ms = dice.randint(2, 6)
    return Request(
        at_s=at,
        trace_id=f"1-{started + int(at):08x}-{dice.getrandbits(96):024x}",
        user_id=users[int(len(users) * dice.random() ** 1.6)],
        method="POST",
        path=path,
        status=502 if failed else 429 if limited else 200,
        latency_ms=latency_ms * 3 if retried else latency_ms,
        model=model,
        provider=provider,
        family=family,
        tokens=0 if failed or limited else int(tokens * dice.uniform(0.4, 1.7)),
        retried=retried,
    )


def _around(
    dice: random.Random,
    gateway: list[Request],
    kinds: Sequence[tuple[str, str, float, int]],
    *,
    share: float,
    before_s: float,
    failing: float,
) -> Iterator[Page]:
    """A call under the same trace shortly before some of the gateway's requests."""
    weights = [kind[2] for kind in kinds]
    for request in gateway:
        if dice.random() < share:
            method, path, _, median_ms = dice.choices(kinds, weights)[0]
            yield Page(
                at_s=max(0.0, request.at_s - dice.uniform(0.05, before_s)),
                trace_id=request.trace_id,
                user_id=request.user_id,
                method=method,
                path=path,
                status=500 if dice.random() < failing else 200,
                latency_ms=max(1, int(median_ms * dice.lognormvariate(0, 0.45))),
            )
