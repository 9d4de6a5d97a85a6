"""A region that is gone, mail that AWS holds back, alarms that nobody would hear."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.procedure.assess.seen import Seen
from runbook.procedure.assess.suspect import FAIR, HINT, PROOF, STRONG, Evidence, Step, Suspect


def region_lost(seen: Seen) -> Iterator[Suspect]:
    """The region that serves does not answer, and the other one does."""
    regions = seen.environment.regions
    serving, other = regions.current, {regions.primary, regions.backup} - {regions.current}
    why = seen.regions.get(serving, "")
    if not why or not all(seen.regions.get(one) == "" for one in other):
        return
    evidence = [
        Evidence(f"AWS does not answer in {serving}: {why}", STRONG),
        Evidence(f"AWS answers in {', '.join(other)}: it is not the way from here", PROOF),
    ]
    silent = [one for one in seen.answers or () if one.status != 200]
    if silent and len(silent) == len(seen.answers or ()):
        evidence.append(Evidence("no endpoint of the Studio answers", PROOF))
    yield Suspect(
        f"the region {serving} is lost",
        serving,
        tuple(evidence),
        confirm=Step("check-service-endpoints"),
        mend=Step("fail-over-region"),
        remedy="failover",
    )


def mail_held_back(seen: Seen) -> Iterator[Suspect]:
    """The account or its domain may not send."""
    if seen.mail is None or not seen.mail.problems:
        return
    evidence = [Evidence(problem, PROOF) for problem in seen.mail.problems]
    changes = [one for one in seen.changes() if "AccountSending" in one.what]
    evidence += [Evidence(one.says, HINT) for one in changes[:1]]
    yield Suspect(
        "mail does not go out",
        "mail",
        tuple(evidence),
        confirm=Step("email-not-sending"),
        mend=Step("restore-mail"),
    )


def alarms_deaf(seen: Seen) -> Iterator[Suspect]:
    """Alarms are missing or drifted: whatever happens, nobody is called."""
    if seen.alarms is None:
        return
    missing = [one.wanted.name for one in seen.alarms.watches if one.there is None]
    drifted = [one for one in seen.alarms.watches if one.drift]
    evidence = [Evidence(f"{name} is missing", STRONG) for name in missing]
    evidence += [Evidence(f"{one.wanted.name}: {one.drift[0]}", STRONG) for one in drifted]
    if not evidence:
        return
    changes = [one for one in seen.changes() if "Alarm" in one.what]
    evidence += [Evidence(one.says, FAIR) for one in changes[:1]]
    yield Suspect(
        "alarms are missing or changed",
        "alarms",
        tuple(evidence),
        confirm=Step("check-alarms"),
        mend=Step("create-alarms"),
    )


RULES = (region_lost, mail_held_back, alarms_deaf)
