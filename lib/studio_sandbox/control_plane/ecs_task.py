"""One task, one step at a time: it starts or fails to, is checked, drains and stops.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from studio_sandbox.control_plane import pace, task_start
from studio_sandbox.control_plane.behaviours import Behaviours
from studio_sandbox.control_plane.moto_adapter import elbv2
from studio_sandbox.control_plane.moto_adapter.ecs_services import LiveService
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import LiveTask, Target

# Seconds that Fargate takes for each status.
_PROVISIONING_S, _PENDING_S, _ACTIVATING_S = 10, 30, 10
_STOPPING_S, _DEPROVISIONING_S = 2, 10
_ONE_OFF_S = 20  # how long a task of its own runs


class Life:
    """What happens to tasks of one region in one tick."""

    def __init__(self, account: str, region: str, behaviours: Behaviours, now: float) -> None:
        self._account, self._region = account, region
        self._behaviours, self._now = behaviours, now

    def step(self, task: LiveTask, service: LiveService | None) -> bool:
        """Move a task on when its time has come; whether it has anything before it."""
        targets = service.targets if service else []
        match task.status:
            case "STOPPED":
                return False
            case "RUNNING" if task.wanted and service:
                return self._check(task, service, targets)
            case "RUNNING" if task.wanted:
                self._run_once(task)
            case "PROVISIONING" | "PENDING" | "ACTIVATING" if task.wanted:
                self._start(task, service, targets)
            case _:
                self._stop(task, targets)
        return True

    def _due(self, task: LiveTask, on_aws_s: float) -> bool:
        return task.in_status_s(self._now) >= pace.seconds(on_aws_s)

    def _start(self, task: LiveTask, service: LiveService | None, targets: list[Target]) -> None:
        if task.status == "PROVISIONING" and self._due(task, _PROVISIONING_S):
            task.pull()
            task.move("PENDING", self._now)
        elif task.status == "PENDING" and self._due(task, _PENDING_S):
            self._activate(task, service, targets)
        elif task.status == "ACTIVATING" and self._due(task, _ACTIVATING_S):
            task.run(self._now)
            task.say(_line("INFO", "started"))
            if service and not targets:
                service.succeeded(task)

    def _activate(self, task: LiveTask, service: LiveService | None, targets: list[Target]) -> None:
        if reason := task_start.why_not(self._account, task.id, task.revision):
            task.fail(self._now, reason=reason)
        elif crash := self._behaviours.of("crash", task.revision_name, task.image):
            for line in crash.log or [_line("ERROR", "startup failed, exiting")]:
                task.say(line)
            task.exit(self._now, crash.exit_code)
        else:
            task.activate(targets, self._now)
            if service:
                for target in targets:
                    service.event(f"registered 1 targets in (target-group {target.group})")
            return
        if service:
            service.failed(task, self._now)

    def _check(self, task: LiveTask, service: LiveService, targets: list[Target]) -> bool:
        """Health checks of a running task; whether its health is still open."""
        if not targets:
            return False
        sick = self._behaviours.of("unhealthy", task.revision_name, task.image)
        if task.life.answers_well is not (sick is None):
            task.life.answers_well, task.life.answers_since = sick is None, self._now
        checks = elbv2.checks(self._account, self._region, targets[0].group)
        passed = self._now - task.life.answers_since
        if sick is None:
            if task.life.health != "healthy" and passed >= pace.seconds(checks.interval_s):
                task.check(targets, "healthy")
                service.succeeded(task)
            return task.life.health != "healthy"
        if passed >= pace.seconds(checks.interval_s * checks.unhealthy_after):
            self._unhealthy(task, service, targets, str(sick.status), sick.log)
        return True

    def _unhealthy(
        self,
        task: LiveTask,
        service: LiveService,
        targets: list[Target],
        codes: str,
        log: list[str],
    ) -> None:
        """Its target is unhealthy; once its grace period is over, it is stopped."""
        if task.life.health != "unhealthy":
            task.check(targets, "unhealthy", codes)
            for line in log or [_line("ERROR", f"GET /v1/health answered {codes}")]:
                task.say(line)
        if self._now - task.life.started < pace.seconds(service.grace_s):
            return
        group = targets[0].group
        service.event(
            f"(task {task.id}) (port {targets[0].port}) is unhealthy in (target-group {group}) "
            f"due to (reason Health checks failed with these codes: [{codes}])."
        )
        task.stop(
            self._now,
            reason=f"Task failed ELB health checks in (target-group {group})",
            code="ServiceSchedulerInitiated",
        )
        service.failed(task, self._now)

    def _run_once(self, task: LiveTask) -> None:
        if self._due(task, _ONE_OFF_S):
            task.exit(self._now, 0)

    def _stop(self, task: LiveTask, targets: list[Target]) -> None:
        if task.status in ("PROVISIONING", "PENDING"):
            task.move("DEPROVISIONING", self._now)
        elif task.status == "DEACTIVATING":
            task.drain(targets)
            if self._due(task, self._drain_s(targets)):
                task.leave(targets, self._now)
        elif task.status == "STOPPING" and self._due(task, _STOPPING_S):
            task.release(self._now)
        elif task.status == "DEPROVISIONING" and self._due(task, _DEPROVISIONING_S):
            task.stopped(self._now)

    def _drain_s(self, targets: list[Target]) -> float:
        found = (elbv2.checks(self._account, self._region, one.group) for one in targets)
        return max((one.drain_s for one in found), default=0)


def _line(level: str, message: str) -> str:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry = {"timestamp": moment, "level": level, "message": message}
    return json.dumps(entry | {"trace_id": None, "user_id": None})
