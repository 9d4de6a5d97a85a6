"""secret-denied: a new revision names a secret that its execution role may not read."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.drills import services, wont_start
from studio_sandbox.drills.drill import Details, Drill
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    service = dice.choice((names.BACKEND, names.GATEWAY, names.WORKER))
    unread = [name for name in names.SECRETS if name not in SERVICE_FACTS[service].secrets]
    return {
        "service": service,
        "secret": dice.choice(unread),
        "sha": f"{dice.getrandbits(160):040x}",
    }


def _start(studio: Studio, details: Details) -> None:
    services.new_image(studio, details["service"], details["sha"])
    named = studio.aws("secretsmanager").describe_secret(SecretId=details["secret"])
    more = [{"name": details["secret"], "valueFrom": named["ARN"]}]
    wont_start.deploy(studio, details, secrets=more)


SECRET_DENIED = Drill(
    name="secret-denied",
    symptom="A service is down since its last deployment, and nothing of it is in its log.",
    draw=_draw,
    start=_start,
    judge=wont_start.judge,
    clean_up=wont_start.clean_up,
    mend=wont_start.mend,
    needed=("service {service}: *", "role {service}-execution: *"),
)
