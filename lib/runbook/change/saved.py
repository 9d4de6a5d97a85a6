"""Saved plans: found by digest, good until they expire, used up once.

plans/<digest>/<run>/plan.json         the plan; who planned it, when, until when it holds
plans/<digest>/<run>/approval-….json   one for each identity that approved it
plans/<digest>/<run>/used.json         the run that applied it, and those it took it on from
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.change.plan import DIGEST_PREFIX, SHORTEST_NAME, Change, Json, Plan, RowSet, plain
from runbook.clients import Identity
from runbook.errors import (
    ApprovalMissing,
    BadInput,
    Failed,
    PlanExpired,
    PlanStale,
    PlanUnknown,
)
from runbook.record import ledger
from runbook.record.journal import Journal
from runbook.record.runs import Run
from runbook.record.store import AlreadyThere, Store
from runbook.settings import Approval

_AT_ONCE = 1 << 17  # bytes of a set's file


@dataclass(frozen=True)
class SavedPlan:
    """A plan on record, with the run that planned it."""

    plan: Plan
    run: Run
    planned_by: str  # the principal of whoever planned it
    saved_at: datetime
    expires_at: datetime

    @property
    def digest(self) -> str:
        return self.plan.digest

    def refuse_if_expired(self, now: datetime) -> None:
        """Raises PlanExpired, with how old it is."""
        if now >= self.expires_at:
            age = (now - self.saved_at).total_seconds() / 60
            raise PlanExpired(
                f"plan {self.plan.short} was made {age:.0f} min ago and held until "
                f"{self.expires_at:%H:%M:%S} UTC.",
                next="Plan again; it takes one run without --apply.",
            )

    def approvals(self, now: datetime) -> list[Mapping[str, Any]]:
        """Approvals that still hold, oldest first."""
        found = []
        for key in self.run.store.keys(self._key("")):
            stored = self.run.store.read(key) if "/approval-" in key else None
            if stored:
                approval = json.loads(stored.data)
                holds = datetime.fromisoformat(approval["expires_at"]) > now
                if holds and approval["digest"] == self.digest:
                    found.append(approval)
        return sorted(found, key=lambda approval: str(approval["at"]))

    def approve(self, by: Identity, *, now: datetime, holds_for: timedelta) -> None:
        """Record that `by` approves this plan. Raises ApprovalMissing for one's own plan."""
        if by.principal == self.planned_by:
            raise ApprovalMissing(
                f"{by.name} planned {self.plan.short}; nobody approves their own plan.",
                next="Ask a colleague, or name another identity: --profile NAME",
            )
        self.refuse_if_expired(now)
        name = hashlib.sha256(by.principal.encode()).hexdigest()[:12]
        approval = {
            "digest": self.digest,
            "principal": by.principal,
            "name": by.name,
            "at": now.isoformat(),
            "expires_at": (now + holds_for).isoformat(),
        }
        self.run.store.write(self._key(f"approval-{name}.json"), _dump(approval))
        with ledger.later(self.run) as journal:
            journal.write("approval", **approval)

    def refuse_unless_approved(self, wanted: Approval, applier: Identity, now: datetime) -> None:
        """Raises ApprovalMissing while fewer than the wanted number of others have approved."""
        if self.plan.risk not in wanted.risks:
            return
        others = {
            approval["principal"]
            for approval in self.approvals(now)
            if approval["principal"] not in (self.planned_by, applier.principal)
        }
        if len(others) < wanted.count:
            raise ApprovalMissing(
                f"A {self.plan.risk} plan needs {wanted.count} approval(s) by somebody else; "
                f"{self.plan.short} has {len(others)}.",
                next=f"A colleague runs: ./runbook approve {DIGEST_PREFIX}{self.plan.short}",
            )

    def used_by(self) -> str:
        """The run that applied it; empty while none has."""
        return self._users()[-1] if self._users() else ""

    def is_unfinished(self) -> bool:
        """Whether a run has begun to apply it, and has not come to its end."""
        last = self.used_by()
        return bool(last) and not self._was_applied(last)

    def left(self) -> dict[int, Json]:
        """What runs that did not come to its end have left of the changes that they made, the
        whole or a part, by position."""
        if not self.is_unfinished():
            return {}
        journals = [Journal(self.run.store, one) for one in self._users()]
        return {intent.change: left for one in journals for intent, left in one.done()}

    def appliers(self, run: Run) -> list[Run]:
        """The runs that have applied it up to this one: those that it was taken on from first."""
        known = self._users()
        earlier = known[: known.index(run.id)] if run.id in known else []
        return [*(Run(self.run.store, one) for one in earlier), run]

    def refuse_if_applied(self) -> None:
        """Raises PlanStale when a run has applied it to its end."""
        last = self.used_by()
        if last and self._was_applied(last):
            raise PlanStale(
                f"plan {self.plan.short} was applied by run {last}; a plan is used once.",
                next="Plan again: it will show what is left to do, if anything.",
            )

    def use(self, run: Run, now: datetime) -> None:
        """Use the plan up for `run`, or take it on from a run that did not come to its end.

        Raises PlanStale when another run has applied it already: its journal says so before its
        verdict does.
        """
        store, key = self.run.store, self._key("used.json")
        about = {"run": run.id, "at": now.isoformat(), "earlier": []}
        try:
            store.create(key, _dump(about))
            return
        except AlreadyThere:
            found, known = store.read(key), self._users()
        self.refuse_if_applied()
        about["earlier"] = [one for one in known if one != run.id]
        store.replace(key, _dump(about), version=found.version if found else "")

    def _users(self) -> list[str]:
        """The runs that have begun to apply it, oldest first: each took it on from the last."""
        stored = self.run.store.read(self._key("used.json"))
        found = json.loads(stored.data) if stored else {}
        return [*found.get("earlier", ()), found["run"]] if found else []

    def _was_applied(self, run_id: str) -> bool:
        return any(
            entry["entry"] == "applied" and entry.get("digest") == self.digest
            for entry in Journal(self.run.store, run_id).entries()
        )

    def rows(self, rows: RowSet) -> RowFile:
        """The rows of one of its changes. Raises Failed when the file is not what was reviewed."""
        stored = self.run.store.read(self.run.key(rows.name))
        if stored is None or hashlib.sha256(stored.data).hexdigest() != rows.sha256:
            raise Failed(
                f"{rows.name} of run {self.run.id} is not the file that plan "
                f"{self.plan.short} was made with.",
                next="Plan again, and find out who touched the record: ./runbook verify",
            )
        return RowFile(stored.data, swapped=rows.swapped)

    def _key(self, name: str) -> str:
        return f"{_folder(self.digest)}/{self.run.id}/{name}"


class RowFile:
    """The rows of a set, one at a time, with `before` and `after` exchanged when it is swapped."""

    def __init__(self, data: bytes, *, swapped: bool) -> None:
        self._data = data
        self._swapped = swapped
        self.header: Mapping[str, Json] = json.loads(data[: data.index(b"\n")])

    def __iter__(self) -> Iterator[dict[str, Json]]:
        every = self.header.get("every")
        rows = (_completed(row, every) for row in self._lines()) if every else self._lines()
        if self._swapped:
            rows = ({**row, "before": row["after"], "after": row["before"]} for row in rows)
        return iter(rows)

    def _lines(self) -> Iterator[dict[str, Json]]:
        """What each line says. Many are read at once: that is twice as fast as one by one."""
        start = self._data.index(b"\n") + 1
        while start < len(self._data):
            end = self._data.find(b"\n", start + _AT_ONCE)
            lines = self._data[start:end]  # -1: all but the last line break
            yield from json.loads(b"[%b]" % lines.replace(b"\n", b","))
            start = end + 1 or len(self._data)


def _completed(row: dict[str, Json], every: Mapping[str, Json]) -> dict[str, Json]:
    """The row, with what it has in common with every other."""
    for side, common in every.items():
        row[side] = {**common, **row[side]} if side in row else common
    return row


def save(plan: Plan, run: Run, *, by: Identity, now: datetime, holds_for: timedelta) -> SavedPlan:
    """Put a plan on record: in its run's folder, and where it is found by digest."""
    content = plain(plan.on_record(), "the plan")  # a secret may be known by now
    for change in plan.changes:
        if change.rows and change.rows.data:
            run.store.write(run.key(change.rows.name), change.rows.data)
    run.write_json("plan.json", content)
    saved = SavedPlan(plan, run, by.principal, now, now + holds_for)
    about = {
        "run": run.id,
        "planned_by": by.principal,
        "saved_at": now.isoformat(),
        "expires_at": saved.expires_at.isoformat(),
        "plan": content,
    }
    run.store.write(f"{_folder(plan.digest)}/{run.id}/plan.json", _dump(about))
    run.journal.write("plan", digest=plan.digest, title=plan.title, changes=len(plan.changes))
    return saved


def find(store: Store, digest: str) -> SavedPlan:
    """The newest saved plan of this digest, or of its first six or more hex characters.

    Raises BadInput (not a digest, or it fits two plans) and PlanUnknown.
    """
    wanted = digest.strip().lower().removeprefix(DIGEST_PREFIX)
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_NAME},64}}", wanted):
        raise BadInput(
            f"{digest!r} does not name a plan: expected plan- and at least "
            f"{SHORTEST_NAME} hex characters.",
            next="See the plans that wait: ./runbook plans",
        )
    found = [key for key in store.keys("plans") if _names(key, wanted)]
    digests = {key.split("/")[1] for key in found}
    if len(digests) > 1:
        raise BadInput(
            f"{digest} fits {len(digests)} plans.", next="Give more characters of the digest."
        )
    if not found:
        raise PlanUnknown(
            f"No saved plan begins with {digest}.",
            next="See the plans that wait: ./runbook plans",
        )
    return _load(store, max(found))


def waiting(store: Store, now: datetime) -> list[SavedPlan]:
    """Plans that can still be applied, newest first."""
    keys = [key for key in store.keys("plans") if key.endswith("/plan.json")]
    found = [_load(store, key) for key in keys]
    usable = [saved for saved in found if saved.expires_at > now and not saved.used_by()]
    return sorted(usable, key=lambda saved: saved.saved_at, reverse=True)


def rows_of(planned: SavedPlan, change: Change) -> RowFile | None:
    """The set of one of a saved plan's changes, if it has one."""
    return planned.rows(change.rows) if change.rows else None


def _load(store: Store, key: str) -> SavedPlan:
    about = _read(store, key)
    run, named = Run(store, key.split("/")[2]), key.split("/")[1]
    plan = _plan_in(about.get("plan", {}), named, run.id)
    copy = _read(store, run.key("plan.json"))
    if not _is_another(store, str(copy.get("digest")), named):
        _plan_in(copy, named, run.id)
    return SavedPlan(
        plan,
        run,
        about["planned_by"],
        datetime.fromisoformat(about["saved_at"]),
        datetime.fromisoformat(about["expires_at"]),
    )


def _read(store: Store, key: str) -> dict[str, Any]:
    stored = store.read(key)
    if stored is None:
        raise Failed(
            f"The record has lost {key}.", next="Find out what else is gone: ./runbook verify"
        )
    try:
        content = json.loads(stored.data)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


def _plan_in(content: Mapping[str, Any], named: str, run: str) -> Plan:
    """The plan as it was saved. Raises Failed when it is another than its digest names."""
    try:
        fields = {key: value for key, value in content.items() if key != "digest"}
        plan = Plan.from_json(fields)
        now = plan.digest
    except (TypeError, KeyError, ValueError, AttributeError, BadInput):
        plan, now = None, "unreadable"
    if plan is None or not now == content.get("digest") == DIGEST_PREFIX + named:
        raise Failed(
            f"The plan.json of run {run} was changed after it was saved: it is now "
            f"{now[:17]}, it was plan-{named[:12]}.",
            next="Find out who touched the record: ./runbook verify",
        )
    return plan


def _is_another(store: Store, digest: str, named: str) -> bool:
    """Whether a run's plan.json is another saved plan, which it made or applied since."""
    other = digest.removeprefix(DIGEST_PREFIX)
    return bool(re.fullmatch("[0-9a-f]{64}", other)) and (
        other != named and any(store.keys(f"plans/{other}"))
    )


def _names(key: str, wanted: str) -> bool:
    return key.startswith(f"plans/{wanted}") and key.endswith("/plan.json")


def _folder(digest: str) -> str:
    return f"plans/{digest.removeprefix(DIGEST_PREFIX)}"


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()
