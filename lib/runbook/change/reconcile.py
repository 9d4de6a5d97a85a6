"""Reconcile: an intent without a result is looked up in the world, and the truth recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runbook.change import saved
from runbook.change.kinds import kind_of
from runbook.change.lock import leases
from runbook.change.plan import Change, Json, Plan, restrict
from runbook.clients import Clients
from runbook.record import ledger
from runbook.record.journal import Intent, Journal
from runbook.record.runs import Run
from runbook.record.store import Store


@dataclass(frozen=True)
class Finding:
    """What one interrupted intent came to: `done`, `failed` (not done), `unknown` (yet), or
    `given up`: somebody has looked, and it cannot be told any more."""

    run: str
    target: str
    outcome: str


def settle(clients: Clients, change: Change, intent: Intent, journal: Journal, *, by: str) -> str:
    """Read the world, record what an interrupted intent came to, and return the outcome.

    While the world does not answer, or cannot tell yet, nothing is recorded and the intent stays
    open: the outcome is `unknown`.
    """
    kind = kind_of(change)
    try:
        happened = kind.settled(clients, change, intent)
        found = restrict(kind.read(clients, change.target), change.after) if happened else None
    except Exception as error:  # whatever it is, the truth is not known and the intent stays open
        journal.write("not_settled", id=intent.id, because=repr(error)[:500])
        return "unknown"
    if happened is None:
        return "unknown"
    outcome = "done" if happened else "failed"
    journal.result(intent, outcome, {"found": found} if happened else None, by=by)
    return outcome


def reconcile(
    clients: Clients, store: Store, *, by: str, give_up: str = "", reason: str = ""
) -> Iterator[Finding]:
    """Settle every open intent of every run whose process is gone.

    `give_up` names a run of which whatever cannot be told is closed for the `reason` given: a
    target that somebody has moved to something else since looks like one that is still on its way,
    and only a person can say that it is not.
    """
    for run in cut_off(store):
        plan = _plan_of(run)
        for intent in run.journal.unresolved():
            change = plan.changes[intent.change]
            if intent.detail.get("takes_back"):
                change = change.inverse()
            with ledger.later(run) as journal:
                outcome = settle(clients, change, intent, journal, by=by)
                if outcome == "unknown" and run.id == give_up:
                    outcome = "given up"
                    detail = {"found": _found(clients, change), "reason": reason}
                    journal.result(intent, outcome, detail, by=by)
            yield Finding(run.id, intent.target, outcome)


def _found(clients: Clients, change: Change) -> Json:
    """What there is now, as far as it lets itself be read."""
    try:
        return restrict(kind_of(change).read(clients, change.target), change.after)
    except Exception as error:
        return {"not read": repr(error)[:200]}


def cut_off(store: Store) -> Iterator[Run]:
    """Runs with open intents that are not at work: gone, or without a lock; oldest first.

    A kernel can outlive what it failed to finish: its process is there, its locks are not.
    """
    at_work = {lease.run for lease in leases(store) if not lease.abandoned}
    for key in store.keys("runs"):
        if not key.endswith("/journal.jsonl"):
            continue
        run = Run(store, key.split("/")[1])
        if run.id not in at_work and run.journal.unresolved():
            yield run


def _plan_of(run: Run) -> Plan:
    """The plan that a run was applying: it may be another run's."""
    digest = next(
        entry["digest"] for entry in run.journal.entries() if entry["entry"] == "applying"
    )
    return saved.find(run.store, digest).plan
