"""What a notebook sees: `rb = Runbook("clear-stuck-jobs", environment)`, then plan, apply, verify.

A section runs in one of three ways, and its cells are the same in all of them:

- headless, under our runner: an empty `apply` plans, a plan's digest applies exactly that plan;
- interactive, in JupyterLab: an empty `apply` shows the plan and asks for its digest to be typed;
- bare, under anything else (plain papermill, nbconvert): it only plans, and says so.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from runbook import settings
from runbook.change import render
from runbook.change.door import Door, Outcome
from runbook.change.plan import SHORTEST_NAME, Change, Origin, Plan
from runbook.change.render import Page
from runbook.change.saved import SavedPlan, rows_of
from runbook.change.undo import plan_undo
from runbook.clients import Clients
from runbook.errors import BadInput, Declined, NotVerified, Refused, RunbookError
from runbook.headline import Headline, Status
from runbook.incident import notify, resolving, room
from runbook.incident.room import Room
from runbook.record import outgoing, redaction
from runbook.record.outgoing import Outgoing
from runbook.record.runs import Run, find_run, runs
from runbook.record.store import Store
from runbook.run import request, sections
from runbook.run.scribe import Scribe
from runbook.run.verdict import seal

if TYPE_CHECKING:
    import redis
    import sqlalchemy

Mode = Literal["headless", "interactive", "bare"]


class Planned:
    """A plan on record, as a cell shows it."""

    def __init__(self, saved: SavedPlan | None, page: Page) -> None:
        self.saved = saved
        self._page = page

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is changed when it is applied; nothing where nothing has to be."""
        return self.saved.plan.changes if self.saved else ()

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of all rows that the plan changes, for a check of what became of them."""
        if self.saved is None:
            return frozenset()
        sets = [rows_of(self.saved, change) for change in self.saved.plan.changes]
        return frozenset(row["key"] for rows in sets if rows for row in rows)

    def _repr_html_(self) -> str:
        return render.html(self._page)

    def __repr__(self) -> str:
        return render.text(self._page)


class Runbook:
    """One section at work in one environment.

    The account and region of the credentials are compared with the environment's before anything
    else. Raises BadInput (no such section or environment), WrongAccount and NotReachable.
    """

    def __init__(self, section: str, environment: str) -> None:
        self.section = sections.find(section)
        self.environment = settings.load(environment)
        self.mode = _mode()
        self._run = self._join() if self.mode == "headless" else self._begin()
        self.clients = Clients(self.environment, run_id=self._run.id)
        self._outcome: Outcome | None = None
        sent = _guard()
        if self.mode == "interactive" and sent:
            Scribe(self._run, sent, before=_cells_so_far())
        self._listen()
        identity = self.clients.identity
        self._run.update(operator=identity.name, principal=identity.principal)

    @property
    def database(self) -> sqlalchemy.Engine:
        """The Studio's database, for reading: the server refuses every write."""
        return self.clients.database

    @property
    def redis(self) -> redis.Redis:
        """The Studio's Redis."""
        return self.clients.redis

    def aws(self, service: str) -> Any:
        """A client of an AWS service in the active region."""
        return self.clients.aws(service)

    def plan(self, plan: Plan) -> Planned:
        """Put a plan on record and show it; nothing is changed.

        When a digest is to be applied, the plan of that digest is shown instead: what was
        reviewed, not what would be planned now. Raises GuardrailHit and a Refused for a digest
        that cannot be applied here.
        """
        if self._apply and self._apply != request.UNATTENDED:
            return self._planned(self._reviewed(self._apply))
        if not plan.changes:
            self._run.journal.write("nothing_to_do", title=plan.title)
            return Planned(None, render.plan_page(plan))
        origin = Origin(
            environment=self.environment.name,
            account=self.environment.account,
            section=self.section.slug,
            notebook_sha256=sections.code_sha256(self.section.content),
            parameters=request.effective(self.section, self._parameters()),
        )
        return self._planned(self._door().save(replace(plan, origin=origin)))

    def apply(self, planned: Planned, apply: str) -> Page | None:
        """Apply exactly this plan if `apply` says so, then read back; shows what was found.

        Empty: nothing, or, in JupyterLab, the question. Raises a Refused before anything is
        changed and a Failed after that.
        """
        if planned.saved is None:
            return None
        digest = planned.saved.digest
        if self.mode == "bare":
            self._refuse_bare(apply)
            return None
        if apply == request.UNATTENDED:
            request.refuse_unless_unattended(self.section.slug, self.environment)
        elif not apply and self.mode == "interactive":
            _ask(planned.saved)
        elif not apply:
            print("Nothing was changed: this is a plan. The command above applies exactly it.")
            return None
        self._outcome = self._door().apply(planned.saved)
        can_undo = self.applied and planned.saved.plan.reversible
        undo = f"./runbook undo {self._run.id}" if can_undo else ""
        print(f"Applied {digest[: len('plan-') + SHORTEST_NAME]} and read back.")
        return render.outcome_page(self._outcome, undo=undo)

    @property
    def applied(self) -> bool:
        """Whether this run has brought a plan to its end: then there is something to follow.

        Also when a run that was cut off had made its last change already.
        """
        return bool(self._outcome and self._outcome.state == "applied")

    def undo_of(self, run: str = "") -> Plan:
        """The plan that takes back an applied run; empty: the last one that changed something.

        Reads the record only. Raises BadInput (nothing was applied) and Refused (cut off, or it
        cannot be undone).
        """
        return plan_undo(Run(self._run.store, run) if run else self._last_applied())

    def verify(self, holds: bool, sentence: str) -> None:
        """Say that what the section set out to reach is so. Raises NotVerified when it is not.

        Before anything was applied there is nothing to verify, and that is what is said.
        """
        if self._outcome is None:
            print(f"Not applied, so not verified yet: {sentence}")
        elif holds:
            print(f"Verified: {sentence}")
        else:
            raise NotVerified(
                f"Applied, but it is not so that {sentence[0].lower()}{sentence[1:]}",
                next=f"Look at what is there, or take it back: ./runbook undo {self._run.id}",
            )

    def found(self, status: Status = "ok", *, says: str = "", **data: Any) -> Headline | None:
        """Put what the section found on record, as data: `result` of `run --json`.

        `says` is one sentence for a reader in a hurry: it is the cell's value, with the status.
        """
        told = {"says": says} if says else {}
        self._run.update(result=redaction.mask_all({"status": status, **told, **data}))
        return Headline(status, says) if says else None

    @property
    def may_write(self) -> bool:
        """Whether this run may write into the record's books: not without our engine."""
        return self.mode != "bare"

    def incident(self, name: str = "") -> Room:
        """The room of an incident: of this name, of this run, or the only one that is open.

        The run is filed under it. Raises BadInput: there is none, or more than one.
        """
        found = room.enter(self._run.store, self.clients, name or self._filed_under(),
                           by=self.clients.identity.name)  # fmt: skip
        self._run.update(incident=found.id)
        return found

    def acknowledge(self, *, title: str, severity: str, role: str, incident: str) -> Room | None:
        """Open an incident, or join one, and say that this person is on it; the team is told.

        Nothing is opened where the engine is missing. Raises BadInput.
        """
        if not self.may_write:
            print("Nothing was opened or told: without the runbook's engine a section only looks.")
            return None
        me = self.clients.identity.name
        if title and not (incident or self._filed_under()):
            found, _ = room.open_room(
                self._run.store, self.clients, title=title, severity=severity, by=me, tell=False
            )
            self._run.update(incident=found.id)
        else:
            found = self.incident(incident)
            found.refuse_if_over()
        found.acknowledge(f"{me} is on it")
        if role:
            found.take_role(role, me)
        found.tell(f"{me} is on it{role and f', as {role}'}. Assess is next.")
        return found

    def watch(self, room: Room, *, minutes: float = 0) -> resolving.Watched:
        """Watch the Studio until it has been well for that long (0: the environment's time).

        Writes into the incident's book that it is resolved, or open again, and tells the team.
        Without the engine it looks once.
        """
        environment = self.clients.environment
        if not self.may_write:
            print("Looked at once, and nothing written: the runbook's engine is missing.")
            return resolving.look_once(lambda: resolving.studio(self.clients))
        room.refuse_if_over()
        return resolving.watch(
            room,
            lambda: resolving.studio(self.clients),
            minutes=minutes or environment.incidents.watch_minutes,
            settle_minutes=environment.incidents.settle_minutes,
            factor=environment.waits.factor,
        )

    def _filed_under(self) -> str:
        name: str = self._run.read()["incident"] or ""
        return name

    def tell(self, text: str, *, subject: str) -> list[notify.Told]:
        """Tell the team, in Slack and by mail; gives how each went. Never before anything is done.

        What has not changed anything tells nobody.
        """
        return notify.tell(self.clients, text, subject=subject) if self.applied else []

    @property
    def record(self) -> Store:
        """The record that this run is kept in."""
        return self._run.store

    def keep(self, name: str, text: str) -> str:
        """Put a text beside the executed copy, masked; gives where it is."""
        self._run.store.write(self._run.key(name), redaction.mask(text).encode())
        return self._run.store.where(self._run.key(name))

    def where(self) -> Page:
        """Where am I: environment, account, region, identity, run."""
        return render.facts_page(
            self.section.title,
            f"{self.environment.name}, {self.mode}",
            {
                "account": f"{self.environment.account}, {self.environment.regions.current}",
                "identity": self.clients.identity.name,
                "record": f"run {self._run.id}",
            },
        )

    def _repr_html_(self) -> str:
        return render.html(self.where())

    def __repr__(self) -> str:
        return render.text(self.where())

    @property
    def _apply(self) -> str:
        value: str = self._parameters().get("apply", "")
        return value

    def _reviewed(self, digest: str) -> SavedPlan:
        planned = self._door().find(digest)
        origin = planned.plan.origin
        if origin is None or origin.section != self.section.slug:
            raise Refused(f"plan {planned.plan.short} was not made by {self.section.slug}.")
        request.refuse_if_other_code(planned.plan, self.section)
        mine = request.effective(self.section, self._parameters())
        if mine != origin.parameters:
            raise Refused(
                f"plan {planned.plan.short} was made with {dict(origin.parameters)}, "
                f"the parameters here are {mine}.",
                next="Set the parameters that it was made with, or plan again.",
            )
        return planned

    def _last_applied(self) -> Run:
        for about in runs(self._run.store):
            if about.get("changes_applied"):
                return Run(self._run.store, about["run_id"])
        raise BadInput("No run has changed anything yet; there is nothing to undo.")

    def _planned(self, saved: SavedPlan) -> Planned:
        command = request.command(self.section.slug, saved.digest, self.environment.name)
        expires = f"{saved.expires_at:%Y-%m-%d %H:%M} UTC"
        return Planned(saved, render.plan_page(saved.plan, command=command, expires=expires))

    def _door(self) -> Door:
        return Door(self.clients, self._run, progress=_Progress())

    def _refuse_bare(self, apply: str) -> None:
        if apply:
            raise Refused(
                "Without the runbook's engine a section only plans.",
                next=f"Apply it by: ./runbook run {self.section.slug} --apply {apply}",
            )
        print("Nothing was changed: without the runbook's engine a section only plans.")

    def _parameters(self) -> Mapping[str, Any]:
        """The parameters as the notebook's cells have set them."""
        return _namespace()

    def _join(self) -> Run:
        """The run that our runner has begun for this kernel."""
        run = find_run(self.environment, os.environ["RUNBOOK_RUN"])
        about = run.read()
        if about["section"] != self.section.slug:
            raise BadInput(
                f"This notebook says it is {self.section.slug}; it was run as {about['section']}."
            )
        run.join()
        return run

    def _begin(self) -> Run:
        run = Run.begin(
            self.environment,
            section=self.section.slug,
            notebook_sha256=sections.code_sha256(self.section.content),
            parameters=request.effective(self.section, self._parameters()),
            mode=self.mode,
            apply=self._apply,
            incident=os.environ.get(request.INCIDENT, ""),
            spool=self.section.may_spool,
        )
        atexit.register(lambda: seal(run, None))
        return run

    def _listen(self) -> None:
        """Put an error that stops a cell on record, with all that it knows of itself."""
        shell = _shell()
        if shell is not None:
            shell.events.register("post_run_cell", self._after_cell)

    def _after_cell(self, result: Any) -> None:
        error = result.error_in_exec or result.error_before_exec
        if error is None:
            return
        known = isinstance(error, RunbookError)
        self._run.journal.write(
            "stopped",
            **{"class": type(error).__name__},
            message=redaction.mask(error.message if known else str(error)[:2000]),
            next=error.next if known else "",
            refused=isinstance(error, Refused),
        )


class _Progress:
    """A line that counts, at most twice a second; nothing for what is over at once."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, target: str, done: int, total: int) -> None:
        if time.monotonic() - self._last > 0.5:
            self._last = time.monotonic()
            print(f"{target}: {done:,} of {total:,}", flush=True)


def _ask(planned: SavedPlan) -> None:
    """Ask for the digest's first six characters: typed, never a reflex Enter. Raises Declined."""
    from IPython.display import display

    display(render.plan_page(planned.plan))
    answer = input(f"To apply it, type {planned.plan.short} (anything else changes nothing): ")
    if answer.strip().lower() != planned.plan.short:
        raise Declined(
            f"plan {planned.plan.short} was not applied; nothing was changed.",
            next="Run the cell again to be asked again.",
        )


def _guard() -> Outgoing | None:
    """Mask all that this kernel sends from now on; without a kernel there is nothing to mask."""
    session = getattr(getattr(_shell(), "kernel", None), "session", None)
    return outgoing.guard(session) if session else None


def _cells_so_far() -> list[str]:
    """The code of the cells that this kernel has run, with the one that runs now."""
    return [code for code in _namespace().get("In", ()) if code]


def _mode() -> Mode:
    if os.environ.get("RUNBOOK_RUN"):
        return "headless"
    kernel = getattr(_shell(), "kernel", None)
    # whether the client that sent this cell can answer a question
    return "interactive" if getattr(kernel, "_allow_stdin", False) else "bare"


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _namespace() -> Mapping[str, Any]:
    shell = _shell()
    return shell.user_ns if shell else vars(sys.modules["__main__"])
