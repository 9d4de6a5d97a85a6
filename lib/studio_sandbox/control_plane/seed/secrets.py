"""The seven critical secrets, each with the version before it."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import secretsmanager
from studio_sandbox.control_plane.moto_adapter.secretsmanager import Version
from studio_sandbox.control_plane.seed.world import World, digest, uuid

# Days since creation and since the last rotation; 90 days is when a rotation is due.
_AGES = {
    names.DATABASE_URL: (412, 61),
    names.REDIS_URL: (412, 61),
    names.JWT_SECRET: (412, 34),
    names.OPENAI_KEY: (398, 48),
    names.ANTHROPIC_KEY: (301, 27),
    names.GOOGLE_KEY: (377, 75),
    names.HYPERPAY_KEY: (405, 82),
}
_PURPOSE = {
    names.DATABASE_URL: "DSN of the Aurora cluster, as backend and worker use it",
    names.REDIS_URL: "URL of the Redis primary: usage counters, rate limits, Celery broker",
    names.JWT_SECRET: "Signs the sessions of all users",
    names.OPENAI_KEY: "Chat and image models of OpenAI",
    names.ANTHROPIC_KEY: "Chat models of Anthropic",
    names.GOOGLE_KEY: "Video models of Google",
    names.HYPERPAY_KEY: "Payments and the signature of their webhooks",
}


def seed(world: World) -> dict[str, str]:
    """Put all secrets; gives each one's ARN by its name."""
    return {name: _put(world, name) for name in names.SECRETS}


def _put(world: World, name: str) -> str:
    created, changed = (world.ago(days=days, hours=3) for days in _AGES[name])
    return secretsmanager.put(
        world.account,
        world.region,
        name,
        arn_suffix=base64.b32encode(bytes.fromhex(digest(name, 8))).decode()[:6],
        description=_PURPOSE[name],
        tags={"project": "ai-studio", "environment": "sandbox", "managed-by": "terraform"},
        versions=_versions(world, name, created, changed),
        accessed=world.ago(days=0),
        replica_region=world.config.backup_region,
    )


def _versions(world: World, name: str, created: datetime, changed: datetime) -> list[Version]:
    before = max(created, changed - timedelta(days=92))
    return [
        Version(uuid(f"{name}/previous"), _value(world, name, "previous"), "AWSPREVIOUS", before),
        Version(uuid(f"{name}/current"), _value(world, name, "current"), "AWSCURRENT", changed),
    ]


def _value(world: World, name: str, version: str) -> str:
    """A value in the shape of the real thing; it opens nothing, except the sandbox's servers."""
    hexadecimal = digest(f"{name}/{version}")
    letters = base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)).decode().rstrip("=")
    match name:
        case names.DATABASE_URL:
            return _plain_postgresql(world.config.database_url)
        case names.REDIS_URL:
            return world.config.redis_url
        case names.OPENAI_KEY:
            return f"sk-proj-{letters}"
        case names.ANTHROPIC_KEY:
            return f"sk-ant-api03-{letters}"
        case names.GOOGLE_KEY:
            return f"AIza{letters[:35]}"
        case names.HYPERPAY_KEY:
            return f"OGE4Mjk0MTc0{letters}"
    return hexadecimal


def _plain_postgresql(url: str) -> str:
    """`postgresql://`, whatever driver the URL names: psql and libpq read no other."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.split('+')[0]}://{rest}"
