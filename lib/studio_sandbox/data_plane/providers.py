"""The AI providers, played: which keys they accept, how long they take, how often they fail."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed import traffic
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.orders import KeyRevoked, Orders, ProviderFailing, ProviderSlow

TIMEOUT_S = 30.0  # after which the gateway gives up
_SPREAD = 0.38  # of latencies around their median, as in the seeded hour
_SLOW = 3.0  # from this factor on the status page says so
_MOST_LETTERS = 20  # that a key of the right beginning has at least


@dataclass(frozen=True)
class Provider:
    """One provider: the secret that the gateway has its key from, and how its keys begin."""

    name: str
    secret: str
    keys_begin: str
    title: str


PROVIDERS = {
    one.name: one
    for one in (
        Provider("openai", names.OPENAI_KEY, "sk-", "OpenAI"),
        Provider("anthropic", names.ANTHROPIC_KEY, "sk-ant-", "Anthropic"),
        Provider("google", names.GOOGLE_KEY, "AIza", "Google AI"),
    )
}


@dataclass(frozen=True)
class Model:
    """One model: its share of its provider's requests in the family, median seconds, tokens."""

    name: str
    provider: str
    family: str
    share: float
    median_s: float
    tokens: int


# What the seeded hour uses, and what each provider has for a family that it may take over.
MODELS = [
    Model(name, provider, family, share, median_s, tokens)
    for name, provider, family, _path, share, median_s, tokens in traffic.MODELS
] + [
    Model("gemini-2.0-flash", "google", "chat", 0.1, 0.66, 690),
    Model("imagen-4", "google", "image", 0.1, 5.1, 0),
    Model("sora-2", "openai", "video", 0.1, 2.4, 0),
]


@dataclass(frozen=True)
class Called:
    """What came of one call: status (504 when it took too long), seconds, what went wrong."""

    status: int
    seconds: float
    error: str = ""
    retried: bool = False


class Providers:
    """All of them, as they are ordered to behave."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def accepts(self, provider: str, key: str) -> bool:
        """Whether a key opens anything: it looks like one, and was not revoked.

        No list of issued keys is kept, so that a new one can be made up; a stranger's, too.
        """
        begin = PROVIDERS[provider].keys_begin
        if not key.startswith(begin) or len(key) < len(begin) + _MOST_LETTERS:
            return False
        if begin == "sk-" and key.startswith("sk-ant-"):
            return False
        revoked = self._orders.all(KeyRevoked, provider=provider)
        return key not in {one.key for one in revoked}

    def call(self, model: Model, key: str, dice: random.Random) -> Called:
        """One call of a model."""
        name = model.provider
        slow = self._orders.first(ProviderSlow, provider=name)
        seconds = model.median_s * dice.lognormvariate(0, _SPREAD) * (slow.factor if slow else 1)
        failing = self._orders.first(ProviderFailing, provider=name)
        if dice.random() < (failing.share if failing else traffic.FAILURE):
            status = int(failing.status) if failing else 503
            return Called(status, min(seconds, 0.4), f"provider {name} answered {status}")
        if not self.accepts(name, key):
            return Called(401, 0.12, f"provider {name} answered 401: invalid API key")
        if seconds > TIMEOUT_S:
            return Called(504, TIMEOUT_S, f"provider {name} timed out after {TIMEOUT_S:.0f} s")
        if dice.random() < traffic.RETRY:
            return Called(200, seconds * 3, retried=True)
        return Called(200, seconds)

    def respond(self, provider: str, path: str, request: Request) -> Response:
        """The provider's own endpoints: `/v1/models` for whoever has a key, and its status."""
        if path == "/status" or path.startswith("/api/v2/"):
            return answer(200, self.status(provider))
        if path in ("/v1/models", "/v1beta/models"):
            return self._models(provider, request)
        return answer(404, {"error": {"message": f"no such path: {path}"}})

    def status(self, provider: str) -> dict[str, Any]:
        """The status page, in the form that many status pages have."""
        slow = self._orders.first(ProviderSlow, provider=provider)
        failing = self._orders.first(ProviderFailing, provider=provider)
        indicator, text = "none", "All Systems Operational"
        if slow and slow.factor >= _SLOW:
            indicator, text = "minor", "Elevated latency"
        if failing and failing.share:
            indicator, text = "major", "Elevated error rates"
        title = PROVIDERS[provider].title
        incidents = [] if indicator == "none" else [{"name": text, "impact": indicator}]
        return {
            "page": {"name": title},
            "status": {"indicator": indicator, "description": text},
            "incidents": incidents,
        }

    def _models(self, provider: str, request: Request) -> Response:
        sent = request.headers
        key = sent.get("authorization", "").removeprefix("Bearer ")
        key = key or sent.get("x-api-key") or sent.get("x-goog-api-key") or ""
        key = key or dict(request.pairs()).get("key", "")
        failing = self._orders.first(ProviderFailing, provider=provider)
        if failing and failing.share >= 1:
            return answer(int(failing.status), {"error": {"message": "The service is down."}})
        if not self.accepts(provider, key):
            error = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
            return answer(401, {"error": error})
        models = [{"id": one.name, "object": "model"} for one in MODELS if one.provider == provider]
        return answer(200, {"object": "list", "data": models})
