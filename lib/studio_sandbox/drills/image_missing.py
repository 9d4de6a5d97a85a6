"""image-missing: a new revision's image is not in ECR any more."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services, wont_start
from studio_sandbox.drills.drill import Details, Drill
from studio_sandbox.drills.studio import Studio


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "service": dice.choice(names.SERVICES),
        "sha": f"{dice.getrandbits(160):040x}",
    }


def _start(studio: Studio, details: Details) -> None:
    service, sha = details["service"], details["sha"]
    services.new_image(studio, service, sha)
    services.remove_image(studio, service, sha)
    wont_start.deploy(studio, details, secrets=[])


IMAGE_MISSING = Drill(
    name="image-missing",
    symptom="A service is down since its last deployment; no task of it comes up.",
    draw=_draw,
    start=_start,
    judge=wont_start.judge,
    clean_up=wont_start.clean_up,
    mend=wont_start.mend,
    needed=("service {service}: *",),
)
