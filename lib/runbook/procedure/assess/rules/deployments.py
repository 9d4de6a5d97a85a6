"""What a deployment brought: a revision that does not start, half of a release, errors since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from runbook.procedure.assess.seen import Seen
from runbook.procedure.assess.suspect import FAIR, HINT, STRONG, Evidence, Step, Suspect
from runbook.studio import metrics, wont_start
from runbook.studio.ecs import Service

_OF_THE_REVISION = (
    wont_start.SECRET_DENIED,
    wont_start.SECRET_MISSING,
    wont_start.IMAGE,
    wont_start.MEMORY,
    wont_start.CRASH,
)
_CHECK = "service-wont-start"


def does_not_start(seen: Seen) -> Iterator[Suspect]:
    """A service is short of tasks, and those of the revision that it wants fail by themselves."""
    if seen.wont_start is None:
        return
    for service in seen.wont_start.services:
        if service.running_count >= service.desired_count:
            continue
        wanted = service.task_definition
        failures = [
            one
            for one in seen.wont_start.failures
            if one.revision == wanted and one.cause in _OF_THE_REVISION
        ]
        faults = seen.wont_start.faults.get(wanted, ())
        if not failures and not faults:
            continue
        short = f"{service.name} runs {service.running_count} of {service.desired_count} tasks"
        evidence = [Evidence(short, FAIR)]
        evidence += [Evidence(f"tasks of {wanted} fail: {one.cause}", STRONG) for one in failures]
        evidence += [Evidence(one.proof, STRONG) for one in failures if one.proof]
        if not any(one.proof for one in failures):  # which would say the same again
            evidence += [Evidence(f"{wanted}: {fault}", STRONG) for fault in faults]
        evidence += [Evidence(line, HINT) for one in failures for line in one.lines[:1]]
        evidence += list(_deployed(seen, service))
        cause = failures[0].cause if failures else faults[0]
        yield _roll_back(seen, f"{wanted} does not start: {cause}", [service.name], evidence)


def half_released(seen: Seen) -> Iterator[Suspect]:
    """Services run different commits: a part of a release went out, or one service alone."""
    if not seen.commits or not seen.services or len(set(seen.commits.values())) < 2:
        return
    newest = _newest_commit(seen)
    moved = [name for name, commit in seen.commits.items() if commit == newest]
    told = ", ".join(f"{name} {commit[:7]}" for name, commit in seen.commits.items())
    by_name = {one.name: one for one in seen.services}
    deployed = [each for name in moved for each in _deployed(seen, by_name[name])]
    strength = STRONG if deployed else HINT  # what has been so for days is no news
    evidence = [Evidence(f"services run different commits: {told}", strength), *deployed]
    if seen.wont_start:
        evidence += [
            Evidence(f"{one.revision} failed and was given up: {one.cause}", STRONG)
            for one in seen.wont_start.failures
            if not one.current and one.cause in _OF_THE_REVISION
        ]
    yield _roll_back(seen, f"only a part of {newest[:7]} went out", moved, evidence)


def errors_since(seen: Seen) -> Iterator[Suspect]:
    """A service answers 5xx since it was deployed, and did not before."""
    if seen.loads is None or seen.services is None:
        return
    limits, by_name = seen.environment.assess, {one.name: one for one in seen.services}
    for load in seen.loads:
        service = by_name.get(load.service)
        begun = _begun(seen, service) if service else None
        if service is None or begun is None:
            continue
        begun_minute = begun.replace(second=0, microsecond=0)
        failed = metrics.total(metrics.since(load.failed, begun_minute))
        asked = metrics.total(metrics.since(load.requests, begun_minute))
        earlier = metrics.total(metrics.until(load.failed, begun_minute))
        before = metrics.total(metrics.until(load.requests, begun_minute))
        percent = 100 * failed / asked if asked else 0.0
        percent_before = 100 * earlier / before if before else 0.0
        few = failed < limits.least_failed or percent < limits.failed_percent
        if few or percent_before >= limits.failed_percent:
            continue
        says = (
            f"{load.service} answers {percent:.0f} % of requests with 5xx since "
            f"{service.task_definition} was deployed, {percent_before:.1f} % before"
        )
        evidence = [Evidence(says, STRONG), *_deployed(seen, service)]
        evidence += [
            Evidence(f"{one.lately} times lately: {one.message}", HINT)
            for one in (seen.errors or ())[:1]
        ]
        cause = f"{service.task_definition} answers with errors"
        yield _roll_back(seen, cause, [load.service], evidence)


def _roll_back(seen: Seen, cause: str, services: list[str], evidence: list[Evidence]) -> Suspect:
    names = ",".join(sorted(services))
    one = services[0] if len(services) == 1 else ""
    return Suspect(
        cause,
        names,
        tuple(evidence),
        confirm=Step(_CHECK, {"service": one} if one else {}),
        mend=Step("roll-back", {"services": names}),
        remedy="rollback",
    )


def _newest_commit(seen: Seen) -> str:
    """The commit that was deployed last; of none that is known, the one that fewest run."""
    commits = seen.commits or {}
    begun = {one.name: _since(one) for one in seen.services or ()}
    known = {name: moment for name, moment in begun.items() if moment and name in commits}
    if known:
        return commits[max(known, key=lambda name: known[name])]
    return min(Counter(commits.values()).items(), key=lambda pair: pair[1])[0]


def _since(service: Service) -> datetime | None:
    return service.deployment.created_at if service.deployment else None


def _begun(seen: Seen, service: Service) -> datetime | None:
    """When its deployment began, where that is recent."""
    begun = _since(service)
    recent = timedelta(minutes=seen.environment.assess.deployed_minutes)
    return begun if begun and seen.now - begun <= recent else None


def _deployed(seen: Seen, service: Service) -> Iterator[Evidence]:
    """That it was deployed a short while ago, and by whom."""
    begun = _begun(seen, service)
    if begun is None:
        return
    by = seen.changed(service.name, "UpdateService")
    who = f" by {by.by}" if by else ""
    says = f"{service.task_definition} was deployed {seen.ago(begun)}{who}"
    yield Evidence(says, FAIR)


RULES = (does_not_start, half_released, errors_since)
