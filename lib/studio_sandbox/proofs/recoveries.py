"""`./runbook prove recoveries`: whoever recovers something is killed outright, again and again.

For each section (recovery_trials.py) a moving Studio is broken and the section's plan is applied by
`./runbook run`, which is killed (SIGKILL, runner and kernel) at a point of its work. The truth is
reconciled, and the same plan is applied again, up to the next point, until it comes to its end.
Then other clients than the runbook's judge what there is: nothing lost, nothing twice. What the
section says can be undone is undone in the end, and compared with the Studio before.

A point is a line of the plan's journal, or, where one change takes long, how much of it the world
shows: never a time. `--runs N`: points for each section; `--drills`: names of sections, not all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook import settings
from runbook.change import saved
from runbook.change.saved import SavedPlan
from runbook.errors import Failed
from runbook.record.runs import Run, store_of
from runbook.run import warm
from studio_sandbox import box as sandbox
from studio_sandbox.control_plane import names
from studio_sandbox.process import power_cut
from studio_sandbox.proofs.proof import Asked
from studio_sandbox.proofs.recovery_trials import TRIALS, Trial

_POINTS, _ROUNDS = 10, 2  # for each section; the points of one world are every second one
_KNOWN_WITHIN_S, _REACHED_WITHIN_S = 240.0, 240.0
_LOOK_S = 0.002
_ENVIRONMENT = "sandbox"


@dataclass(frozen=True)
class Point:
    """Where whoever applies a plan is killed; the section's first plan is 0."""

    plan: int
    name: str
    reached: Callable[[Progress], bool]


@dataclass
class Tally:
    """What came of one section. Everything in `wrong` has to be nought."""

    section: str
    points: list[str] = field(default_factory=list)
    killed: int = 0
    worlds: int = 0
    resumed: int = 0
    undone: str = "claims none"
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Recovered:
    """The tallies of all sections."""

    tallies: tuple[Tally, ...]

    @property
    def holds(self) -> bool:
        return not any(one.wrong or one.killed < len(one.points) for one in self.tallies)

    def table(self) -> str:
        lines = [
            f"{'section':<36}{'killed':>7}{'worlds':>8}{'resumed':>9}{'wrong':>7}{'s':>7}  undo"
        ]
        for one in self.tallies:
            lines.append(
                f"{one.section:<36}{one.killed:>7}{one.worlds:>8}{one.resumed:>9}"
                f"{len(one.wrong):>7}{one.seconds:>7.0f}  {one.undone}"
            )
            lines += [f"    {point}" for point in one.points]
            lines += [f"    WRONG {what}" for what in one.wrong]
        lines.append("holds" if self.holds else "does not hold")
        return "\n".join(lines)


class Progress:
    """How far a plan is, by the journals of all runs that have applied it, the last one at work.

    Looked at all the time: the runs before it have ended, and are read once.
    """

    def __init__(self, planned: SavedPlan, run: Run) -> None:
        self._planned, self.run = planned, run
        self._before: frozenset[int] | None = None
        self.look()

    def look(self) -> Progress:
        """Read the last run's journal again."""
        self.begun = self.ended = False
        intents: dict[str, int] = {}
        done = set()
        for one in self.run.journal.entries():
            self.begun |= one["entry"] == "applying"
            self.ended |= one["entry"] == "applied"
            if one["entry"] == "intent":
                intents[one["id"]] = one["change"]
            elif one["entry"] == "result" and one["outcome"] != "unknown":
                change = intents.pop(one["id"], None)
                done |= {change} if one["outcome"] == "done" and change is not None else set()
        self.open = set(intents.values())
        self.done = done | (self._done_before() if self.begun else set())
        return self

    def _done_before(self) -> frozenset[int]:
        if self._before is None:
            earlier = self._planned.appliers(self.run)[:-1]
            self._before = frozenset(
                intent.change for one in earlier for intent, _ in one.journal.done()
            )
        return self._before

    def is_past(self, change: int) -> bool:
        return self.ended or any(one > change for one in self.done | self.open)

    def __str__(self) -> str:
        told = f"{len(self.done)} changes done, {len(self.open)} open"
        return f"{told}, at its end" if self.ended else told


def prove(asked: Asked) -> Recovered:
    """Every section in turn, on one Studio that is put back between them."""
    os.environ["RUNBOOK_HOME"] = str(asked.home)
    box = sandbox.up(tied=True, folder=asked.home / "sandbox", say=asked.say).box
    wanted = [name for name in asked.drills.split(",") if name]
    began, tallies = time.monotonic(), []
    for name, make in TRIALS.items():
        if wanted and name not in wanted:
            continue
        tally = Tally(name)
        tallies.append(tally)
        started = time.monotonic()
        for number in range(_ROUNDS):
            if time.monotonic() - began > asked.within_s:
                tally.wrong.append("not tried to the end: the time was over")
                break
            box = sandbox.reset(box.folder)
            share = _share_of(asked.runs or _POINTS, number)
            last = number == _ROUNDS - 1
            _Round(make(box, asked.seed + number), tally, asked.say).go(share, undo=last)
        tally.seconds = time.monotonic() - started
    return Recovered(tuple(tallies))


def _share_of(count: int, number: int) -> list[float]:
    """Where the points of one world are, as shares of all that there are: every second one."""
    every = [index / max(1, count - 1) for index in range(count)]
    return every[number::_ROUNDS]


class _Round:
    """One world: broken, recovered by whoever is killed again and again, judged."""

    def __init__(self, trial: Trial, tally: Tally, say: Callable[[str], None]) -> None:
        self._trial, self._tally, self._say = trial, tally, say
        self._store = store_of(settings.load(_ENVIRONMENT))

    def go(self, shares: Sequence[float], *, undo: bool) -> None:
        parameters = self._trial.break_it()
        ended = [
            self._recover(plan, parameters, [at for at in shares if self._is_in(plan, at)])
            for plan in range(self._trial.plans)
        ]
        self._tally.worlds += 1
        self._wrong("", self._trial.judge())
        if undo and self._trial.undoes:
            self._undo(ended)

    def _is_in(self, plan: int, at: float) -> bool:
        """Whether a share of all points is one of this plan's, where there are two."""
        return min(int(at * self._trial.plans), self._trial.plans - 1) == plan

    def _recover(self, plan: int, parameters: dict[str, str], shares: Sequence[float]) -> str:
        """Plan, have it approved, apply and be killed, until it is done; gives the last run."""
        slug = self._trial.slug
        planned = self._planned(slug, parameters)
        self._trial.planned(planned)
        points = list(_points(plan, planned, self._trial))
        for at in shares:
            within = at * self._trial.plans - plan
            point = points[round(within * (len(points) - 1))]
            self._kill_at(point, planned)
        return self._resume(planned)

    def _planned(self, slug: str, parameters: dict[str, str]) -> SavedPlan:
        given = [part for name, value in parameters.items() for part in ("-p", name, value)]
        told = _until(
            lambda: (found := _runbook("run", slug, *given))["verdict"] == "planned" and found,
            f"{slug} is planned",
        )
        digest = told["plan"]["digest"]
        _approve(digest)
        return saved.find(self._store, digest)

    def _kill_at(self, point: Point, planned: SavedPlan) -> None:
        self._reconcile()
        known = set(self._store.names("runs"))
        process = subprocess.Popen(
            [*_PROGRAM, "run", self._trial.slug, "--apply", planned.digest],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            run = self._reached(point, planned, known, process)
        finally:
            power_cut(process)
        told = f"{self._trial.slug}, plan {point.plan + 1}, {point.name}"
        if run is None:
            self._tally.points.append(f"{told}: it ended before")
            return
        self._tally.killed += 1
        self._tally.points.append(f"{told}: {Progress(planned, run)}")
        self._say(self._tally.points[-1])

    def _reached(
        self, point: Point, planned: SavedPlan, known: set[str], process: subprocess.Popen[bytes]
    ) -> Run | None:
        """The run that has come to a point; None when it has ended before that."""
        deadline = time.monotonic() + _REACHED_WITHIN_S
        progress: Progress | None = None
        while process.poll() is None and time.monotonic() < deadline:
            if progress is None and (run := self._new_run(known)):
                progress = Progress(planned, run)
            if progress and progress.look().begun and point.reached(progress):
                return progress.run
            time.sleep(_LOOK_S)
        return None

    def _new_run(self, known: set[str]) -> Run | None:
        found = [name for name in self._store.names("runs") if name not in known]
        return Run(self._store, found[0]) if found else None

    def _resume(self, planned: SavedPlan) -> str:
        """Apply it until it is refused no longer; gives the run that came to the end."""
        slug = self._trial.slug

        def goes_on() -> Any:
            self._reconcile()
            told = _runbook("run", slug, "--apply", planned.digest)
            over = told["verdict"] != "refused" or told["error"]["class"] == "PlanStale"
            return told if over else None

        ended = bool(planned.used_by()) and not planned.is_unfinished()
        told = _until(goes_on, f"{slug} is taken up again")
        # who was killed after the last line had applied it already: then it is used up
        ends = ("succeeded", "no_change", *(["refused"] if ended else []))
        if told["verdict"] in ends:
            self._tally.resumed += 1
        else:
            self._wrong("resumed: ", [f"{told['verdict']}, {told['error']}"])
        return planned.used_by()

    def _reconcile(self) -> None:
        """Until every intent is settled: what is still under way is not known yet."""
        _until(
            lambda: all(one["outcome"] != "unknown" for one in _runbook("reconcile")),
            "every intent is settled",
        )

    def _undo(self, runs: Sequence[str]) -> None:
        for run in reversed(runs):
            digest = _runbook("undo", run)["plan"]["digest"]
            _approve(digest)
            told = _runbook("undo", run, "--apply", digest)
            if told["verdict"] != "succeeded":
                self._wrong("undo: ", [f"{told['verdict']}, {told['error']}"])
        found = self._trial.judge_undone()
        self._tally.undone = "as before" if not found else "not as before"
        self._wrong("undo: ", found)

    def _wrong(self, prefix: str, found: Sequence[str]) -> None:
        self._tally.wrong += [f"{prefix}{one}" for one in found]


def _points(number: int, planned: SavedPlan, trial: Trial) -> Iterator[Point]:
    """Every point of a plan, in the order in which they are reached."""
    yield Point(number, "before the first change", lambda now: True)
    for index, change in enumerate(planned.plan.changes):
        about = f"change {index + 1} of {len(planned.plan.changes)}, {change.kind}"
        yield Point(number, f"{about}: intent", _is_at(index))
        for name, shows in trial.inside(change):
            yield Point(number, f"{about}: {name}", _is_inside(index, shows))
        if change.rows is None:  # of a set that was cut off, a part is done
            yield Point(number, f"{about}: result", _is_done(index))
    yield Point(number, "at its end", lambda now: now.ended)


def _is_at(change: int) -> Callable[[Progress], bool]:
    return lambda now: change in now.open | now.done or now.is_past(change)


def _is_inside(change: int, shows: Callable[[], bool]) -> Callable[[Progress], bool]:
    return lambda now: now.is_past(change) or (_is_at(change)(now) and shows())


def _is_done(change: int) -> Callable[[Progress], bool]:
    return lambda now: change in now.done or now.is_past(change)


_PROGRAM = (sys.executable, "-P", "-m", "runbook")


def _runbook(*arguments: str) -> Any:
    """What a command prints with `--json`, whatever its exit code."""
    done = warm.command(*arguments, "--json")
    if not done.stdout:
        raise Failed(f"{arguments[0]} said nothing: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def _approve(digest: str) -> None:
    done = warm.command("approve", digest, "--profile", names.APPROVER)
    if done.returncode:
        raise Failed(f"{digest} is not approved: {done.stderr[-500:]}")


def _until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + _KNOWN_WITHIN_S
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise Failed(f"The proof did not come so far: {what}.")
        time.sleep(0.5)
    return found
