"""capacity-short: a service's CPU is saturated, and its scaling range ends where it is."""

from __future__ import annotations

import math
import random
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_TARGET_PERCENT = 70  # of the services' policies
_LOOKS = 40  # a few seconds apart
_ASKED = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}


def _draw(studio: Studio, dice: random.Random) -> Details:
    service = dice.choice((names.FRONTEND, names.BACKEND, names.GATEWAY))
    facts = SERVICE_FACTS[service]
    wanted_percent = dice.randint(135, 190)  # of the CPU of the tasks that there are
    return {
        "service": service,
        "factor": round(wanted_percent / facts.cpu_percent, 2),
        "needed": math.ceil(facts.desired * wanted_percent / _TARGET_PERCENT),
    }


def _start(studio: Studio, details: Details) -> None:
    service = details["service"]
    desired = SERVICE_FACTS[service].desired
    found = _range(studio, service)
    details["range"] = [found["MinCapacity"], found["MaxCapacity"]]
    details["desired"] = services.described(studio)[service]["desiredCount"]
    _set_range(studio, service, min(found["MinCapacity"], desired), desired)
    services.deploy(studio, service, desiredCount=desired)
    studio.order("cpu-load", service=service, factor=details["factor"])
    services.until_well(studio, [service])


def _range(studio: Studio, service: str) -> dict[str, Any]:
    resource = f"service/{names.CLUSTER}/{service}"
    scaling = studio.aws("application-autoscaling")
    found = scaling.describe_scalable_targets(ResourceIds=[resource], **_ASKED)
    return dict(found["ScalableTargets"][0])


def _set_range(studio: Studio, service: str, least: int, most: int) -> None:
    studio.pipeline("application-autoscaling", session="Terraform").register_scalable_target(
        ResourceId=f"service/{names.CLUSTER}/{service}",
        MinCapacity=least,
        MaxCapacity=most,
        **_ASKED,
    )


def _judge(studio: Studio, details: Details) -> list[str]:
    """As many tasks run as bring the CPU to its target, and scaling lets them stay."""
    service, needed = details["service"], details["needed"]
    running = services.described(studio)[service]["runningCount"]
    most = _range(studio, service)["MaxCapacity"]
    findings = services.wrong(studio, [service])
    if running < needed:
        findings.append(f"{service}: {running} tasks run; at this load it takes {needed}")
    if most < running or most < needed:
        findings.append(f"{service}: its scaling range ends at {most}, under what is needed")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    studio.take_back("cpu-load")
    service = details["service"]
    if "range" in details:
        _set_range(studio, service, *details["range"])
        services.deploy(studio, service, desiredCount=details["desired"])
    services.until_well(studio, [service])


def _mend(run: RunSection) -> None:
    """Look until a service is held back by its range: its metric is an average of a minute."""
    for _ in range(_LOOKS):
        if run("adjust-autoscaling").get("plan"):
            plan_and_apply(run, "adjust-autoscaling")
            return


CAPACITY_SHORT = Drill(
    name="capacity-short",
    symptom="Everything is slow since the campaign began, though nothing is down.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("service {service}: desired count", "scaling {service}: *"),
)
