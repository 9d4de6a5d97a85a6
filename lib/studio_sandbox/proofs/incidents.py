"""`./runbook prove incidents`: whatever breaks is answered from the alarm to the post-mortem.

Each drill breaks a moving Studio as it is at its start, and is rehearsed as a whole incident, by
sections alone (`drills/whole.py`). What came of it is read from the record: the sections in the
order in which they ran, the parameters that `assess` had found, and whether the incident is closed.

    ./runbook prove incidents --drills sick-deploy,redis-down
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from runbook import settings
from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.incident import room
from runbook.record.runs import store_of
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.drills import drill as drills
from studio_sandbox.drills.commands import rehearsed
from studio_sandbox.proofs.proof import Asked

# Those that a section of mending ends. The others of the drills take decisions that no page makes:
# when to lose data, or a region.
INCIDENTS = (
    "bad-deploy", "sick-deploy", "secret-denied", "image-missing", "database-unreachable",
    "stuck-jobs", "abusive-user", "capacity-short", "key-revoked", "slow-provider", "slow-query",
    "redis-down", "usage-drift", "webhook-lost", "mail-sandboxed",
)  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """One incident. `noticed` is its title: an alarm, or what a person said; `found` are the
    parameters of what mended it, as `assess` had them."""

    drill: str
    noticed: str
    sections: Sequence[str]
    found: Sequence[str]
    mended: bool
    status: str
    seconds: float
    findings: Sequence[str] = ()
    unneeded: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return self.mended and self.status == "closed" and bool(self.found)


@dataclass
class Incidents:
    """All of them, in the order in which they were rehearsed."""

    answered: list[Answered] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return bool(self.answered) and all(one.holds for one in self.answered)

    def table(self) -> str:
        """A row for each drill, the sum below."""
        lines = [
            "| drill | noticed by | sections | found by assess | mended | incident | took |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in self.answered:
            mended = "yes" if one.mended else f"**no**: {'; '.join(one.findings)}"
            mended += "".join(f"; not needed: {change}" for change in one.unneeded)
            status = one.status if one.status == "closed" else f"**{one.status}**"
            found = ", ".join(one.found) or "**nothing**"
            lines.append(
                f"| `{one.drill}` | {one.noticed} | {', '.join(one.sections)} | {found} "
                f"| {mended} | {status} | {one.seconds:.0f} s |"
            )
        whole = sum(one.holds for one in self.answered)
        lines += ["", f"{whole} of {len(self.answered)} incidents were mended and are closed."]
        return "\n".join(lines)


def prove(asked: Asked) -> Incidents:
    """Each drill in turn; `--runs N`: the first N of them, `--drills`: those alone."""
    os.environ["RUNBOOK_HOME"] = str(asked.home)
    box = sandbox.up(tied=True, folder=asked.home / "sandbox", say=asked.say).box
    wanted = asked.drills.split(",") if asked.drills else INCIDENTS[: asked.runs or None]
    found = Incidents()
    for name in wanted:
        found.answered.append(_answer(box, name, asked))
        box = sandbox.reset(box.folder)  # what a drill did is still in the logs otherwise
    return found


def _answer(box: Box, name: str, asked: Asked) -> Answered:
    """Rehearse one; what cannot be rehearsed to its end is a row too."""
    began = time.monotonic()
    try:
        told = rehearsed(box, name, asked.seed, whole=True)
    except RunbookError as error:
        return Answered(
            name, "", (), (), False, "not ended", time.monotonic() - began, (str(error),)
        )
    clients = Clients(settings.load(drills.ENVIRONMENT))
    try:
        entered = room.enter(store_of(clients.environment), clients, told["incident"])
        one = read(name, told, entered.incident.title, entered.runs(), entered.state().status)
    finally:
        clients.close()
    asked.say(
        f"{name}: {'mended' if one.mended else 'not mended'}, {one.status}, {one.seconds:.0f} s"
    )
    return one


def read(
    name: str, told: Mapping[str, Any], title: str, runs: Sequence[Mapping[str, Any]], status: str
) -> Answered:
    """What came of one, from what its judge says and from the runs under it. Pure."""
    noticed = "a person" if title == drills.drills()[name].symptom else title
    return Answered(
        drill=name,
        noticed=noticed,
        sections=[slug for slug, _ in groupby(run["section"] for run in runs)],
        found=list(dict.fromkeys(_found(runs))),
        mended=told["mended"],
        status=status,
        seconds=told["seconds"],
        findings=told["findings"],
        unneeded=told["unneeded"],
    )


def _found(runs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Of each run that changed something: the parameters that a suspect before it had named."""
    named: list[Mapping[str, Any]] = []
    for run in runs:
        if run["section"] == "assess":
            named += [one["mend"] for one in (run["result"] or {}).get("suspects", ())]
        elif run["changes_applied"]:
            yield from (_short(step) for step in named if _is_of(step, run))


def _is_of(step: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    given = run["parameters"]
    same = all(given.get(name) == value for name, value in step["parameters"].items())
    return same and step["section"] == run["section"]


def _short(step: Mapping[str, Any]) -> str:
    """`roll-back services=web,api`."""
    words = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in step["parameters"].items()
    ]
    return " ".join([step["section"], *words])
