"""Target tracking: how many tasks a service wants follows its CPU, within its range.

Out after three minutes over the target, in after fifteen well below it, as the alarms of a policy
have it; both, and the cooldowns between them, at the pace of the sandbox.
Source: https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

from __future__ import annotations

import math
from collections import defaultdict, deque

from studio_sandbox.control_plane import pace
from studio_sandbox.control_plane.moto_adapter import autoscaling, core, ecs_services
from studio_sandbox.control_plane.moto_adapter.autoscaling import Tracked
from studio_sandbox.control_plane.moto_adapter.ecs_services import LiveService

_OUT_AFTER_S, _IN_AFTER_S = 180, 900


class Scaling:
    """All services of one region that have a policy."""

    def __init__(self, account: str, region: str) -> None:
        self._account, self._region = account, region
        self.begin()

    def begin(self) -> None:
        """Start anew, with nothing measured yet."""
        self._cpu: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=60))
        self._moved: dict[str, float] = {}

    def step(self, now: float, cpu: dict[str, float]) -> bool:
        """Look at what has been measured; whether a service wants another count now."""
        with core.LOCK:
            services = {
                one.name: one for one in ecs_services.all_services(self._account, self._region)
            }
            moved = False
            for policy in autoscaling.tracked(self._account, self._region):
                if policy.service in services and policy.service in cpu:
                    self._cpu[policy.service].append((now, cpu[policy.service]))
                    moved |= self._track(services[policy.service], policy, now)
            return moved

    def _track(self, service: LiveService, policy: Tracked, now: float) -> bool:
        if len(service.tasks()) != service.desired or service.rollout.moving:
            return False  # what was wanted last is not there yet: it is not measured either
        wanted = self._wanted(service, policy, now)
        since_s = now - self._moved.get(service.name, -math.inf)
        out = wanted > service.desired
        cooldown_s = policy.out_cooldown_s if out else policy.in_cooldown_s
        if wanted == service.desired or since_s < pace.seconds(cooldown_s):
            return False
        self._moved[service.name] = now
        self._cpu[service.name].clear()
        autoscaling.record(self._account, self._region, policy, wanted, out=out)
        service.scale(wanted)
        return True

    def _wanted(self, service: LiveService, policy: Tracked, now: float) -> int:
        """As many tasks as would bring the CPU to the target."""
        desired = service.desired
        high = self._measured(policy.service, now, _OUT_AFTER_S)
        if high and policy.may_scale_out and min(high) > policy.target:
            wanted = math.ceil(desired * sum(high) / len(high) / policy.target)
            return max(min(max(wanted, policy.minimum), policy.maximum), desired)
        low = self._measured(policy.service, now, _IN_AFTER_S)
        if low and policy.may_scale_in and max(low) < policy.target * autoscaling.SCALE_IN_MARGIN:
            wanted = math.ceil(desired * max(low) / policy.target)
            return min(max(wanted, policy.minimum), policy.maximum, desired)
        return desired

    def _measured(self, service: str, now: float, on_aws_s: float) -> list[float]:
        """What was measured in so many seconds of AWS's, if it was measured for so long."""
        since = now - pace.seconds(on_aws_s)
        found = self._cpu[service]
        if not found or found[0][0] > since:
            return []
        return [value for moment, value in found if moment >= since]
