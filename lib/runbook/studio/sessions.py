"""Sessions of the database: the one that is in others' way, and how it is made to let go.

    found = sessions.read(rb.clients, pid=0)      0: the one that most others wait for
    found.chain(), found.plan()
    found.again(rb.clients)

What is ended is one transaction, named by its session's process id and the time that it began: a
process id that the server has given to somebody else since, or the same session's next transaction,
is never hit. First its query is cancelled. A session that runs nothing, or is still in the way
after a while, is terminated. Neither can be taken back.

Kind of change: `database-transaction`; target `postgresql:transaction/PID@BEGAN`.

Source: https://www.postgresql.org/docs/current/functions-admin.html (pg_cancel_backend,
pg_terminate_backend). Both need `pg_signal_backend`, or the role of the session's owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.change.kinds import register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, Refused
from runbook.record.journal import Intent
from runbook.settings import Database
from runbook.studio import aurora
from runbook.table import Table
from runbook.wait import DeadlinePassed, Wait

if TYPE_CHECKING:
    import pandas as pd

KIND = "database-transaction"
_LOOK_EVERY_S = 0.2
_OVER = {"transaction": "over", "query": "none"}
_OPEN = ("active", "idle in transaction", "fastpath function call")

_READ = f"""
    SELECT backend_start AS began, coalesce(state, '') AS state, {aurora.SHOWN} AS query,
           xact_start = CAST(:began AS timestamptz) AS same,
           EXISTS (SELECT FROM pg_stat_activity o WHERE :pid = ANY (pg_blocking_pids(o.pid)))
               AS in_the_way
    FROM pg_stat_activity WHERE pid = :pid
"""  # noqa: S608  a constant of ours
_CANCEL = "pg_cancel_backend(pid)"
_TERMINATE = "pg_terminate_backend(pid)"
_THIS_TRANSACTION = "xact_start = CAST(:began AS timestamptz)"
_THIS_SESSION = "backend_start = :began"


@dataclass(frozen=True)
class Found:
    """All sessions at one moment, and the one that was asked for (0: whichever is in the way)."""

    sessions: pd.DataFrame
    settings: Database
    pid: int = 0

    def chain(self) -> Table:
        """Who waits for whom, as a tree."""
        return aurora.tree(aurora.chains(self.sessions))

    def chosen(self) -> Any:
        """The row of the session that is to be ended; None when nobody is in anybody's way.

        Raises BadInput when there is no such session, or it has no transaction.
        """
        pid = self.pid or self._root()
        if not pid:
            return None
        rows = self.sessions[self.sessions.pid == pid]
        if rows.empty:
            raise BadInput(
                f"pid {pid} is no client's session here: it has gone, or is the server's or the "
                "runbook's own.",
                next="See who is connected: inspect-database",
            )
        row = next(rows.itertuples())
        if row.state not in _OPEN:
            raise BadInput(
                f"pid {pid} is {row.state}: it holds nothing that anybody could wait for.",
                next="Leave pid at 0 to take whoever is in the way.",
            )
        return row

    def plan(self) -> Plan:
        """The plan that ends its transaction. Pure; without changes when nobody is in the way."""
        row = self.chosen()
        if row is None:
            return Plan("Nobody is in anybody's way", "high", (), way_back="Nothing is changed.")
        behind = self._behind(row.pid)
        return Plan(
            title=f"End what {_owner(row)} has had open in session {row.pid} for "
            f"{row.transaction_s:,.0f} s; {behind} wait behind it",
            risk="high",
            changes=(_change(row),),
            way_back="There is no way back: what it has not committed is lost. Its program can "
            "begin again.",
            warnings=(self._how(row), *self._doubts(row, behind)),
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        chain = aurora.chains(self.sessions)
        waiting = [one for one in chain if one.depth]
        longest = max((one.state_s for one in waiting), default=0.0)
        late = longest >= self.settings.limits.blocked_s
        root = self._root()
        return {
            "status": "ok" if not waiting else "critical" if late else "warning",
            "says": f"{len(waiting)} sessions wait for a lock, the longest for {longest:.0f} s; "
            f"{self._behind(root)} of them behind pid {root}."
            if waiting
            else "Nobody waits for a lock.",
            "waiting": len(waiting),
            "blocker": root,
        }

    def again(self, clients: Clients) -> Found:
        """The same, read anew."""
        return read(clients, pid=self.pid)

    def holds(self, change: Change) -> bool:
        """Whether somebody still waits behind the session of this change."""
        return any(_named(change.target)[0] in by for by in self.sessions.blocked_by)

    def _root(self) -> int:
        """Whom most others wait for, and who waits for nobody; 0 when nobody waits."""
        roots = [one for one in aurora.chains(self.sessions) if not one.depth]
        return max(roots, key=lambda one: one.behind).pid if roots else 0

    def _behind(self, pid: int) -> int:
        found = (one.behind for one in aurora.chains(self.sessions) if one.pid == pid)
        return next(found, 0)

    def _how(self, row: Any) -> str:
        if row.state == "idle in transaction":
            return "It runs nothing that could be cancelled, so the session itself is ended."
        return (
            f"Its query is cancelled; if it is still in the way {self.settings.let_go_s:g} s "
            "later, the session itself is ended."
        )

    def _doubts(self, row: Any, behind: int) -> list[str]:
        doubts = []
        if not behind:
            doubts.append("Nobody waits for it: ending it frees nobody.")
        if len(row.blocked_by):
            doubts.append(f"It waits itself, for pid {row.blocked_by[0]}: look at that one first.")
        return doubts


def read(clients: Clients, *, pid: int) -> Found:
    """Everybody's sessions; `pid` is the one to end, 0 to take whoever is in the way."""
    if pid < 0:
        raise BadInput(f"pid: expected a process id of the server's, or 0, found {pid}.")
    return Found(aurora.read_sessions(clients.database), clients.environment.database, pid)


def _owner(row: Any) -> str:
    where = f" from {row.client}" if row.client else ""
    return f"{row.application or 'a nameless program'} ({row.user}{where})"


def _change(row: Any) -> Change:
    began = row.transaction_began.isoformat()
    return Change(
        KIND,
        f"postgresql:transaction/{row.pid}@{began}",
        before={"session": _since(row.began), "transaction": "open", "query": row.query},
        after={"session": KNOWN_AFTER_APPLY, **_OVER},
        reversible=False,
    )


def _since(began: Any) -> str:
    return f"since {began:%Y-%m-%d %H:%M:%S.%f}"


# the kind of change


@dataclass(frozen=True)
class _Now:
    """A session as it is now, and whether it is still in the transaction that is to be ended."""

    began: Any
    state: str
    query: str
    same: bool
    in_the_way: bool

    def let_go(self, query: str) -> bool:
        """Whether it has: it is out of any transaction, or is in another that nobody waits for."""
        if self.state not in _OPEN:
            return True
        return not self.same and not self.in_the_way and self.query != query


def _named(target: str) -> tuple[int, str]:
    """Process id and the transaction's beginning."""
    pid, _, began = target.rpartition("/")[2].partition("@")
    return int(pid), began


def _look(clients: Clients, target: str) -> _Now | None:
    """The session of a target; None when it is gone."""
    from sqlalchemy import text

    pid, began = _named(target)
    with clients.database.connect() as connection:
        row = connection.execute(text(_READ), {"pid": pid, "began": began}).one_or_none()
    if row is None:
        return None
    return _Now(row.began, row.state, row.query, bool(row.same), row.in_the_way)


def _read(clients: Clients, target: str) -> Json:
    now = _look(clients, target)
    if now is None:
        return {"session": "ended", **_OVER}
    if not now.same or now.state not in _OPEN:
        return {"session": _since(now.began), **_OVER}
    return {"session": _since(now.began), "transaction": "open", "query": now.query}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Cancel, give it a while, and end the session if it is still in the way."""
    pid, began = _named(change.target)
    now = _look(clients, change.target)
    if now is None or not now.same:
        return
    if now.state == "idle in transaction":
        _signal(clients, _TERMINATE, _THIS_TRANSACTION, pid=pid, began=began)
    else:
        _signal(clients, _CANCEL, _THIS_TRANSACTION, pid=pid, began=began)
        if _lets_go(clients, change):
            return
        _signal(clients, _TERMINATE, _THIS_SESSION, pid=pid, began=now.began)
    _while(clients).until(
        lambda: _gone(clients, change.target, now), what=f"the server to end session {pid}"
    )


def _lets_go(clients: Clients, change: Change) -> bool:
    """Whether it has let go when its time is over, and not before: a program may begin again."""
    with suppress(DeadlinePassed):
        _while(clients).until(lambda: _look(clients, change.target) is None, what="it to go")
    now = _look(clients, change.target)
    return now is None or now.let_go(change.before["query"])


def _gone(clients: Clients, target: str, then: _Now) -> bool:
    now = _look(clients, target)
    return now is None or now.began != then.began


def _while(clients: Clients) -> Wait:
    return Wait(clients.environment.database.let_go_s, _LOOK_EVERY_S)


def _signal(clients: Clients, signal: str, only: str, **parameters: Any) -> None:
    """Send a session a signal while `only` is so. Raises Refused where the server forbids it."""
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError

    statement = f"SELECT {signal} FROM pg_stat_activity WHERE pid = :pid AND {only}"  # noqa: S608
    try:
        with clients.database_writer.connect() as connection, connection.begin():
            connection.execute(text(statement), parameters)
    except ProgrammingError as error:
        raise Refused(
            f"The server does not let us end session {parameters['pid']}: {error.orig}".strip(),
            next="The role needs pg_signal_backend; a superuser's session only a superuser ends.",
        ) from error


def _measure(change: Change) -> Mapping[str, float]:
    return {"sessions": 1}


register(KIND, read=_read, apply=_apply, measure=_measure)
