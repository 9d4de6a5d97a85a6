"""bad-deploy: one service's new image crashes and is rolled back; the others stay on the new."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_ERRORS = (
    "ImportError: cannot import name 'TenantScope' from 'app.core.scopes'",
    "pydantic.ValidationError: 1 validation error for Settings: QUOTA_WINDOW field required",
    "RuntimeError: schema is at revision 8f2c41d7a9be, expected b1d90c37e2aa",
)


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "service": dice.choice(names.SERVICES),
        "sha": f"{dice.getrandbits(160):040x}",
        "error": dice.choice(_ERRORS),
    }


def _start(studio: Studio, details: Details) -> None:
    sha, crashing = details["sha"], details["service"]
    known = services.described(studio)
    details["before"] = {name: one["taskDefinition"] for name, one in known.items()}
    details["brought"] = []
    studio.behave("crash", service=crashing, tag=sha, log=[details["error"]])
    for name, running in details["before"].items():
        services.new_image(studio, name, sha)
        made = services.revise(studio, name, running, sha=sha)
        details["brought"].append(made)
        services.deploy(studio, name, taskDefinition=made)
    studio.until(lambda: _half_done(studio, details), "one service is rolled back, the others not")


def _half_done(studio: Studio, details: Details) -> bool:
    known = services.described(studio)
    crashing = known[details["service"]]
    back = crashing["taskDefinition"] == details["before"][details["service"]]
    return back and not services.wrong(studio)


def _judge(studio: Studio, details: Details) -> list[str]:
    """All four services run one git SHA, healthy."""
    known = services.described(studio)
    tags = {name: services.image_tag(studio, one["taskDefinition"]) for name, one in known.items()}
    findings = services.wrong(studio)
    if len(set(tags.values())) > 1:
        told = ", ".join(f"{name} {tag[:7]}" for name, tag in tags.items())
        findings.append(f"the services run different commits: {told}")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    studio.behave_well(details["sha"])
    services.put_back(studio, details)


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "roll-back")


BAD_DEPLOY = Drill(
    name="bad-deploy",
    symptom="The release channel says 'deploy failed', and customers see half of a new feature.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("service *: revision",),
)
