"""What a drill is, the list of them, and the one that is running.

A drill draws its details (which, how many, since when) from a seed, tells the symptom and never
the cause, and judges the Studio by what is in it, not by what was run: the runs on record are
told beside the verdict, and have no part in it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import redis
from botocore.exceptions import BotoCoreError, ClientError

from runbook import settings
from runbook.change import saved
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable
from runbook.record.runs import note_drill, runs, store_of
from runbook.record.store import Store
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox import folder
from studio_sandbox.control_plane import names
from studio_sandbox.drills import world
from studio_sandbox.drills.studio import Studio
from studio_sandbox.drills.world import World
from studio_sandbox.folder import write_private
from studio_sandbox.state import Box

ENVIRONMENT = "sandbox"
_UNANSWERED = (psycopg2.Error, redis.RedisError, BotoCoreError, ClientError, OSError)
Details = dict[str, Any]
RunSection = Callable[..., dict[str, Any]]  # a slug and parameters; what `run --json` prints


@dataclass(frozen=True)
class Drill:
    """One way to break the Studio.

    `draw` says what will be broken, and changes nothing; `start` breaks it, and adds to the
    details what `judge` and `clean_up` have to know. `judge` returns what is still wrong;
    `clean_up` removes what `start` brought, mended or not. `mend` does it through sections and
    nothing else; a drill whose sections do not exist has none. `brings` are parameters of sections
    that a colleague hands over, such as a file with a new key. `needed` are patterns of what a
    repair changes in the world (`world`), filled from the details.
    """

    name: str
    symptom: str
    draw: Callable[[Studio, random.Random], Details]
    start: Callable[[Studio, Details], None]
    judge: Callable[[Studio, Details], list[str]]
    clean_up: Callable[[Studio, Details], None]
    mend: Callable[[RunSection], None] | None = None
    brings: Callable[[Studio, Details], Mapping[str, Details]] | None = None
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What `judge` prints: whether it is mended, seconds since the start, what is still wrong.

    `unneeded` are changes of the world that the repair did not need; `evidence` are the runs on
    record that changed anything since the start.
    """

    mended: bool
    seconds: float
    findings: tuple[str, ...]
    unneeded: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    """A drill that was started and has not been ended.

    `before` and `broken` are the world at its start, the latter empty when that was cut off;
    `excused` is what other drills that ran at the same time had to do with.
    """

    drill: Drill
    seed: int
    started_at: datetime
    details: Details
    before: World
    broken: World
    excused: tuple[str, ...]

    @property
    def concerns(self) -> list[str]:
        """What this drill, or its repair, changes in the world."""
        patterns = [pattern.format(**self.details) for pattern in self.drill.needed]
        return [*patterns, *world.changed(self.before, self.broken)]


def drills() -> dict[str, Drill]:
    """Every drill by name."""
    from studio_sandbox.drills.every import EVERY

    return {drill.name: drill for drill in EVERY}


def start(box: Box, name: str, seed: int) -> Running:
    """Break the Studio.

    Raises BadInput (no such drill, or it is running already), NotReachable (another drill has
    broken what this one needs), Failed (cut off half-way: it can be ended).
    """
    if name not in drills():
        raise BadInput(f"There is no drill {name!r}; there are: {', '.join(drills())}.")
    if _load(box, name):
        raise BadInput(
            f"{name} is running already.", next=f"./runbook drill judge {name}, or drill end {name}"
        )
    drill, studio = drills()[name], Studio(box)
    try:
        details = drill.draw(studio, dice(name, seed))
    except _UNANSWERED as error:
        raise NotReachable(
            f"{name} finds nothing to break: {_said(error)}", next="./runbook drill list, drill end"
        ) from error
    before = world.read(studio)
    one = Running(drill, seed, datetime.now(UTC), details, before, {}, ())
    _save(box, one)  # first: what has begun can be ended, even when it is cut off here
    try:
        drill.start(studio, details)
    except _UNANSWERED as error:
        raise Failed(
            f"{name} did not come to its end: {_said(error)}", next=f"./runbook drill end {name}"
        ) from error
    return _excuse(box, replace(one, broken=world.read(studio)))


def dice(name: str, seed: int) -> random.Random:
    """The dice that a drill draws its details with."""
    return random.Random(f"{name}/{seed}")  # noqa: S311  believable, not secret


def _excuse(box: Box, one: Running) -> Running:
    """Save a drill that has broken the Studio; it and the others excuse each other's changes."""
    with folder.command_lock(box.folder):
        others = [other for other in running(box) if other.drill is not one.drill]
        theirs = [about for other in others for about in other.concerns]
        known = _load(box, one.drill.name) or one  # another one may have begun meanwhile
        one = replace(one, excused=(*known.excused, *theirs))
        _save(box, one)
        for other in others:
            _save(box, replace(other, excused=(*other.excused, *one.concerns)))
    return one


def running(box: Box) -> list[Running]:
    """Drills that run in this sandbox; a reset has ended those from before."""
    found = [_load(box, name) for name in drills()]
    return [each for each in found if each]


def pick(box: Box, name: str = "") -> Running:
    """The drill of that name, or the only one that runs. Raises BadInput."""
    found = [each for each in running(box) if name in ("", each.drill.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.drill.name for each in found)
        raise BadInput(f"{len(found)} drills are running: {names}.", next="Name one of them.")
    raise BadInput(
        f"{name or 'No drill'} is {'not ' if name else ''}running.",
        next=f"Start one: ./runbook drill start {name or 'NAME'}",
    )


def judge(box: Box, one: Running) -> Judgement:
    """Look at the Studio, and when it is mended note which sections did it."""
    studio = Studio(box)
    findings = _findings(studio, one)
    seconds = (datetime.now(UTC) - one.started_at).total_seconds()
    unneeded = world.unneeded(
        one.before, one.broken, world.read(studio), [*one.concerns, *one.excused]
    )
    store = store_of(settings.load(ENVIRONMENT))
    applied = _applied_since(store, one.started_at)
    if not findings:
        sections = sorted({about["section"] for about in applied})
        note_drill(store, one.drill.name, sections, clock=SYSTEM_CLOCK)
    evidence = tuple(f"{about['run_id']} {about['section']}" for about in applied)
    return Judgement(not findings, round(seconds, 1), tuple(findings), tuple(unneeded), evidence)


def _findings(studio: Studio, one: Running) -> list[str]:
    """What the drill's judge says. What does not answer it is not mended either."""
    if not one.broken:
        return ["its start was cut off: end it, and start it again"]
    try:
        return one.drill.judge(studio, one.details)
    except _UNANSWERED as error:
        return [f"it cannot be looked at: {_said(error)}"]


def _said(error: Exception) -> str:
    return " ".join(str(error).split())


def _applied_since(store: Store, began: datetime) -> list[dict[str, Any]]:
    """Runs since then that changed something, oldest first."""
    found = [
        about
        for about in runs(store)
        if about["started_at"] >= began.isoformat() and about.get("changes_applied")
    ]
    return found[::-1]


def end(box: Box, one: Running) -> None:
    """Remove what the drill brought, and forget it. Raises Failed: something does not answer."""
    try:
        one.drill.clean_up(Studio(box), one.details)
    except _UNANSWERED as error:
        raise Failed(
            f"{one.drill.name} could not be ended: {_said(error)}",
            next="End the other drills first, or ./runbook sandbox reset",
        ) from error
    _file(box, one.drill.name).unlink(missing_ok=True)


def run_section(
    slug: str,
    *,
    watch: Callable[[str, str], None] = lambda event, text: None,
    under: str = "",
    **parameters: Any,
) -> dict[str, Any]:
    """Run a section headless in the sandbox's environment, filed `under` an incident if there is
    one; what `run --json` prints."""
    from runbook.run import warm

    return warm.section(
        slug, environment=ENVIRONMENT, given=parameters, incident=under, watch=watch
    )


def plan_and_apply(run: RunSection, slug: str, **parameters: Any) -> None:
    """Plan a section, have the plan approved where it needs that, and apply exactly it.

    The sandbox's second identity approves, as a colleague would: `approve DIGEST --profile`.
    """
    planned = run(slug, **parameters)
    if not planned.get("plan"):
        return  # it was refused, or found nothing to do: the judge sees what is left
    found = settings.load(ENVIRONMENT)
    saved_plan = saved.find(store_of(found), planned["plan"]["digest"])
    if saved_plan.plan.risk in found.approval.risks:
        holds_for = timedelta(minutes=found.approval.expire_after_minutes)
        colleague = Clients(found, profile=names.APPROVER).identity
        saved_plan.approve(colleague, now=SYSTEM_CLOCK.now(), holds_for=holds_for)
    run(slug, apply=saved_plan.digest)


def _file(box: Box, name: str) -> Path:
    return box.folder / "drills" / f"{name}.json"


def _save(box: Box, one: Running) -> None:
    content = {
        "seed": one.seed,
        "started_at": one.started_at.isoformat(),
        "anchor": box.anchor.isoformat(),
        "details": one.details,
        "before": one.before,
        "broken": one.broken,
        "excused": one.excused,
    }
    _file(box, one.drill.name).parent.mkdir(mode=0o700, exist_ok=True)
    write_private(_file(box, one.drill.name), json.dumps(content))


def _load(box: Box, name: str) -> Running | None:
    try:
        content = json.loads(_file(box, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if content["anchor"] != box.anchor.isoformat():
        return None
    return Running(
        drill=drills()[name],
        seed=content["seed"],
        started_at=datetime.fromisoformat(content["started_at"]),
        details=content["details"],
        before=content["before"],
        broken=content["broken"],
        excused=tuple(content["excused"]),
    )
