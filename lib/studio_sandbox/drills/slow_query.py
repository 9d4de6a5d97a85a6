"""slow-query: a session holds a table for hours, and everybody else waits for it."""

from __future__ import annotations

import random
import signal

from studio_sandbox.drills import sessions
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio
from studio_sandbox.process import Identity

_SESSIONS = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = ANY (%(pids)s)"
_HOLDS = """
    SELECT application_name, (clock_timestamp() - xact_start)::interval(0)::text
    FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE pid = %(pid)s AND backend_start::text = %(began)s
      AND granted AND mode = 'AccessExclusiveLock' AND relation = %(table)s::regclass
"""


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "table": dice.choice(("files", "subscriptions", "usage_logs", "users")),
        "application": dice.choice(("metabase", "nightly-export", "psql", "dbeaver")),
        "stubborn": dice.random() < 0.5,  # whether it begins again when it is only cancelled
        "waiting": dice.randint(2, 4),
    }


def _start(studio: Studio, details: Details) -> None:
    order = {"url": studio.database_url, **details}
    process, pids = sessions.start(studio.box.folder, order)
    details["process"] = [process.pid, process.created]
    everybody = [pids["blocker"], *pids["waiters"]]
    began = dict(studio.rows(_SESSIONS, pids=everybody))
    details["blocker"] = [pids["blocker"], began[pids["blocker"]]]
    details["waiters"] = [[pid, began[pid]] for pid in pids["waiters"]]


def _judge(studio: Studio, details: Details) -> list[str]:
    """The table is free, and nobody was ended who only waited for it."""
    pid, began = details["blocker"]
    findings = [
        f"{application} has held {details['table']} for {since}"
        for application, since in studio.rows(_HOLDS, pid=pid, began=began, table=details["table"])
    ]
    waiters = {(pid, began) for pid, began in details["waiters"]}
    alive = set(studio.rows(_SESSIONS, pids=[pid for pid, _ in waiters]))
    if ended := len(waiters - alive):
        findings.append(f"{ended} sessions were ended that only waited")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    """All these sessions are gone, and so is whoever had them."""
    if "process" not in details:
        return
    process = Identity(*details["process"])
    process.send(signal.SIGKILL)
    studio.until(lambda: not process.alive(), "the drill's own process is gone")
    ours = [details["blocker"], *details["waiters"]]
    pids = [pid for pid, _ in ours]
    for pid, began in studio.rows(_SESSIONS, pids=pids):
        if [pid, began] in ours:  # the server has not noticed yet
            studio.rows("SELECT pg_terminate_backend(%(pid)s, 5000)", pid=pid)


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "end-query")


SLOW_QUERY = Drill(
    name="slow-query",
    symptom="Pages hang and then fail, though the database's CPU has nothing to do.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
)
