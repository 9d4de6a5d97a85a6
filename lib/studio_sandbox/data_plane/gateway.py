"""The gateway: who may ask, how often, which provider answers, what it cost."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.picture import Replica
from studio_sandbox.data_plane.providers import MODELS, PROVIDERS, Called, Model, Providers
from studio_sandbox.data_plane.served import Call, Served, user_of
from studio_sandbox.data_plane.stores import Stores
from studio_sandbox.data_plane.usage import Used

_FAMILIES = {"/v1/chat": "chat", "/v1/image": "image", "/v1/video": "video"}
_KINDS = {"chat": "tokens", "image": "images", "video": "video"}
_REFUSED_S = 0.004


def family_of(path: str) -> str:
    """What a path asks for: chat, image, video, or nothing."""
    found = (family for begin, family in _FAMILIES.items() if path.startswith(begin))
    return next(found, "")


class Gateway:
    """What a task of the gateway does with a request for a model."""

    def __init__(self, stores: Stores, providers: Providers, dice: random.Random) -> None:
        self._stores, self._providers, self._dice = stores, providers, dice

    def serve(self, task: Replica, request: Request, path: str) -> Served:
        """Answer a request. A body may name a `provider`; else the task's settings decide."""
        family, user = family_of(path), user_of(request)
        if not user:
            return Served(request, answer(401, {"detail": "Not authenticated"}), task, logged=True)
        model = self._model(task, family, str(request.data().get("provider") or ""))
        about = {"model": model.name}
        import redis

        try:
            refused = self._refusal(task, user, family)
        except (redis.RedisError, ValueError) as error:
            served = Served(request, _error(500), task, _REFUSED_S, True, about)
            served.note("ERROR", f"redis unreachable: {error}")
            return served
        if refused:
            return Served(request, refused, task, _REFUSED_S, True, about)
        return self._call(task, request, model, path)

    def _refusal(self, task: Replica, user: str, family: str) -> Response | None:
        """403 for who is blocked, 429 for who asks too often; both are the keys in Redis."""
        limit = int(task.environment.get("RATE_LIMIT_REQUESTS", "60"))
        seconds = int(task.environment.get("RATE_LIMIT_SECONDS", "60"))
        bucket = f"ratelimit:{user}:{family}"
        pipe = self._stores.redis(task.environment.get(names.REDIS_URL, "")).pipeline()
        pipe.exists(f"ratelimit:block:{user}")
        pipe.incr(bucket)
        pipe.expire(bucket, seconds, nx=True)
        pipe.ttl(bucket)
        blocked, asked, _, left = pipe.execute()
        if blocked:
            return answer(403, {"detail": "This account is blocked."})
        if asked > limit:
            return answer(429, {"detail": "Too many requests."}, Retry_After=str(max(1, left)))
        return None

    def _model(self, task: Replica, family: str, wanted: str) -> Model:
        name = wanted or task.environment.get(f"PROVIDER_{family.upper()}", "openai")
        found = [one for one in MODELS if (one.provider, one.family) == (name, family)]
        if not found:
            raise ValueError(f"{name!r} has no model for {family}")
        return self._dice.choices(found, [one.share for one in found])[0]

    def _call(self, task: Replica, request: Request, model: Model, path: str) -> Served:
        key = task.environment.get(PROVIDERS[model.provider].secret, "")
        called = self._providers.call(model, key, self._dice)
        failed = called.status != 200
        about = {"model": model.name}
        served = Served(request, _error(502), task, called.seconds, True, about)
        served.call = Call(model.provider, failed, called.seconds)
        if failed:
            served.note("ERROR", called.error, provider=model.provider, model=model.name)
            return served
        self._succeed(served, called, model, path)
        return served

    def _succeed(self, served: Served, called: Called, model: Model, path: str) -> None:
        amount = int(model.tokens * self._dice.uniform(0.4, 1.7)) or 1
        user, kind = user_of(served.request), _KINDS[model.family]
        served.used = Used(user, kind, amount, model.name, f"/gateway{path}")
        served.response = answer(
            200, {"model": model.name, "provider": model.provider, "usage": {kind: amount}}
        )
        if called.retried:
            message = f"provider {model.provider} timed out, retried once"
            served.note("WARN", message, provider=model.provider, model=model.name)


def _error(status: int) -> Response:
    return answer(status, {"detail": "Internal Server Error" if status == 500 else "Bad Gateway"})
