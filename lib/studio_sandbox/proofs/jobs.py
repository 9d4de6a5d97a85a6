"""`./runbook prove jobs`: stuck jobs are set back while workers run, and nobody waits for it.

The table has ten million jobs, a million of them stuck (`--runs` says another number of stuck
ones; there are ten times as many jobs). Workers take jobs, finish them, and come back to some of
those that look stuck: they were slow and not dead. Meanwhile the stuck ones are set back, once by
the runbook's own statement (one UPDATE) and once by the section's plan through the door.

What a worker waits because of us is measured where it happens: a row that it cannot lock at once
is timed until it can. That is asked of each of its rows, and most are free.

Where time goes, of one row in microseconds (a million stuck of ten million, two cores): the one
UPDATE 17, and nothing else runs meanwhile, since it makes the workers wait. The section in the
server 27 (to find the row by its key 8, to lock it 5, to write it 11, to read it back 2), in two
sessions side by side; in Python 7 to 12; to find and to plan 8. The workers, who do not wait for
it, take a third of the two cores.
"""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any

import psycopg2

from runbook import settings
from runbook.change.door import Door
from runbook.change.plan import Origin
from runbook.clients import Clients
from runbook.record.runs import Run
from runbook.settings import Environment
from runbook.studio import jobs
from studio_sandbox import box as sandbox
from studio_sandbox.proofs.proof import Asked

_STUCK = 1_000_000
_EACH = 10  # jobs in the table for each that is stuck
_WORKERS = 4
_BACK_SHARE = 0.5  # of a worker's rows: one that looks stuck, and is not
_MOST_WAIT_MS, _MOST_TIMES = 50.0, 1.5
_OLDER_THAN_MINUTES = 60

_FILL = """
    INSERT INTO jobs (id, kind, status, payload_json, created_at, updated_at)
    SELECT md5('proof/' || n)::uuid, 'video_gen',
           CASE WHEN n %% %(each)s = 0 THEN 'processing' WHEN n %% %(each)s = 1 THEN 'pending'
                ELSE 'completed' END,
           '{"attempts": 1}', moment, moment
    FROM generate_series(1, %(jobs)s) AS n, LATERAL (
        SELECT (now() AT TIME ZONE 'UTC') - interval '1 day' + n * interval '1 ms' AS moment
    ) AS m
"""
_AGAIN = """
    UPDATE jobs SET status = 'processing', updated_at = created_at
    WHERE kind = 'video_gen' AND payload_json = '{"attempts": 1}'
      AND status = 'pending' AND updated_at > created_at
"""
_AS_THE_RUNBOOK_HAS_IT = """
    UPDATE jobs SET status = 'pending', updated_at = now() AT TIME ZONE 'UTC'
    WHERE status = 'processing'
      AND updated_at < (now() AT TIME ZONE 'UTC') - interval '1 hour'
"""
_MINE = "SELECT FROM jobs WHERE id = %s FOR UPDATE"
_FINISH = """
    UPDATE jobs SET status = 'completed', updated_at = now() AT TIME ZONE 'UTC'
    WHERE id = %s AND status IN ('processing', 'pending')
"""


@dataclass
class Way:
    """One way to set them back: seconds, dead rows, and what workers waited meanwhile (ms)."""

    name: str
    seconds: float = 0.0
    changed: int = 0
    dead_rows: int = 0
    waits_ms: list[float] = field(default_factory=list)

    def wait_ms(self, share: float) -> float:
        """The wait that this share of a worker's rows stays below."""
        ordered = sorted(self.waits_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class JobProof:
    """Both ways, the runbook's first."""

    total: int
    stuck: int
    runbook: Way
    section: Way

    @property
    def holds(self) -> bool:
        """Whether workers wait little because of the section, and it takes little longer."""
        quick = self.section.seconds <= _MOST_TIMES * self.runbook.seconds
        return quick and self.section.wait_ms(0.999) <= _MOST_WAIT_MS

    def table(self) -> str:
        """One line a way."""
        lines = [f"{self.total:,} jobs, {self.stuck:,} stuck, {_WORKERS} workers"]
        head = ("seconds", "changed", "dead rows", "rows asked", "p99.9 ms", "most ms")
        lines.append(f"{'way':<22}" + "".join(f"{each:>12}" for each in head))
        for way in (self.runbook, self.section):
            figures = (
                f"{way.seconds:,.1f}", f"{way.changed:,}", f"{way.dead_rows:,}",
                f"{len(way.waits_ms):,}", f"{way.wait_ms(0.999):,.1f}", f"{way.wait_ms(1):,.1f}",
            )  # fmt: skip
            lines.append(f"{way.name:<22}" + "".join(f"{each:>12}" for each in figures))
        times = self.section.seconds / max(self.runbook.seconds, 1e-9)
        told = f"{times:.2f} times as long; p99.9 {self.section.wait_ms(0.999):.1f} ms"
        wanted = f"at most {_MOST_TIMES:g} times and {_MOST_WAIT_MS:g} ms"
        lines.append(f"{'holds' if self.holds else 'does not hold'}: {told} ({wanted})")
        return "\n".join(lines)


def prove(asked: Asked) -> JobProof:
    """Fill the table, and set the stuck ones back in both ways while workers run."""
    box = sandbox.status()
    assert box is not None  # noqa: S101  the proof's own
    stuck = asked.runs or _STUCK
    total = stuck * _EACH
    studio = _Studio(box.database_url, random.Random(asked.seed))  # noqa: S311  not secret
    asked.say(f"filling the table with {total:,} jobs")
    studio.fill(total)
    runbook = Way("one UPDATE")
    with studio.working(runbook):
        began = time.monotonic()
        runbook.changed = studio.do(_AS_THE_RUNBOOK_HAS_IT)
        runbook.seconds = time.monotonic() - began
    studio.count_dead(runbook)
    asked.say(f"one UPDATE took {runbook.seconds:.1f} s; putting it back")
    studio.do(_AGAIN)
    studio.vacuum()
    section = Way("clear-stuck-jobs")
    clients = Clients(_allowing(stuck))
    jobs.find_stuck(clients.database, older_than_minutes=2 * 24 * 60)  # none: all is imported then
    with studio.working(section):
        began = time.monotonic()
        section.changed = _through_the_door(clients, stuck)
        section.seconds = time.monotonic() - began
    clients.close()
    studio.count_dead(section)
    return JobProof(total, stuck, runbook, section)


def _through_the_door(clients: Clients, stuck: int) -> int:
    """Find, plan and apply as the section does, in one run; how many were changed."""
    environment, name = clients.environment, "clear-stuck-jobs"
    run = Run.begin(environment, section=name, notebook_sha256="0" * 64, parameters={},
                    mode="headless", apply="")  # fmt: skip
    found = jobs.find_stuck(clients.database, older_than_minutes=_OLDER_THAN_MINUTES)
    plan = jobs.plan_requeue(found, outcome="pending", at_most=stuck)
    origin = Origin(environment.name, environment.account, name, "0" * 64)
    door = Door(clients, run)
    outcome = door.apply(door.save(replace(plan, origin=origin)))
    return int(outcome.actual[0].found["rows"])


def _allowing(rows: int) -> Environment:
    """The sandbox's settings, with room for so many rows in one plan."""
    found = settings.load("sandbox")
    limits = {**found.guardrails.limits, "sql-rows": {"rows": float(rows)}}
    return found.model_copy(
        update={
            "guardrails": found.guardrails.model_copy(update={"limits": limits}),
            "locks": found.locks.model_copy(update={"lease_minutes": 60.0}),
        }
    )


class _Studio:
    """The table and its workers."""

    def __init__(self, url: str, dice: random.Random) -> None:
        self._url, self._dice = url, dice
        self._ids: Sequence[str] = ()

    def do(self, statement: str, **values: Any) -> int:
        """Run a statement in a transaction of its own; how many rows it was about."""
        with closing(psycopg2.connect(self._url)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(statement, values or None)
            return int(cursor.rowcount)

    def fill(self, total: int) -> None:
        """Make the jobs."""
        self.do("DELETE FROM jobs")
        self.do(_FILL, each=_EACH, jobs=total)
        self.vacuum()
        query = "SELECT id::text FROM jobs WHERE status = 'processing' ORDER BY id LIMIT 200000"
        with closing(psycopg2.connect(self._url)) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            self._ids = [row[0] for row in cursor.fetchall()]

    def vacuum(self) -> None:
        """So that both ways begin with a table that has no dead rows, and is on the disk."""
        for statement in ("VACUUM ANALYZE jobs", "CHECKPOINT"):
            with closing(psycopg2.connect(self._url)) as connection:
                connection.autocommit = True
                with suppress(psycopg2.errors.InsufficientPrivilege):
                    connection.cursor().execute(statement)

    def count_dead(self, way: Way) -> None:
        """What the server counts as dead rows now: what autovacuum has to clear."""
        with closing(psycopg2.connect(self._url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'jobs'")
            way.dead_rows = int(cursor.fetchone()[0])

    def working(self, way: Way) -> _Working:
        """Workers for as long as the block lasts; what they wait is noted with the way."""
        seeds = [self._dice.random() for _ in range(_WORKERS)]
        return _Working(self._url, self._ids, seeds, way)


class _Working:
    """Workers, each a process with a session of its own: ours has its interpreter to itself."""

    def __init__(self, url: str, ids: Sequence[str], seeds: Sequence[float], way: Way) -> None:
        self._asked = [json.dumps([url, seed, *ids]) for seed in seeds]
        self._way = way
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> None:
        command = [sys.executable, "-P", "-m", __name__]
        pipe = subprocess.PIPE
        for asked in self._asked:
            worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            self._workers.append(worker)
            self._pipes(worker)[0].write(f"{asked}\n")  # the URL is never on a command line
        for worker in self._workers:
            asking, answering = self._pipes(worker)
            asking.flush()
            answering.readline()  # it has begun

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._pipes(worker)[0].close()
        for worker in self._workers:
            self._way.waits_ms += json.loads(self._pipes(worker)[1].read())
            worker.wait()

    @staticmethod
    def _pipes(worker: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
        if worker.stdin is None or worker.stdout is None:
            raise LookupError("no pipes")
        return worker.stdin, worker.stdout


def _work() -> None:
    """One worker: it takes rows until its standard input ends, and then says what it waited."""
    url, seed, *ids = json.loads(sys.stdin.readline())
    dice, waits_ms = random.Random(seed), []  # noqa: S311
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        print("begun", flush=True)
        while not select.select([sys.stdin], [], [], 0.002)[0]:
            one = dice.choice(ids)
            waits_ms.append(_locked_after_ms(connection, cursor, one))
            if dice.random() < _BACK_SHARE:
                cursor.execute(_FINISH, (one,))
                connection.commit()
            else:
                connection.rollback()
    print(json.dumps(waits_ms), flush=True)


def _locked_after_ms(connection: Any, cursor: Any, one: str) -> float:
    """Lock a row; how long somebody else kept it, nought when nobody did."""
    try:
        cursor.execute(f"{_MINE} NOWAIT", (one,))
    except psycopg2.errors.LockNotAvailable:
        connection.rollback()
        began = time.monotonic()
        cursor.execute(_MINE, (one,))
        return 1000 * (time.monotonic() - began)
    return 0.0


if __name__ == "__main__":
    _work()
