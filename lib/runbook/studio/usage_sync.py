"""What was counted in Redis and is not in the table: written once, whatever is cut off or repeated.

    found = usage_sync.read(rb.clients)
    found.table(), found.plan(run=rb.clients.run_id)

A counter is the month's total and the table's rows add up to it, so what is missing is their
difference. All who move usage hold one advisory lock of PostgreSQL's; under it, for each counter:

1. it is moved aside to a key that carries the run (RENAME), and set to the same value again in the
   same step, so that nobody's month begins anew;
2. the difference is written to `usage_logs`, with an id made of the run and the counter: a second
   time it is there already. `counted_us` says up to which moment of Redis's clock usage is in it,
   so that a gateway that still has rows of before does not write them again;
3. the key moved aside is removed. Nobody reads it, and it expires by itself after a crash.

Cut off before 2 is committed, nothing was written and the counter still says all; cut off after
it, the table and the counter agree. What was counted since the plan is written with it: under the
lock the difference of that moment is the right one. A counter that differs no more is left alone.

Who writes usage without that lock may write what we write: they are looked for, and it is refused.

Kind of change: `usage-counters`, a set of rows; a row is one counter.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid5

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, Plan, RowSet
from runbook.clients import Clients
from runbook.errors import NotVerified, Refused
from runbook.record.journal import Intent
from runbook.studio import usage
from runbook.studio.pieces import in_chunks
from runbook.table import Table

if TYPE_CHECKING:
    from sqlalchemy import Connection

KIND = "usage-counters"
TARGET = "redis:usage"
CHUNK = 200  # counters of one transaction
_ASIDE_EXPIRES_S = 24 * 3600
_OF_RUN = UUID("9a1f2b80-5f0e-5d0c-9a54-0d7a3e1c6b11")  # the space that rows' ids are made in
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOOK_EVERY_S = 0.2

# KEYS: counter and the key aside, by turns; ARGV: when what is aside expires. Answers the time,
# then each counter's value, -1 for one that is gone.
_MOVE_ASIDE = """
local now = redis.call('TIME')
local answer = {now[1] * 1000000 + now[2]}
for i = 1, #KEYS, 2 do
  local value = redis.call('GET', KEYS[i])
  if value then
    local left = redis.call('PTTL', KEYS[i])
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
    redis.call('EXPIRE', KEYS[i + 1], ARGV[1])
    redis.call('SET', KEYS[i], value)
    if left > 0 then redis.call('PEXPIRE', KEYS[i], left) end
  end
  answer[#answer + 1] = tonumber(value or -1)
end
return answer
"""
# KEYS: counter and the key aside; ARGV: what is added. Repeated by the client, it adds nothing.
_RAISE = """
if redis.call('DEL', KEYS[2]) == 1 then redis.call('INCRBY', KEYS[1], ARGV[1]) end
"""
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext(:lock))"
_SUMS = """
    SELECT user_id::text, kind, sum(amount)::bigint FROM usage_logs
    WHERE user_id = ANY (CAST(:users AS uuid[]))
      AND created_at >= :month AND created_at < CAST(:month AS timestamp) + interval '1 month'
    GROUP BY user_id, kind
"""
_INSERT = """
    INSERT INTO usage_logs (id, user_id, kind, amount, model, created_at, meta_json)
    SELECT given.id, users.id, given.kind, given.amount, NULL, given.moment, given.about
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
         AS given (id uuid, user_id uuid, kind text, amount integer, moment timestamp, about jsonb)
    JOIN users ON users.id = given.user_id
    ON CONFLICT (id) DO NOTHING
"""
_THERE = "SELECT id::text FROM usage_logs WHERE id = ANY (CAST(:ids AS uuid[]))"
_USERS = "SELECT id::text FROM users WHERE id = ANY (CAST(:users AS uuid[]))"
_WRITERS = """
    SELECT DISTINCT pid, coalesce(application_name, '')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE relation = 'usage_logs'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND pid <> pg_backend_pid() AND pid NOT IN (
          SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
            AND objid::bigint = hashtext(:lock)::bigint & 4294967295
      )
"""
_NOW = "SELECT now() AT TIME ZONE 'UTC'"
_LATELY = """
    SELECT count(*) FROM usage_logs WHERE kind = ANY (:kinds)
      AND created_at >= CAST(:now AS timestamp) - make_interval(secs => :seconds)
"""

Row = dict[str, Json]
State = Literal["to do", "done", "moved"]


@dataclass(frozen=True)
class Drift:
    """One counter that the table does not add up to. `kind` as the table has it."""

    key: str
    user: str
    kind: str
    counted: int
    written: int

    @property
    def missing(self) -> int:
        """What is to be written; below zero the counter is behind, and nothing is."""
        return self.counted - self.written

    @property
    def month(self) -> str:
        """YYYY-MM."""
        return self.key.rpartition(":")[2]


@dataclass(frozen=True)
class Drifts:
    """Counters of this month that differ, and those of users who do not exist."""

    month: str
    drifts: tuple[Drift, ...]
    nobodys: int = 0

    def plan(self, *, run: str) -> Plan:
        """The plan that writes what is missing, under ids that are made of `run`. Pure."""
        ahead = [one for one in self.drifts if one.missing > 0]
        behind = [one for one in self.drifts if one.missing < 0]
        warnings = ["What is counted until this is applied is written with it."]
        if behind:
            warnings.append(
                f"{len(behind):,} counters are behind the table and are set to what it says: these "
                "users come nearer to their limits."
            )
        if self.nobodys:
            warnings.append(f"{self.nobodys:,} counters are of users who do not exist: left alone.")
        title = (
            f"Write down what {len(ahead):,} counters of {self.month} have and the table has not"
        )
        return Plan(
            title=title,
            risk="low",
            changes=(_change(self, run),) if self.drifts else (),
            way_back="There is none, and none is needed: what was used is written. The rows' "
            "meta_json names their source, if they have to be found.",
            warnings=tuple(warnings),
        )

    def table(self) -> Table:
        """By kind: how many counters are ahead and behind, and by how much, to be read."""
        import pandas as pd

        rows = [
            {
                "kind": kind,
                "ahead of the table": sum(one.missing > 0 for one in mine),
                "not written": sum(max(one.missing, 0) for one in mine),
                "behind it": sum(one.missing < 0 for one in mine),
                "too much written": sum(max(-one.missing, 0) for one in mine),
            }
            for kind in usage.KINDS.values()
            if (mine := [one for one in self.drifts if one.kind == kind])
        ]
        return Table(pd.DataFrame(rows), empty="The table adds up to all counters.")

    def user_table(self, most: int = 10) -> Table:
        """The largest differences, by user, to be read."""
        import pandas as pd

        chosen = sorted(self.drifts, key=lambda one: (-abs(one.missing), one.key))[:most]
        rows = [
            {"user": one.user, "kind": one.kind, "counted": one.counted,
             "written": one.written, "difference": one.missing}
            for one in chosen
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="No user differs.")

    def shared(self, before: Drifts) -> int:
        """How many counters differ just as they did before. Pure."""
        return len(set(self.drifts) & set(before.drifts))

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        ahead = sum(one.missing > 0 for one in self.drifts)
        behind = len(self.drifts) - ahead
        return {
            "status": "warning" if self.drifts else "ok",
            "says": f"{ahead:,} counters have usage that the table has not, {behind:,} less than "
            "it has."
            if self.drifts
            else "What was counted is in the table.",
            "ahead": ahead,
            "behind": behind,
            "not_written": sum(max(one.missing, 0) for one in self.drifts),
        }


def read(clients: Clients) -> Drifts:
    """Counters of this month that stay apart from the table, as they are now.

    Looks twice, `usage_settles_in_s` apart: what moves is just being counted. Raises Refused when
    somebody writes usage without the shared lock at this moment.
    """
    settle_s = clients.environment.promises.usage_settles_in_s
    month = datetime.now(UTC)
    apart = usage.read_drift(clients.redis, clients.database, settle_s=settle_s)
    keys = {key: (user, kind) for (kind, user) in apart if (key := _key(kind, user, month))}
    values: Any = clients.redis.mget(list(keys)) if keys else []
    with clients.database.connect() as connection:
        _refuse_writers(connection, clients)
        sums = _sums(connection, month, [user for user, _ in keys.values()])
        users = _users(connection, [user for user, _ in keys.values()])
    found = [
        Drift(key, user, kind, int(value), sums.get((user, kind), 0))
        for (key, (user, kind)), value in zip(keys.items(), values, strict=True)
        if value is not None
    ]
    drifts = [one for one in found if one.user in users and one.missing]
    nobodys = len(apart) - len(keys) + sum(one.user not in users for one in found)
    return Drifts(f"{month:%Y-%m}", tuple(sorted(drifts, key=lambda one: one.key)), nobodys)


def _change(found: Drifts, run: str) -> Change:
    rows: list[Row] = [
        {
            "key": one.key,
            "before": {"counted": one.counted, "written": one.written},
            "after": {"difference": 0},
        }
        for one in found.drifts
    ]
    missing = sum(max(one.missing, 0) for one in found.drifts)
    return Change(
        KIND,
        TARGET,
        before={"not written": missing, "rows": len(rows)},
        after={"not written": 0, "rows": len(rows)},
        reversible=False,
        rows=RowSet.of({"run": run}, rows),
    )


# keys and ids


def _key(kind: str, user: str, month: datetime) -> str:
    """The counter's key; empty for a user whose id is none."""
    counter = next(name for name, mine in usage.KINDS.items() if mine == kind)
    return f"usage:{counter}:{user}:{month:%Y-%m}" if _UUID.fullmatch(user) else ""


def _parts(key: str) -> tuple[str, str, datetime]:
    """User, kind as the table has it, and the month's begin (UTC, naive) of a counter's key."""
    _, counter, user, month = key.split(":")
    return user, usage.KINDS[counter], datetime.strptime(month, "%Y-%m")  # noqa: DTZ007  UTC


def _aside(run: str, key: str) -> str:
    """Where a counter is moved to: outside of all patterns of counters."""
    return f"usage-aside:{run}:{key}"


def _id(run: str, key: str) -> str:
    """The id of the row that a run writes for a counter: the idempotency key."""
    return str(uuid5(_OF_RUN, f"{run}/{key}"))


# what is read


def _sums(
    connection: Connection, month: datetime, users: Sequence[str]
) -> dict[tuple[str, str], int]:
    import sqlalchemy

    begin = month.replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    asked = {"users": list(users), "month": begin}
    found = connection.execute(sqlalchemy.text(_SUMS), asked)
    return {(user, kind): int(amount) for user, kind, amount in found}


def _users(connection: Connection, users: Sequence[str]) -> set[str]:
    import sqlalchemy

    return set(connection.execute(sqlalchemy.text(_USERS), {"users": list(users)}).scalars())


def _states(clients: Clients, connection: Connection, run: str, rows: Sequence[Row]) -> list[State]:
    """Of each row: whether it is as planned, done, or something else."""
    import sqlalchemy

    values: Any = clients.redis.mget([row["key"] for row in rows])
    ids = [_id(run, row["key"]) for row in rows]
    there = set(connection.execute(sqlalchemy.text(_THERE), {"ids": ids}).scalars())
    by_month: dict[datetime, list[str]] = {}
    for row in rows:
        user, _, month = _parts(row["key"])
        by_month.setdefault(month, []).append(user)
    sums = {month: _sums(connection, month, users) for month, users in by_month.items()}
    states: list[State] = []
    for row, row_id, value in zip(rows, ids, values, strict=True):
        user, kind, month = _parts(row["key"])
        planned = row["before"]["counted"] - row["before"]["written"]
        now = int(value or 0) - sums[month].get((user, kind), 0)
        if row_id in there or (planned < 0 <= now):
            states.append("done")
        elif value is not None and (now > 0) == (planned > 0) and now:
            states.append("to do")
        else:
            states.append("moved")
    return states


# who else writes


@contextmanager
def _locked(clients: Clients) -> Iterator[Connection]:
    """A session that holds the lock of all who move usage. Raises Refused when it is not to be had.

    The session is closed in the end, and the lock with it.
    """
    import sqlalchemy

    wanted = clients.environment.usage
    with clients.database_writer.connect() as connection:
        connection.detach()
        deadline = time.monotonic() + wanted.lock_within_s
        query = sqlalchemy.text(_TRY_LOCK)
        while not connection.execute(query, {"lock": wanted.lock}).scalar_one():
            connection.rollback()
            if time.monotonic() > deadline:
                raise Refused(
                    f"Somebody else moves usage for more than {wanted.lock_within_s:g} s: the "
                    f"advisory lock {wanted.lock} is held.",
                    next="See who: inspect-database. Then apply the plan again.",
                )
            time.sleep(_LOOK_EVERY_S)
        connection.commit()
        yield connection


def refuse_other_writers(clients: Clients) -> None:
    """Raise Refused when somebody writes usage without the shared lock, which is held meanwhile.

    Takes as long as a flush; the lock is free again afterwards.
    """
    with _locked(clients) as connection:
        _refuse_if_written_meanwhile(connection, clients)


def _refuse_writers(connection: Connection, clients: Clients) -> None:
    """Raise Refused when a transaction that does not hold the lock is writing usage right now."""
    import sqlalchemy

    asked = {"lock": clients.environment.usage.lock}
    found = connection.execute(sqlalchemy.text(_WRITERS), asked).all()
    if found:
        told = ", ".join(f"{pid} ({name or 'no name'})" for pid, name in found)
        raise Refused(
            f"Usage is written by a session that does not hold the shared lock: {told}. What it "
            "writes could be written twice.",
            next="Let it come to its end, or stop it: inspect-database.",
        )


def _refuse_if_written_meanwhile(connection: Connection, clients: Clients) -> None:
    """Hold the lock while a flush would come, and raise Refused when rows come all the same."""
    import sqlalchemy

    settle_s = clients.environment.promises.usage_settles_in_s
    asked: dict[str, Any] = {"kinds": sorted(usage.KINDS.values()), "seconds": 3 * settle_s}
    asked |= {"now": connection.execute(sqlalchemy.text(_NOW)).scalar_one()}
    query = sqlalchemy.text(_LATELY)
    before = connection.execute(query, asked).scalar_one()
    deadline = time.monotonic() + settle_s
    while time.monotonic() < deadline:
        connection.rollback()
        _refuse_writers(connection, clients)
        time.sleep(_LOOK_EVERY_S)
    more = connection.execute(query, asked).scalar_one() - before
    connection.rollback()
    if more > 0:
        raise Refused(
            f"{more:,} rows of usage were written while the shared lock was held: somebody writes "
            "without it, and could write the same again.",
            next="Find out who writes usage_logs (inspect-database), and stop that first.",
        )


# the kind of change


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Write what is missing of every counter that is as planned, a chunk at a time."""
    run, total, seen = rows.header["run"], (change.rows.count if change.rows else 0), 0
    done: list[Row] = []
    with _locked(clients) as connection:
        _refuse_if_written_meanwhile(connection, clients)
        for chunk in in_chunks(rows, CHUNK):
            done += _apply_chunk(clients, connection, run, chunk, steps)
            seen += len(chunk)
            steps.progress(seen, total)
    return {
        "not written": 0,
        "rows": len(done),
        "as_left": len(done),
        "moved_on": total - len(done),
    }


def _apply_chunk(
    clients: Clients, connection: Connection, run: str, chunk: Sequence[Row], steps: Steps
) -> list[Row]:
    """One step: gives the rows that were carried out; the others had moved."""
    states = _states(clients, connection, run, chunk)
    connection.rollback()
    cut_off = [row for row, state in zip(chunk, states, strict=True) if state == "done"]
    _forget(clients, run, cut_off)  # of a run that was cut off between 2 and 3
    mine = [row for row, state in zip(chunk, states, strict=True) if state == "to do"]
    if not mine:
        return cut_off
    listed = [[row["key"], row["before"], row["after"]] for row in mine]
    with steps.step({"run": run, "keys": listed}) as step:
        _sync(clients, connection, run, mine)
        _forget(clients, run, mine)
        step.left["rows"] = len(mine)
    states = _states(clients, connection, run, mine)
    connection.rollback()
    if "to do" in states:
        raise NotVerified(
            f"{states.count('to do'):,} of {len(mine):,} counters differ as before.",
            next="Look at usage_logs and the counters before doing anything else.",
        )
    return [*cut_off, *mine]


def _sync(clients: Clients, connection: Connection, run: str, rows: Sequence[Row]) -> None:
    """Move the counters aside and write, in one transaction, by how far they are ahead.

    Those that are behind are set to the table by adding: what is counted meanwhile stays counted.
    """
    import sqlalchemy

    counted_us, values = _move_aside(clients, run, rows)
    about = {"source": clients.environment.usage.source, "counted_us": counted_us, "run": run}
    moment = datetime.fromtimestamp(counted_us / 1e6, UTC).replace(tzinfo=None)
    listed, behind = [], {}
    for row, value in zip(rows, values, strict=True):
        user, kind, month = _parts(row["key"])
        missing = value - _sums(connection, month, [user]).get((user, kind), 0)
        if missing > 0:
            listed.append(
                {"id": _id(run, row["key"]), "user_id": user, "kind": kind, "amount": missing,
                 "moment": _within(month, moment).isoformat(), "about": about}
            )  # fmt: skip
        elif missing < 0 <= value:
            behind[row["key"]] = -missing
    connection.execute(sqlalchemy.text(_INSERT), {"rows": json.dumps(listed)})
    connection.commit()
    for key, amount in behind.items():
        clients.redis.eval(_RAISE, 2, key, _aside(run, key), amount)


def _move_aside(clients: Clients, run: str, rows: Sequence[Row]) -> tuple[int, list[int]]:
    """Move these counters aside, all in one step; the moment in µs, and each one's value."""
    keys = [key for row in rows for key in (row["key"], _aside(run, row["key"]))]
    answer: Any = clients.redis.eval(_MOVE_ASIDE, len(keys), *keys, _ASIDE_EXPIRES_S)
    counted_us, *values = map(int, answer)
    return counted_us, values


def _within(month: datetime, moment: datetime) -> datetime:
    """The moment, or the last one of the month that the usage belongs to."""
    after = (month + timedelta(days=31)).replace(day=1)
    return min(moment, after - timedelta(microseconds=1))


def _forget(clients: Clients, run: str, rows: Sequence[Row]) -> None:
    """Remove what was moved aside: it is in the table."""
    if rows:
        clients.redis.unlink(*(_aside(run, row["key"]) for row in rows))


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while one counter is as planned; in place when all are; else they have moved."""
    if rows is None:
        return Judgement("moved", ("its counters are not on record",))
    states: set[State] = set()
    with clients.database.connect() as connection:
        for chunk in in_chunks(rows, CHUNK):
            states |= set(_states(clients, connection, rows.header["run"], chunk))
    if "to do" in states:
        return Judgement("to do")
    if states == {"done"}:
        return Judgement("holds")
    return Judgement("moved", ("no counter is as it was when this was planned",))


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """Whether its transaction was committed: then nothing of it is left to do.

    None when all counters have moved on, and nothing is left that could tell.
    """
    rows = [
        {"key": key, "before": before, "after": after}
        for key, before, after in intent.detail["keys"]
    ]
    with clients.database.connect() as connection:
        states = set(_states(clients, connection, intent.detail["run"], rows))
    if "to do" in states:
        return False
    return True if "done" in states else None


register(
    KIND,
    read=lambda clients, target: {},  # a set is judged counter by counter
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=lambda change: {"counters": change.rows.count if change.rows else 0},
)
