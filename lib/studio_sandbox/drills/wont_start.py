"""What secret-denied and image-missing share: a careless deployment of tasks that cannot start."""

from __future__ import annotations

from typing import Any

from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio


def deploy(studio: Studio, details: Details, *, secrets: list[dict[str, str]]) -> None:
    """Deploy a new SHA with further secrets, so that the old tasks are gone when it fails."""
    service, sha = details["service"], details["sha"]
    found = services.described(studio)[service]
    details["before"] = {service: found["taskDefinition"]}
    details["limits"] = _limits(found)
    container = services.revision(studio, found["taskDefinition"])["containerDefinitions"][0]
    wanted = [*container.get("secrets", []), *secrets]
    made = services.revise(studio, service, found["taskDefinition"], sha=sha, secrets=wanted)
    details["brought"] = [made]
    services.deploy(studio, service, taskDefinition=made, deploymentConfiguration=services.CARELESS)
    studio.until(lambda: _is_down(studio, service, made), f"{service} is down")


def _limits(service: dict[str, Any]) -> dict[str, Any]:
    found = service["deploymentConfiguration"]
    known = ("minimumHealthyPercent", "maximumPercent", "deploymentCircuitBreaker")
    return {key: found[key] for key in known}


def _is_down(studio: Studio, service: str, revision: str) -> bool:
    failed = [
        task
        for task in services.tasks(studio, service, "STOPPED")
        if task["taskDefinitionArn"] == revision and task["lastStatus"] == "STOPPED"
    ]
    running = services.described(studio)[service]["runningCount"]
    return bool(failed) and running == 0


def judge(studio: Studio, details: Details) -> list[str]:
    """The service runs as it should, whatever revision it is."""
    return services.wrong(studio, [details["service"]])


def mend(run: RunSection) -> None:
    """Back to a revision that starts, through the section."""
    plan_and_apply(run, "roll-back")


def clean_up(studio: Studio, details: Details) -> None:
    """The service is careful again, and on a revision that starts."""
    if limits := details.get("limits"):
        services.deploy(studio, details["service"], deploymentConfiguration=limits)
    services.put_back(studio, details)
