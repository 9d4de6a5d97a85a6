"""key-revoked: a provider does not accept the gateway's key any more.

Whoever is on call would make a new one in the provider's console. The sandbox has made it: it
stands in `new-key-PROVIDER` in the sandbox's folder, as a colleague would hand it over.
"""

from __future__ import annotations

import random
import secrets
from pathlib import Path

from runbook.errors import NotReachable
from studio_sandbox import box as sandbox
from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.providers import PROVIDERS
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio
from studio_sandbox.folder import write_private


def _draw(studio: Studio, dice: random.Random) -> Details:
    provider = dice.choice(sorted(PROVIDERS))
    return {"provider": provider, "secret": PROVIDERS[provider].secret}


def _start(studio: Studio, details: Details) -> None:
    provider = PROVIDERS[details["provider"]]
    key = f"{provider.keys_begin}{secrets.token_hex(20)}"
    write_private(_new_key(studio.box.folder, provider.name), f"{key}\n")
    studio.order("key-revoked", provider=details["provider"])


def _judge(studio: Studio, details: Details) -> list[str]:
    """The provider accepts the current key, and every task of the gateway began with it."""
    provider, secret = details["provider"], details["secret"]
    key = studio.secret(secret)
    status = studio.status(f"/{provider}/v1/models", headers={"Authorization": f"Bearer {key}"})
    findings = [] if status == 200 else [f"{provider} answers {status} to the current {secret}"]
    findings += services.with_earlier_value(studio, secret)
    return findings + services.wrong(studio, [names.GATEWAY])


def _clean_up(studio: Studio, details: Details) -> None:
    studio.take_back("key-revoked")
    _new_key(studio.box.folder, details["provider"]).unlink(missing_ok=True)


def _new_key(folder: Path, provider: str) -> Path:
    return folder / f"new-key-{provider}"


def _mend(run: RunSection) -> None:
    """The provider whose key is refused is the one that the section says so of."""
    found = sandbox.status()
    if found is None:
        raise NotReachable("No sandbox is running.")
    for name, provider in PROVIDERS.items():
        if run("rotate-api-key", secret=provider.secret)["result"]["accepted"] is False:
            file = str(_new_key(found.folder, name))
            plan_and_apply(run, "rotate-api-key", secret=provider.secret, value_from=file)


def _brings(studio: Studio, details: Details) -> dict[str, Details]:
    """A colleague has made a new key at the provider's, and hands it over in a file."""
    return {"rotate-api-key": {"value_from": str(_new_key(studio.box.folder, details["provider"]))}}


KEY_REVOKED = Drill(
    name="key-revoked",
    symptom="More than one in twenty requests for a model fails; the alarm on errors is raised.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    brings=_brings,
    needed=("secret {secret}: version",),
)
