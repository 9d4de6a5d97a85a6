"""Too much is asked for: by everybody, or by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from runbook.procedure.assess.seen import Load, Seen
from runbook.procedure.assess.suspect import FAIR, HINT, PROOF, STRONG, Evidence, Step, Suspect
from runbook.studio import metrics

_AIM_PERCENT = 60  # of CPU, for the number of tasks that is proposed
_AT_LEAST_TIMES = (
    2.0  # of the tasks there are: CPU that is at its end does not say how much is missing
)
_FULL = 97.0
_NOW = timedelta(seconds=90)  # the minute that is under way, and the one before it


def saturated(seen: Seen) -> Iterator[Suspect]:
    """A service's CPU is at its end, and so is the range that it scales in."""
    for load in seen.loads or ():
        cpu = metrics.mean(metrics.since(load.cpu, seen.now - _NOW))
        if cpu is None or cpu < seen.environment.slowness.busy_percent:
            continue
        running, desired = _tasks(seen, load.service)
        evidence = [Evidence(f"{load.service} uses {cpu:.0f} % of the CPU of its tasks", STRONG)]
        ends = load.most is not None and desired >= load.most
        if ends:
            says = f"its scaling range ends at {load.most}, and that many are desired"
            evidence.append(Evidence(says, STRONG))
        slow = [one for one in seen.latency or () if one.slow(seen.environment.slowness)]
        evidence += [
            Evidence(
                f"{one.service} {one.path} takes {one.times:.0f} times as long as before", HINT
            )
            for one in slow[:1]
        ]
        yield Suspect(
            f"{load.service} has too few tasks for what is asked",
            load.service,
            tuple(evidence),
            confirm=Step("high-latency"),
            mend=_scale(load, cpu=cpu, tasks=max(running, desired), move=ends),
            remedy="scale",
        )


def one_user(seen: Seen) -> Iterator[Suspect]:
    """One user causes most of what a service is asked."""
    limits = seen.environment
    for share in seen.shares or ():
        enough = share.of >= limits.slowness.least_requests * 4
        if not enough or share.percent < limits.logs.user_percent:
            continue
        others = [one for one in seen.shares or () if one.service == share.service]
        second = next((one.percent for one in others if one.user != share.user), 0.0)
        evidence = [
            Evidence(
                f"user {share.user} causes {share.percent:.0f} % of {share.service}'s requests "
                f"of the last {limits.slowness.lately_minutes} minutes",
                PROOF if share.percent >= 2 * limits.logs.user_percent else STRONG,
            ),
            Evidence(f"the next one causes {second:.0f} %", FAIR),
        ]
        yield Suspect(
            f"one user floods the {share.service}",
            share.user,
            tuple(evidence),
            confirm=Step("search-logs", {"services": share.service, "minutes": 10}),
            mend=Step("throttle-user", {"user": share.user}),
        )


def _tasks(seen: Seen, service: str) -> tuple[int, int]:
    found = next((one for one in seen.services or () if one.name == service), None)
    return (found.running_count, found.desired_count) if found else (0, 0)


def _scale(load: Load, *, cpu: float, tasks: int, move: bool) -> Step:
    """As many tasks as bring the CPU to its aim; at its end nobody knows how much is missing."""
    times = max(cpu / _AIM_PERCENT, _AT_LEAST_TIMES if cpu >= _FULL else 0)
    wanted = max(tasks + 1, math.ceil(tasks * times))
    beyond = move or (load.most is not None and wanted > load.most)
    parameters = {"service": load.service, "desired_count": wanted}
    return Step("scale-service", parameters | ({"move_range": True} if beyond else {}))


RULES = (saturated, one_user)
