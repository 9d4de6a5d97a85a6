"""ECS services in memory, in boto3's words, for waits and answers that a test has to time.

Deployments move on only when a test says so. It counts what it is told to change.
"""

from __future__ import annotations

from typing import Any

ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/"


class ServicesInMemory:
    """One cluster with one service, on revision 46, in a steady state."""

    def __init__(self, service: str = "web", desired_count: int = 3) -> None:
        self.calls = 0
        self._number = 0
        self.service: dict[str, Any] = {
            "serviceName": service,
            "status": "ACTIVE",
            "taskDefinition": f"{ARN}{service}:46",
            "desiredCount": desired_count,
            "runningCount": desired_count,
            "pendingCount": 0,
            "deployments": [],
            "events": [{"message": f"(service {service}) has reached a steady state."}],
        }
        self.deploy()
        self.roll("COMPLETED")

    @property
    def primary(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service["deployments"][0]
        return found

    def describe_services(self, *, cluster: str, services: list[str]) -> dict[str, Any]:
        known = services == [self.service["serviceName"]]
        return {"services": [self.service] if known else [], "failures": []}

    def update_service(self, **wanted: Any) -> dict[str, Any]:
        self.calls += 1
        self.service["desiredCount"] = wanted.get("desiredCount", self.service["desiredCount"])
        if "taskDefinition" in wanted:
            self.service["taskDefinition"] = ARN + wanted["taskDefinition"]
        if "taskDefinition" in wanted or wanted.get("forceNewDeployment"):
            self.deploy()
        return {"service": self.service}

    def deploy(self) -> None:
        """A new deployment, on its way; the one before it drains."""
        self._number += 1
        deployment = {
            "id": f"ecs-svc/{self._number:019}",
            "status": "PRIMARY",
            "taskDefinition": self.service["taskDefinition"],
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": "ECS deployment in progress.",
            "desiredCount": self.service["desiredCount"],
            "runningCount": 0,
        }
        drained = [{**one, "status": "ACTIVE"} for one in self.service["deployments"]]
        self.service["deployments"] = [deployment, *drained]

    def roll(self, state: str, reason: str = "") -> None:
        """The deployment is in that state; once COMPLETED, the others are gone."""
        self.primary.update(rolloutState=state, rolloutStateReason=reason)
        if state == "COMPLETED":
            self.primary["runningCount"] = self.service["desiredCount"]
            self.service["deployments"] = [self.primary]

    def roll_back(self) -> None:
        """The circuit breaker gives the deployment up and deploys the revision before it."""
        failed = self.primary
        failed.update(rolloutState="FAILED", rolloutStateReason="tasks failed to start.")
        self.service["taskDefinition"] = self.service["deployments"][1]["taskDefinition"]
        self.deploy()
        self.roll("IN_PROGRESS", f"rolling back to {self.service['taskDefinition']}.")
        self.service["events"].insert(0, {"message": "rolled back by the circuit breaker."})
