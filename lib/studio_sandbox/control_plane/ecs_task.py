"""One task, one step at a time: it starts or fails to, is checked, drains and stops.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from studio_sandbox.control_plane import one_off, pace, task_start
from studio_sandbox.control_plane.behaviours import Behaviour, Behaviours
from studio_sandbox.control_plane.moto_adapter import elbv2
from studio_sandbox.control_plane.moto_adapter.ecs_services import LiveService
from studio_sandbox.control_plane.moto_adapter.ecs_tasks import LiveTask, Target
from studio_sandbox.control_plane.seed import releases
from studio_sandbox.control_plane.vitals import Vitals

# Seconds that Fargate takes for each status.
_PROVISIONING_S, _PENDING_S, _ACTIVATING_S = 10, 30, 10
_STOPPING_S, _DEPROVISIONING_S = 2, 10


class Life:
    """What happens to tasks of one region in one tick."""

    def __init__(
        self, account: str, region: str, behaviours: Behaviours, vitals: Vitals, now: float
    ) -> None:
        self._account, self._region = account, region
        self._behaviours, self._vitals, self._now = behaviours, vitals, now

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

    def _ordered_or_found(self, kind: str, task: LiveTask) -> Behaviour | None:
        """How a task fails: as a drill has ordered it, or as it was found to."""
        ordered = self._behaviours.of(kind, task.revision_name, task.image)
        return ordered or self._vitals.of(kind, task.id)

    def _due(self, task: LiveTask, on_aws_s: float) -> bool:
        return task.in_status_s(self._now) >= pace.seconds(on_aws_s)

    def _start(self, task: LiveTask, service: LiveService | None, targets: list[Target]) -> None:
        if task.status == "PROVISIONING" and self._due(task, _PROVISIONING_S):
            task.pull()
            task.life.environment = task_start.environment(self._account, task.revision)
            task.move("PENDING", self._now)
        elif task.status == "PENDING" and self._due(task, _PENDING_S):
            if not (service and self._vitals.unknown(task.id)):  # nobody asks a task of its own
                self._activate(task, service, targets)
        elif task.status == "ACTIVATING" and self._due(task, _ACTIVATING_S):
            task.run(self._now)
            if service:
                task.say(_line("INFO", "started"))
            if service and not targets:
                service.succeeded(task)

    def _activate(self, task: LiveTask, service: LiveService | None, targets: list[Target]) -> None:
        if reason := task_start.why_not(self._account, task.id, task.revision):
            task.fail(self._now, reason=reason)
        elif crash := self._ordered_or_found("crash", task):
            for line in crash.log or [_line("ERROR", "startup failed, exiting")]:
                task.say(line)
            task.exit(self._now, crash.exit_code)
        elif reason := self._not_there(task, service):
            task.fail_to_start(self._now, reason=reason, exit_code=one_off.NOT_FOUND)
        else:
            task.activate(targets, self._now)
            if service:
                for target in targets:
                    service.event(f"registered 1 targets in (target-group {target.group})")
            return
        if service:
            service.failed(task, self._now)

    def _not_there(self, task: LiveTask, service: LiveService | None) -> str:
        """Why a task of its own cannot start its command; what services run is there."""
        return "" if service else one_off.why_not_started(task.command, task.image)

    def _check(self, task: LiveTask, service: LiveService, targets: list[Target]) -> bool:
        """Health checks of a running task; whether its health is still open."""
        if not targets:
            return False
        if self._vitals.unknown(task.id):
            return True
        sick = self._ordered_or_found("unhealthy", task)
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
        """Run the command of a task of its own, in the background, and end with it."""
        if task.life.run is None:
            task.life.run = one_off.OneOff(
                task.command,
                image=task.image,
                release=releases.number(task.image.rpartition(":")[2]),
                environment=(task.life.environment or {}) | task.own_environment,
                say=task.say,
            )
        elif task.life.run.exit_code is not None:
            task.exit(self._now, task.life.run.exit_code)

    def _stop(self, task: LiveTask, targets: list[Target]) -> None:
        if task.life.run:
            task.life.run.stop()
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
