"""slow-provider: the provider that the gateway prefers for some models answers slowly."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_SETTINGS = ("PROVIDER_CHAT", "PROVIDER_IMAGE", "PROVIDER_VIDEO")


def _draw(studio: Studio, dice: random.Random) -> Details:
    preferred = {SERVICE_FACTS[names.GATEWAY].environment[one] for one in _SETTINGS}
    return {"provider": dice.choice(sorted(preferred)), "factor": dice.randint(8, 25)}


def _start(studio: Studio, details: Details) -> None:
    studio.order("provider-slow", provider=details["provider"], factor=details["factor"])


def _judge(studio: Studio, details: Details) -> list[str]:
    """The gateway, all of its tasks, prefers other providers for every family of models."""
    running = services.described(studio)[names.GATEWAY]["taskDefinition"]
    found = services.settings(studio, running)
    slow = details["provider"]
    kept = [one for one in _SETTINGS if found.get(one) == slow]
    findings = [f"{names.GATEWAY}: {one} is still {slow}, which is slow" for one in kept]
    return findings + services.wrong(studio, [names.GATEWAY])


def _clean_up(studio: Studio, details: Details) -> None:
    studio.take_back("provider-slow")


def _mend(run: RunSection) -> None:
    """Away from whoever the section finds in trouble."""
    for provider in run("switch-provider")["result"]["to_leave"]:
        plan_and_apply(run, "switch-provider", away_from=provider)


SLOW_PROVIDER = Drill(
    name="slow-provider",
    symptom="Customers wait for half a minute and longer, and then get what they asked for.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    # requests that take long pile up: auto scaling may answer by itself
    needed=("service ai-studio-gateway: revision", "service ai-studio-gateway: desired count"),
)
