"""sick-deploy: a new image of one service starts and passes its checks, and answers 500."""

from __future__ import annotations

import random

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_HOSTS = {
    names.FRONTEND: names.APP_HOST,
    names.BACKEND: names.API_HOST,
    names.GATEWAY: names.GATEWAY_HOST,
}
_ASKED = 40  # of which the smallest share would let all pass once in a hundred million times


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "service": dice.choice(sorted(_HOSTS)),
        "sha": f"{dice.getrandbits(160):040x}",
        "share": dice.choice((0.4, 0.6, 0.9)),
    }


def _start(studio: Studio, details: Details) -> None:
    service, sha = details["service"], details["sha"]
    running = services.described(studio)[service]["taskDefinition"]
    details["before"] = {service: running}
    services.new_image(studio, service, sha)
    studio.order("task-fault", service=service, share=details["share"], image=sha)
    details["brought"] = [services.revise(studio, service, running, sha=sha)]
    services.deploy(studio, service, taskDefinition=details["brought"][0])
    services.until_well(studio, [service])


def _judge(studio: Studio, details: Details) -> list[str]:
    """The service is healthy, and answers without errors."""
    service = details["service"]
    answers = [studio.status("/docs", host=_HOSTS[service]) for _ in range(_ASKED)]
    failed = [status for status in answers if status >= 500]
    findings = services.wrong(studio, [service])
    if failed:
        findings.append(f"{service}: {len(failed)} of {_ASKED} requests are answered {failed[0]}")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    services.put_back(studio, details)
    studio.take_back("task-fault")


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "roll-back")


SICK_DEPLOY = Drill(
    name="sick-deploy",
    symptom="The 5xx alarm is raised; customers see an error page now and then.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("service {service}: revision",),
)
