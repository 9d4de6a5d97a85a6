"""The one door. A saved plan goes through it whole, or is refused and nothing was changed.

    expiry → guardrails → approval → locks → is the world as planned?
           → for each change: intent on disk, mutation, verification, result on disk

Nothing is applied twice: what holds already is skipped, and a plan is used up once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from runbook.change import guardrails, saved
from runbook.change.kinds import Judgement, Step, kind_of
from runbook.change.lock import Locks
from runbook.change.plan import Change, Json, Plan, differences, matches, restrict
from runbook.change.reconcile import settle
from runbook.change.saved import RowFile, SavedPlan, rows_of
from runbook.change.undo import way_back
from runbook.clients import Clients
from runbook.errors import (
    BadInput,
    Failed,
    NotVerified,
    PlanStale,
    Refused,
    RunbookError,
    StaleMidway,
    Unknown,
)
from runbook.record.runs import Run
from runbook.wait import SYSTEM_CLOCK, Clock

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Actual:
    """What became of one change: what was found afterwards, and any counts its kind gives."""

    change: Change
    found: Json
    skipped: bool = False


@dataclass(frozen=True)
class Outcome:
    """What applying a plan came to."""

    plan: Plan
    run: str
    state: Literal["applied", "no_change"]
    actual: tuple[Actual, ...] = ()
    seconds: float = 0.0

    @property
    def changes_applied(self) -> int:
        return sum(not each.skipped for each in self.actual)


class Door:
    """Saves and applies plans for one run."""

    def __init__(
        self,
        clients: Clients,
        run: Run,
        *,
        clock: Clock = SYSTEM_CLOCK,
        progress: Progress = lambda target, done, total: None,
    ) -> None:
        self._clients = clients
        self._run = run
        self._clock = clock
        self._progress = progress
        self._settings = clients.environment

    def save(self, plan: Plan) -> SavedPlan:
        """Check the plan against the guardrails and put it on record. Changes nothing.

        Raises GuardrailHit, and BadInput for a kind that nobody can apply.
        """
        if plan.origin is None:
            raise BadInput(f"{plan.title!r} has no origin: a section saves its plan by rb.plan.")
        for change in plan.changes:
            kind_of(change)
        guardrails.check(plan, self._settings.guardrails)
        return saved.save(
            plan,
            self._run,
            by=self._clients.identity,
            now=self._clock.now(),
            holds_for=timedelta(minutes=self._settings.plans.expire_after_minutes),
        )

    def find(self, digest: str) -> SavedPlan:
        """The saved plan of that digest, if it belongs to this environment and account."""
        found = saved.find(self._run.store, digest)
        origin = found.plan.origin
        here = (self._settings.name, self._settings.account)
        if origin is None or (origin.environment, origin.account) != here:
            raise Refused(f"plan {found.plan.short} was made elsewhere, not for {here[0]}.")
        return found

    def apply(self, planned: SavedPlan) -> Outcome:
        """Apply exactly this plan.

        Raises a Refused before anything is changed, a Failed after that. When a change fails,
        the plan's `on_failure` decides what becomes of those already made.
        """
        plan, started = planned.plan, time.monotonic()
        self._refuse_second_plan(plan)
        self._run.write_json("plan.json", plan.on_record())
        self._refuse_unless_allowed(planned)
        locks = Locks(
            self._run,
            holder=self._clients.identity.name,
            lease=timedelta(minutes=self._settings.locks.lease_minutes),
            clock=self._clock,
        )
        with locks.hold(plan.targets, step=plan.title):
            judgements = self._judge_all(planned)
            done = all(judged.state == "holds" for judged in judgements)
            if done and not planned.is_unfinished():  # else it is brought to its end, and verified
                self._run.journal.write("applied", digest=plan.digest, changes=0)
                return Outcome(plan, self._run.id, "no_change")
            planned.use(self._run, self._clock.now())
            self._run.journal.write("applying", digest=plan.digest)
            actual = self._apply_all(planned, judgements, locks)
        seconds = time.monotonic() - started
        outcome = Outcome(plan, self._run.id, "applied", tuple(actual), seconds)
        self._run.journal.write(
            "applied", digest=plan.digest, changes=outcome.changes_applied, verified=True
        )
        return outcome

    def _refuse_second_plan(self, plan: Plan) -> None:
        """One run applies one plan, so that its record can be undone as a whole."""
        entries = self._run.journal.entries()
        applied = [each["digest"] for each in entries if each["entry"] == "applying"]
        if any(digest != plan.digest for digest in applied):
            raise Refused(
                f"This run has applied {applied[0][:11]} already; one run applies one plan.",
                next="Run the notebook again from its first cell: that begins a new run.",
            )

    def _refuse_unless_allowed(self, planned: SavedPlan) -> None:
        now, rails = self._clock.now(), self._settings.guardrails
        planned.refuse_if_expired(now)
        guardrails.check(planned.plan, rails)
        reason = self._run.read()["break_glass"]
        if reason:
            self._run.journal.write("break_glass", reason=reason, by=self._clients.identity.name)
            return
        guardrails.check_time(planned.plan, rails, now)
        planned.refuse_unless_approved(self._settings.approval, self._clients.identity, now)

    def _judge_all(self, planned: SavedPlan) -> list[Judgement]:
        """How the world stands to each change. Raises PlanStale with all that moved."""
        judgements = [self._judge(planned, index) for index in range(len(planned.plan.changes))]
        moved = [
            f"{change.target}: {line}"
            for change, judged in zip(planned.plan.changes, judgements, strict=True)
            if judged.state == "moved"
            for line in judged.moved or ("is neither as before nor as planned",)
        ]
        if moved:
            planned.refuse_if_applied()
            raise PlanStale(
                f"What plan {planned.plan.short} was based on has moved: {'; '.join(moved)}.",
                next="Plan again and look at what is different.",
            )
        return judgements

    def _judge(self, planned: SavedPlan, index: int) -> Judgement:
        change = planned.plan.changes[index]
        found = kind_of(change).judge(self._clients, change, rows_of(planned, change))
        if found.state == "moved" and self._is_as_left(planned, index):
            return Judgement("holds")
        return found

    def _is_as_left(self, planned: SavedPlan, index: int) -> bool:
        """Whether a run that was cut off has made this change, and it is as that left it.

        Of a set no row is as it was by then: what has moved since would be left alone anyway.
        """
        change, left = planned.plan.changes[index], planned.left()
        if index not in left or change.rows:
            return index in left
        now = kind_of(change).read(self._clients, change.target)
        return bool(left[index]) and matches(left[index].get("found"), now)

    def _apply_all(
        self, planned: SavedPlan, judgements: list[Judgement], locks: Locks
    ) -> list[Actual]:
        actual: list[Actual] = []
        try:
            for index, change in enumerate(planned.plan.changes):
                state = (self._judge(planned, index) if index else judgements[index]).state
                if state == "holds":
                    actual.append(Actual(change, change.after, skipped=True))
                    continue
                if state == "moved":
                    raise StaleMidway(
                        f"{change.target} moved while the plan was being applied, after "
                        f"{index} of {len(planned.plan.changes)} changes.",
                        next=f"Plan again, or take it back: ./runbook undo {self._run.id}",
                    )
                rows = rows_of(planned, change)
                actual.append(Actual(change, self._make(index, change, rows, locks)))
        except Exception as error:
            if isinstance(error, RunbookError) and len(planned.plan.changes) > 1:
                error.message += _how_far(planned.plan, actual)
            if planned.plan.on_failure == "inverse":
                self._take_back(planned, error, locks)
            if isinstance(error, Refused):
                self._tell_apart(error)
            raise
        return actual

    def _tell_apart(self, error: Refused) -> None:
        """What refuses to go on after work began is no refusal: something may have changed."""
        journal = self._run.journal
        if journal.unresolved():
            raise Unknown(
                error.message, next="Read the world first: ./runbook reconcile"
            ) from error
        if journal.done():
            raise Failed(error.message, next=error.next) from error

    def _make(
        self, index: int, change: Change, rows: RowFile | None, locks: Locks, **detail: Json
    ) -> Json:
        """Make one change and read back what is there now. Raises NotVerified."""
        kind = kind_of(change)
        steps = _Steps(self._clients, self._run, locks, index, change, self._progress)
        if kind.apply_pieces:
            if rows is None:
                raise BadInput(f"A change of the kind {change.kind} needs a set of rows.")
            return dict(kind.apply_pieces(self._clients, change, rows, steps))
        with steps.step(detail) as step:
            if kind.apply:
                kind.apply(self._clients, change, step.intent)
            found = restrict(kind.read(self._clients, change.target), change.after)
            step.left["found"] = found
        if not matches(change.after, found):
            raise NotVerified(
                f"{change.target} was changed, but does not read as planned: "
                f"{'; '.join(differences(change.after, found))}.",
                next="Look at the target before doing anything else.",
            )
        return found

    def _take_back(self, planned: SavedPlan, error: Exception, locks: Locks) -> None:
        """On failure, what the reviewed plan says: the inverse of what was made, last first."""
        self._run.journal.write("taking_back", because=str(error))
        made = way_back(self._run, planned)
        for index, back in made:
            rows = RowFile(back.rows.data, swapped=False) if back.rows else None
            self._make(index, back, rows, locks, takes_back=True)
        if made and isinstance(error, RunbookError):
            error.message += " What was made is taken back, as the plan says."


def _how_far(plan: Plan, actual: list[Actual]) -> str:
    """Which changes of a plan were made before one failed, and which were not begun."""
    made = [each.change.target for each in actual if not each.skipped]
    left = [change.target for change in plan.changes[len(actual) + 1 :]]
    return (
        f" Made before it: {', '.join(made) or 'nothing'}. Not begun: {', '.join(left) or 'none'}."
    )


class _Steps:
    """Intents and results of one change, one for each of its steps."""

    def __init__(
        self,
        clients: Clients,
        run: Run,
        locks: Locks,
        index: int,
        change: Change,
        progress: Progress,
    ) -> None:
        self._clients = clients
        self._journal = run.journal
        self._locks = locks
        self._index = index
        self._change = change
        self._progress = progress

    @contextmanager
    def step(self, detail: Mapping[str, Json]) -> Iterator[Step]:
        """Intent on entering, result on leaving; on an error, whatever the world says of it."""
        self._locks.renew()
        change = self._change
        step = Step(self._journal.intent(self._index, change.kind, change.target, detail), {})
        try:
            yield step
        except BaseException as error:  # an interrupt leaves a mutation as open as an error does
            settle(self._clients, change, step.intent, self._journal, by=repr(error)[:200])
            raise
        self._journal.result(step.intent, "done", step.left)

    def progress(self, done: int, total: int) -> None:
        self._progress(self._change.target, done, total)
