"""What a drill is, the list of them, and the one that is running.

A drill draws its details (which, how many, since when) from a seed, tells the symptom and never
the cause, and judges the Studio by what is in it, not by what was run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook import settings
from runbook.errors import BadInput
from runbook.record.runs import note_drill, runs, store_of
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.folder import write_private
from studio_sandbox.state import Box

ENVIRONMENT = "sandbox"
Details = dict[str, Any]
RunSection = Callable[..., dict[str, Any]]  # a slug and parameters; what `run --json` prints


@dataclass(frozen=True)
class Drill:
    """One way to break the Studio.

    `start` breaks it and returns what `judge` has to know; `judge` returns what is still wrong;
    `clean_up` removes what `start` brought; `mend` does it through sections and nothing else.
    """

    name: str
    symptom: str
    start: Callable[[Box, random.Random], Details]
    judge: Callable[[Box, Details], list[str]]
    clean_up: Callable[[Box, Details], None]
    mend: Callable[[RunSection], None]


@dataclass(frozen=True)
class Judgement:
    """What `judge` prints: whether it is mended, seconds since the start, what is still wrong."""

    mended: bool
    seconds: float
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    """A drill that was started and has not been ended."""

    drill: Drill
    seed: int
    started_at: datetime
    details: Details


def drills() -> dict[str, Drill]:
    """Every drill by name."""
    from studio_sandbox.drills.stuck_jobs import STUCK_JOBS

    return {drill.name: drill for drill in (STUCK_JOBS,)}


def start(box: Box, name: str, seed: int) -> Running:
    """Break the Studio. Raises BadInput: no such drill, or it is running already."""
    if name not in drills():
        raise BadInput(f"There is no drill {name!r}; there are: {', '.join(drills())}.")
    if _file(box, name).exists() and _load(box, name):
        raise BadInput(
            f"{name} is running already.", next=f"./runbook drill judge {name}, or drill end {name}"
        )
    drill = drills()[name]
    began = datetime.now(UTC)
    details = drill.start(box, random.Random(f"{name}/{seed}"))  # noqa: S311
    content = {
        "seed": seed,
        "started_at": began.isoformat(),
        "anchor": box.anchor.isoformat(),
        "details": details,
    }
    _file(box, name).parent.mkdir(mode=0o700, exist_ok=True)
    write_private(_file(box, name), json.dumps(content))
    return Running(drill, seed, began, details)


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
    findings = one.drill.judge(box, one.details)
    seconds = (datetime.now(UTC) - one.started_at).total_seconds()
    if not findings:
        store = store_of(settings.load(ENVIRONMENT))
        since = one.started_at.isoformat()
        mended_by = {
            about["section"]
            for about in runs(store)
            if about["started_at"] >= since and about.get("changes_applied")
        }
        note_drill(store, one.drill.name, sorted(mended_by), clock=SYSTEM_CLOCK)
    return Judgement(not findings, round(seconds, 1), tuple(findings))


def end(box: Box, one: Running) -> None:
    """Remove what the drill brought, and forget it."""
    one.drill.clean_up(box, one.details)
    _file(box, one.drill.name).unlink(missing_ok=True)


def run_section(
    slug: str, *, watch: Callable[[str, str], None] = lambda event, text: None, **parameters: Any
) -> dict[str, Any]:
    """Run a section headless in the sandbox's environment; what `run --json` prints."""
    from runbook.run import request, runner

    asked = request.make(slug, given=parameters, environment=ENVIRONMENT)
    return runner.run(asked, watch)


def _file(box: Box, name: str) -> Path:
    return box.folder / "drills" / f"{name}.json"


def _load(box: Box, name: str) -> Running | None:
    try:
        content = json.loads(_file(box, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if content["anchor"] != box.anchor.isoformat():
        return None
    began = datetime.fromisoformat(content["started_at"])
    return Running(drills()[name], content["seed"], began, content["details"])
