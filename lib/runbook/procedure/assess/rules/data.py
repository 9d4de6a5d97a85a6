"""What was lost or left: jobs, payments, usage, rows, files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from runbook.procedure.assess.seen import Seen
from runbook.procedure.assess.suspect import FAIR, HINT, PROOF, STRONG, Evidence, Step, Suspect
from runbook.studio import usage
from runbook.studio.logs.lines import Line

_A_LITTLE_BEFORE = timedelta(seconds=5)


def jobs_stuck(seen: Seen) -> Iterator[Suspect]:
    """Jobs stand in processing, and nobody works on them."""
    found = seen.stuck
    if found is None or not found.jobs:
        return
    minutes = seen.environment.promises.stuck_after_minutes
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    evidence = [
        Evidence(f"{found.jobs} jobs are in processing for more than {minutes} minutes", PROOF),
        Evidence(f"{kinds}; the oldest for {found.oldest_minutes:.0f} minutes", HINT),
    ]
    parameters = {"older_than_minutes": minutes, "outcome": "pending", "at_most": found.jobs}
    yield Suspect(
        "workers left jobs behind",
        "jobs",
        tuple(evidence),
        confirm=Step("clear-stuck-jobs", parameters),
        mend=Step("clear-stuck-jobs", parameters),
    )


def paid_for_nothing(seen: Seen) -> Iterator[Suspect]:
    """Payments are completed, and their subscriptions wait."""
    if not seen.unactivated:
        return
    oldest = seen.unactivated[0]
    amount = sum(one.amount_jod for one in seen.unactivated)
    evidence = (
        Evidence(
            f"{len(seen.unactivated)} payments of {amount:,.2f} JOD gave nobody anything", PROOF
        ),
        Evidence(f"the oldest was paid {oldest.minutes / 60:,.0f} hours ago", HINT),
    )
    yield Suspect(
        "webhooks of payments were lost",
        "payments",
        evidence,
        confirm=Step("payment-webhook"),
        mend=Step("activate-subscription", {"subscription": oldest.subscription}),
    )


def usage_apart(seen: Seen) -> Iterator[Suspect]:
    """Some counters and the table disagree: a flush was cut off.

    While a service is down that may be its effect: what it counted is written once it is back.
    """
    if not seen.apart or _rows_are_gone(seen):
        return
    more = len({one.user for one in seen.apart if one.amount > 0})
    less = len({one.user for one in seen.apart if one.amount < 0})
    says = f"{more} users used more than the table has, {less} less"
    down = [one.name for one in seen.services or () if one.desired_count and not one.running_count]
    evidence = [
        Evidence(f"{says}, while {down[0]} is down", FAIR) if down else Evidence(says, PROOF)
    ]
    evidence += [
        Evidence(f"{one.lately} times: {one.message}", FAIR)
        for one in seen.errors or ()
        if "usage_meter" in one.message
    ][:1]
    yield Suspect(
        "usage was counted and not written",
        "usage",
        tuple(evidence),
        confirm=Step("usage-not-updating"),
        mend=Step("sync-usage"),
    )


def rows_damaged(seen: Seen) -> Iterator[Suspect]:
    """Rows say what cannot be, or many of them are gone."""
    if seen.rows is None:
        return
    evidence = []
    if seen.rows.unlike_plan:
        says = f"{seen.rows.unlike_plan} payments are of nothing, or for another plan"
        evidence.append(Evidence(says, PROOF))
    if seen.rows.unreachable:
        says = f"{seen.rows.unreachable} users have an address that cannot exist"
        evidence.append(Evidence(says, PROOF))
    if _rows_are_gone(seen):
        users = len({one.user for one in seen.apart or ()})
        says = f"{users} users used more than the table of usage has, and nobody less"
        evidence.append(Evidence(says, STRONG))
        evidence += [Evidence(says, STRONG) for says in _deleted(seen)]
    if not evidence:
        return
    script = _script(seen)
    if script:
        evidence.append(Evidence(f"{script.moment:%H:%M:%S} UTC: {script.message}", STRONG))
    parameters = {"moment": _before(script.moment)} if script else {}
    yield Suspect(
        "rows of the database are damaged or gone",
        "rows",
        tuple(evidence),
        confirm=Step("check-health"),
        mend=Step("recover-database", parameters),
    )


def files_gone(seen: Seen) -> Iterator[Suspect]:
    """The bucket is gone, or objects that its copy still has."""
    found, limits = seen.files, seen.environment.promises.lost_percent
    if found is None:
        return
    if found.gone:
        says = f"{found.bucket} does not exist; its copy has {found.lost:,} objects"
        evidence = [Evidence(says, PROOF), Evidence("uploads and downloads fail for all", FAIR)]
    elif found.lost_percent >= limits.warning:
        says = f"{found.lost:,} objects of the copy are gone from {found.objects:,}"
        strength = PROOF if found.lost_percent >= limits.critical else STRONG
        evidence = [Evidence(says, strength), Evidence(f"{found.lost_percent:.0f} % of it", FAIR)]
    else:
        return
    by = seen.changed(found.bucket)
    evidence += [Evidence(by.says, FAIR)] if by else []
    yield Suspect(
        f"{found.bucket} is gone" if found.gone else f"objects of {found.bucket} are gone",
        found.bucket,
        tuple(evidence),
        confirm=Step("check-health"),
        mend=Step("recover-bucket", {"bucket": found.bucket}),
    )


def _rows_are_gone(seen: Seen) -> bool:
    """Whether usage is apart for so many, and one way only, that no lost flush explains it."""
    if not seen.apart or not seen.counters:
        return False
    less = any(one.amount < 0 for one in seen.apart)
    percent = 100 * len(seen.apart) / seen.counters
    return not less and percent >= seen.environment.assess.apart_percent


def _deleted(seen: Seen) -> list[str]:
    limit = seen.environment.assess.deleted_percent
    shares = seen.rows.deleted_percent if seen.rows else {}
    return [
        f"{share:.0f} % of the rows of {table} were deleted"
        for table, share in sorted(shares.items())
        if share >= limit and table == usage.TABLE
    ]


def _script(seen: Seen) -> Line | None:
    """The newest line that something else than a service's task has written."""
    return seen.strangers[-1] if seen.strangers else None


def _before(moment: datetime) -> str:
    return f"{moment - _A_LITTLE_BEFORE:%Y-%m-%dT%H:%M:%S}"


RULES = (jobs_stuck, paid_for_nothing, usage_apart, rows_damaged, files_gone)
