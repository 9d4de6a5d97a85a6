"""Usage written down by the product's own script, in a task of its own: for every month.

    found = usage_script.read(rb.clients)
    found.table(), found.plan(run=rb.clients.run_id)

Somebody who writes usage without the lock that all share is looked for first, and it is refused.
The script holds that lock, and writes one row for each counter that is
ahead of the table; counters that are behind it leaves alone. Run again it finds nothing left, so
whatever is cut off or repeated writes nothing twice.

Kind of change: `usage-script`, a set of rows; a row is one counter that is ahead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, Plan, RowSet
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotVerified
from runbook.record.journal import Intent
from runbook.settings import UsageScript
from runbook.studio import one_off, usage, usage_sync
from runbook.studio.usage_sync import Drift, Drifts

KIND = "usage-script"


@dataclass(frozen=True)
class Ahead(Drifts):
    """Counters of every month that are ahead of the table, and stay so."""

    script: UsageScript | None = None

    def plan(self, *, run: str) -> Plan:
        """The plan that has the script write what is missing. Pure. Raises BadInput: there is
        none."""
        script = _named(self.script)
        months = sorted({one.month for one in self.drifts})
        missing = sum(one.missing for one in self.drifts)
        rows = [
            {
                "key": one.key,
                "before": {"counted": one.counted, "written": one.written},
                "after": {"difference": 0},
            }
            for one in self.drifts
        ]
        change = Change(
            KIND,
            usage_sync.TARGET,
            before={"not written": missing, "rows": len(rows)},
            after={"not written": 0, "rows": len(rows)},
            reversible=False,
            rows=RowSet.of({"run": run}, rows),
        )
        told = f"{months[0]} to {months[-1]}" if len(months) > 1 else "".join(months)
        return Plan(
            title=f"Have {' '.join(script.command)} write what {len(rows):,} counters of {told} "
            "have and the table has not",
            risk="low",
            changes=(change,) if rows else (),
            way_back="There is none, and none is needed: what was used is written.",
            warnings=(
                f"Runs in a task of its own with the task definition of {script.service}.",
                "What is counted until then is written with it.",
            ),
        )


def read(clients: Clients) -> Ahead:
    """Counters of every month that are ahead of the table, and stay so for as long as a flush."""
    first = _missing(clients)
    if first:
        time.sleep(clients.environment.promises.usage_settles_in_s)
    now = _missing(clients) if first else {}
    stay = [one for key, one in now.items() if key in first and first[key].missing == one.missing]
    script = clients.environment.usage.script
    return Ahead("every month", tuple(sorted(stay, key=lambda one: one.key)), script=script)


def _missing(clients: Clients) -> dict[str, Drift]:
    counters = usage.read_counters(clients.redis, clients.database)
    return {
        key: Drift(key, one.user, one.kind, one.counted, one.written)
        for key, one in counters.items()
        if one.apart > 0
    }


def _named(script: UsageScript | None) -> UsageScript:
    if script is None:
        raise BadInput(
            "This environment does not name the product's script (usage: {script: …}).",
            next="Name it there, or give by=runbook.",
        )
    return script


# the kind of change


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Run the script once, and look at every counter. Raises Refused, Failed and NotVerified."""
    script = _named(clients.environment.usage.script)
    usage_sync.refuse_other_writers(clients)
    with steps.step({"counters": change.before["rows"]}) as step:
        ended = one_off.run(
            clients,
            service=script.service,
            command=script.command,
            token=step.intent.id,
            say=lambda line: print(line, flush=True),
        )
        if ended.exit_code:
            raise Failed(
                f"{' '.join(script.command)} ended with {ended.exit_code}: {ended.telling}",
                next="It writes in one transaction: look whether counters are ahead still.",
            )
        step.left["task"] = ended.task
    if left := _still_ahead(clients, rows):
        raise NotVerified(
            f"{left:,} counters are as far ahead of the table as before.",
            next="Look at usage_logs and the counters before doing anything else.",
        )
    total = change.before["rows"]
    return {"not written": 0, "rows": total, "as_left": total}


def _still_ahead(clients: Clients, rows: Rows) -> int:
    """How many counters of the set are at least as far ahead as they were planned to be."""
    now = _missing(clients)
    planned = {row["key"]: row["before"]["counted"] - row["before"]["written"] for row in rows}
    return sum(now[key].missing >= amount for key, amount in planned.items() if key in now)


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    if rows is None:
        return Judgement("moved", ("its counters are not on record",))
    return Judgement("to do" if _still_ahead(clients, rows) else "holds")


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """None while its task runs; then by its exit code, or, forgotten, whether nothing is ahead."""
    if one_off.is_running(clients, intent.id):
        return None
    code = one_off.exit_code(clients, intent.id)
    return not _missing(clients) if code is None else code == 0


def _nothing(clients: Clients, target: str) -> Any:
    """A set is judged counter by counter."""
    return {}


register(
    KIND,
    read=_nothing,
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=lambda change: {"counters": change.rows.count if change.rows else 0},
)
