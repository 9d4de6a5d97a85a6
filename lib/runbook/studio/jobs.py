"""Jobs: background work in the table `jobs`, and what to do with those that are stuck.

The product's workers take a job by setting it to `processing`; a worker that dies leaves it so.
`updated_at` is a timestamp without time zone that holds UTC. How often a job was tried stands in
`payload_json` (`attempts`).

Source: the runbook, 2.6 Clear Stuck Jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Plan
from runbook.errors import BadInput
from runbook.picture import Picture
from runbook.studio.copying import copy_out
from runbook.studio.rows import Row, plan_update, times_as_of
from runbook.studio.rows import Table as SqlTable
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

JOBS = SqlTable("jobs", key="id", stamp="updated_at", columns=("status", "updated_at"))
OUTCOMES = {"pending": "try again", "failed": "give up"}

_STUCK = """
    SELECT id::text, user_id::text, kind, status, created_at, updated_at,
           coalesce((payload_json ->> 'attempts')::int, 1) AS attempts,
           extract(epoch FROM (now() AT TIME ZONE 'UTC') - updated_at)::float / 60 AS age_minutes
    FROM jobs
    WHERE status = 'processing'
      AND updated_at < (now() AT TIME ZONE 'UTC') - make_interval(mins => %(minutes)s)
    ORDER BY updated_at, id
"""
_COUNTS = "SELECT status, count(*) AS jobs FROM jobs GROUP BY status ORDER BY status"


def find_stuck(database: sqlalchemy.Engine, *, older_than_minutes: int) -> pd.DataFrame:
    """Jobs in `processing` that nobody has touched for longer than that, oldest first.

    Columns: id, user_id, kind, status, created_at, updated_at (UTC, naive as in the table),
    attempts, age_minutes (since `updated_at`). Raises BadInput for an age below one minute.
    """
    if older_than_minutes < 1:
        raise BadInput(f"older_than_minutes: expected 1 or more, found {older_than_minutes}.")
    return copy_out(database, _STUCK, minutes=older_than_minutes)


def counts(database: sqlalchemy.Engine) -> pd.DataFrame:
    """All jobs by status. Columns: jobs; index: status."""
    import pandas as pd
    import sqlalchemy

    with database.connect() as connection:
        return pd.read_sql_query(sqlalchemy.text(_COUNTS), connection, index_col="status")


def by_kind(stuck: pd.DataFrame) -> pd.DataFrame:
    """Stuck jobs by kind, most first. Columns: jobs, oldest_minutes, most_attempts, retried.

    `retried` counts jobs that were tried more than once: the ones that keep getting stuck.
    """
    table = stuck.groupby("kind").agg(
        jobs=("id", "size"),
        oldest_minutes=("age_minutes", lambda ages: int(ages.max())),
        most_attempts=("attempts", "max"),
        retried=("attempts", lambda attempts: int((attempts > 1).sum())),
    )
    return table.sort_values(["jobs", "oldest_minutes"], ascending=False)


def repeaters(stuck: pd.DataFrame, *, rows: int = 10) -> Table:
    """Users whose jobs keep getting stuck, those with the most attempts first, to be read.

    `retried` of a user's stuck jobs were tried before; what they have in common is the trouble.
    """
    import pandas as pd

    again = stuck[stuck.attempts > 1].assign(user=lambda frame: frame.user_id.fillna("(nobody's)"))
    by_user = again.groupby("user").agg(
        retried=("id", "size"),
        most_attempts=("attempts", "max"),
        kinds=("kind", lambda kinds: ", ".join(sorted(set(kinds)))),
        example=("id", "min"),
    )
    ordered = by_user.sort_values(["most_attempts", "retried"], ascending=False, kind="stable")
    frame = ordered.head(rows).reset_index() if len(again) else pd.DataFrame()
    return Table(frame, empty="No stuck job was tried before.")


def plot_ages(stuck: pd.DataFrame) -> Picture:
    """How long jobs have been stuck, stacked by kind: one dead worker shows as one hump."""
    figure, axes = picture.strip()
    if len(stuck):
        kinds = list(by_kind(stuck).index)
        minutes = [stuck.loc[stuck.kind == kind, "age_minutes"] for kind in kinds]
        span = (0, 1.05 * stuck.age_minutes.max())
        axes.hist(minutes, bins=60, range=span, stacked=True, label=kinds)
        axes.legend(frameon=False, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no job is stuck", ha="center", transform=axes.transAxes)
    axes.set(xlabel="minutes in processing", ylabel="jobs")
    return Picture(figure, says=f"{len(stuck):,} stuck jobs by their age, stacked by kind")


def plan_requeue(stuck: pd.DataFrame, *, outcome: str, at_most: int) -> Plan:
    """The plan that sets stuck jobs to `outcome`: the oldest, and never more than `at_most`.

    Pure. A plan without changes when none is stuck. Raises BadInput for another outcome than
    `pending` or `failed`, and for a cap below one.
    """
    if outcome not in OUTCOMES:
        raise BadInput(f"outcome: expected {' or '.join(OUTCOMES)}, found {outcome!r}.")
    if at_most < 1:
        raise BadInput(f"at_most: expected 1 or more, found {at_most}.")
    chosen = stuck.head(at_most)
    noun = "job" if len(chosen) == 1 else "jobs"
    changes: tuple[Change, ...] = ()
    if len(chosen):
        before: Row = {"status": "processing"}
        after: Row = {"status": outcome}
        changes = (
            plan_update(
                JOBS,
                (
                    {"key": key, "before": {"updated_at": moment}}
                    for key, moment in zip(
                        chosen.id.tolist(), times_as_of(chosen.updated_at), strict=True
                    )
                ),
                before={**before, "rows": len(chosen)},
                after={**after, "rows": len(chosen)},
                every={"before": before, "after": {**after, "updated_at": KNOWN_AFTER_APPLY}},
            ),
        )
    return Plan(
        title=f"Set {len(chosen):,} stuck {noun} to {outcome} ({OUTCOMES[outcome]})",
        risk="low",
        changes=changes,
        way_back="undo sets back each job that nobody has touched since; it costs nothing.",
        warnings=tuple(_warnings(stuck, chosen, outcome)),
    )


def _warnings(stuck: pd.DataFrame, chosen: pd.DataFrame, outcome: str) -> list[str]:
    warnings = []
    if len(stuck) > len(chosen):
        warnings.append(
            f"{len(stuck) - len(chosen):,} more are stuck than at_most allows; run this again."
        )
    if outcome == "pending" and len(chosen):
        warnings.append("A job whose worker is slow and not dead would be done twice.")
    if outcome == "failed" and (chosen.kind == "payment_webhook").any():
        count = int((chosen.kind == "payment_webhook").sum())
        warnings.append(f"{count:,} payment webhooks would be given up: somebody has paid.")
    return warnings


def findings(stuck: pd.DataFrame, left: pd.DataFrame) -> dict[str, Any]:
    """What was found, as data: `stuck` at first, `left` after all that was done."""
    return {
        "status": "warning" if len(left) else "ok",
        "stuck": len(stuck),
        "left": len(left),
        "oldest_minutes": int(stuck.age_minutes.max()) if len(stuck) else 0,
        "by_kind": {str(kind): int(count) for kind, count in stuck.kind.value_counts().items()},
    }
