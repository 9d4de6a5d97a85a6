"""The workers: they take jobs from the broker's queues and the table, and finish them.

A job is claimed in one statement with SKIP LOCKED, so that nobody waits for a row that somebody
holds; its message is among the unacknowledged ones until the job is done, as Celery has it.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane import hyperpay
from studio_sandbox.data_plane.orders import Orders, WorkersHang
from studio_sandbox.data_plane.picture import Replica
from studio_sandbox.data_plane.served import line, new_trace
from studio_sandbox.data_plane.stores import Stores

_NOW = "(now() AT TIME ZONE 'UTC')"
# A job whose message got lost is found in the table, once it has waited for so long.
_LOST_AFTER_S = 5
_CLAIM = f"""
    UPDATE jobs SET status = 'processing', updated_at = {_NOW}
    WHERE id IN (
        SELECT id FROM jobs WHERE status = 'pending' AND {{}}
        ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING id::text, kind, user_id::text, payload_json, updated_at
"""  # noqa: S608  our own text
_NAMED, _WAITING = "id = %s", f"created_at < {_NOW} - make_interval(secs => %s)"
_OPEN = """
    SELECT id::text, kind, user_id::text, payload_json, updated_at FROM jobs
    WHERE id::text = ANY (%s) AND status = 'processing'
"""
_STILL_OURS = """
    SELECT FROM jobs WHERE id = %s AND status = 'processing' AND updated_at = %s FOR UPDATE
"""
_FINISH = f"""
    UPDATE jobs SET status = %s, result_file_id = %s, updated_at = {_NOW},
           payload_json = payload_json || %s::jsonb
    WHERE id = %s
"""  # noqa: S608  our own text
_FILE = """
    INSERT INTO files (id, user_id, kind, s3_key, bytes, meta_json)
    VALUES (%s, %s, 'video', %s, %s, %s)
"""
_PAID = """
    UPDATE payments SET status = 'completed' WHERE external_id = %s AND status = 'pending'
"""
_ACTIVATE = f"""
    UPDATE subscriptions SET status = 'active', updated_at = {_NOW},
           renews_at = {_NOW} + interval '30 days'
    FROM payments
    WHERE payments.external_id = %s AND payments.status = 'completed'
      AND subscriptions.id = (payments.meta_json ->> 'subscription_id')::uuid
      AND subscriptions.status = 'pending'
    RETURNING subscriptions.id::text
"""  # noqa: S608  our own text
_BAD_SIGNATURE = "payment webhook refused: signature does not match"


@dataclass(frozen=True)
class Job:
    """One job in a worker's hands."""

    id: str
    kind: str
    user_id: str | None
    payload: dict[str, Any]
    claimed: datetime  # as the table says; it says something else once others have the job
    task: Replica = field(repr=False)
    trace_id: str = ""
    began: float = 0.0


class Worker:
    """All tasks of the worker together. One thread steps it."""

    def __init__(
        self, stores: Stores, orders: Orders, say: Callable[[Replica, str], None], seed: int
    ) -> None:
        self._stores, self._orders, self._say = stores, orders, say
        self._dice = random.Random(f"{seed}:worker")  # noqa: S311  believable, not secret
        self._numbers = itertools.count()
        self.begin()

    def begin(self) -> None:
        """Start anew: nothing is in hand, and what others had in hand is still to be taken over."""
        self._in_hand: list[tuple[float, int, Job]] = []
        self._adopted = False

    def step(self, tasks: Sequence[Replica]) -> None:
        """Take what there is room for, finish what is due. Raises psycopg2's and redis's errors."""
        if not tasks:
            return
        self._adopt(tasks)
        if not self._orders.first(WorkersHang):
            self._finish_due(time.monotonic(), *self._reached_by(tasks[0]))
        concurrency = int(tasks[0].environment.get("CELERY_CONCURRENCY", "4"))
        for _ in range(len(tasks) * concurrency - len(self._in_hand)):
            if not self._take(self._dice.choice(tasks)):
                break

    # take

    def _adopt(self, tasks: Sequence[Replica]) -> None:
        """What was delivered before we began is in the hands of the workers that run."""
        if self._adopted:
            return
        cache, database = self._reached_by(tasks[0])
        with self._stores.database(database) as cursor:
            cursor.execute(_OPEN, (cache.hkeys("unacked"),))
            for row in cursor.fetchall():
                self._hold(self._job(row, self._dice.choice(tasks)), quick=False)
        self._adopted = True

    def _take(self, task: Replica) -> bool:
        """Take the next job: the next message's, or one in the table that has waited too long."""
        from studio_sandbox.seed.celery import QUEUES

        cache, database = self._reached_by(task)
        for queue in ("payments", *(one for one in QUEUES if one != "payments")):
            if text := cache.rpop(queue):
                return self._deliver(task, cache, database, queue, text)
        with self._stores.database(database) as cursor:
            cursor.execute(_CLAIM.format(_WAITING), (_LOST_AFTER_S, 1))
            row = cursor.fetchone()
        if row:
            self._start(self._job(row, task))
        return row is not None

    def _deliver(self, task: Replica, cache: Any, database: str, queue: str, text: str) -> bool:
        """One message: its job is ours, or somebody holds its row, or it is no longer open."""
        import psycopg2

        try:
            job_id, message = _job_of(text)
        except (ValueError, KeyError, IndexError, TypeError) as strange:
            error = f"Received and deleted unknown message. Wrong destination?!? {strange!r}"
            self._say(task, line("ERROR", error))
            return True
        try:
            with self._stores.database(database) as cursor:
                cursor.execute(_CLAIM.format(_NAMED), (job_id, 1))
                row = cursor.fetchone()
        except psycopg2.Error:
            cache.rpush(queue, text)  # back to where it was: nothing is lost with the database
            raise
        if row:
            pipe = cache.pipeline()
            pipe.hset("unacked", job_id, json.dumps([message, "", queue]))
            pipe.zadd("unacked_index", {job_id: time.time()})
            pipe.execute()
            self._start(self._job(row, task))
        return True

    def _job(self, row: tuple[Any, ...], task: Replica) -> Job:
        job_id, kind, user_id, payload, claimed = row
        trace = new_trace(self._dice)
        return Job(job_id, kind, user_id, payload or {}, claimed, task, trace, time.monotonic())

    def _start(self, job: Job) -> None:
        self._log(job, "INFO", f"job {job.kind} started")
        self._hold(job)

    def _hold(self, job: Job, *, quick: bool = True) -> None:
        """Work on it: seconds for a video, less for anything else."""
        least, most = (1.0, 4.0) if job.kind.startswith("video") else (0.1, 0.6)
        seconds = self._dice.uniform(least, most) * (1 if quick else 4)
        heapq.heappush(self._in_hand, (job.began + seconds, next(self._numbers), job))

    # finish

    def _finish_due(self, now: float, cache: Any, database: str) -> None:
        import psycopg2

        while self._in_hand and self._in_hand[0][0] <= now:
            job = self._in_hand[0][2]
            try:
                with self._stores.database(database) as cursor:
                    cursor.execute(_STILL_OURS, (job.id, job.claimed))
                    done = cursor.rowcount == 1  # else somebody has taken it from us
                    error = self._work(cursor, job) if done else ""
            except (psycopg2.IntegrityError, psycopg2.DataError) as wrong:
                done, error = True, str(wrong.diag.message_primary)
                with self._stores.database(database) as cursor:
                    _close(cursor, job, error)
            heapq.heappop(self._in_hand)  # only now: an error above leaves it in hand
            cache.hdel("unacked", job.id)
            cache.zrem("unacked_index", job.id)
            if done:
                self._tell(job, error)

    def _work(self, cursor: Any, job: Job) -> str:
        """Do the work and close the job in one transaction; what failed, if anything did."""
        error, file_id = "", None
        if job.kind == "payment_webhook":
            error = self._payment(cursor, job)
        elif job.kind.startswith("video") and job.user_id:
            file_id = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
            _store_video(cursor, job, file_id)
        _close(cursor, job, error, file_id)
        return error

    def _payment(self, cursor: Any, job: Job) -> str:
        """Activate what was paid for. A webhook that is signed is signed with the current key."""
        external_id, event = job.payload.get("external_id"), str(job.payload.get("event"))
        signed = job.payload.get("signature")
        key = job.task.environment.get(names.HYPERPAY_KEY, "")
        if signed and signed != hyperpay.signature(key, str(external_id), event):
            return _BAD_SIGNATURE
        if event == "payment.completed":
            cursor.execute(_PAID, (external_id,))
            cursor.execute(_ACTIVATE, (external_id,))
            for (subscription,) in cursor.fetchall():
                about = {"subscription_id": subscription, "external_id": external_id}
                self._log(job, "INFO", "subscription activated", **about)
        return ""

    def _tell(self, job: Job, error: str) -> None:
        took_ms = round((time.monotonic() - job.began) * 1000)
        if error:
            self._log(job, "ERROR", f"job {job.kind} failed: {error}", duration_ms=took_ms)
        else:
            self._log(job, "INFO", f"job {job.kind} completed", duration_ms=took_ms)

    def _log(self, job: Job, level: str, message: str, **about: Any) -> None:
        common = {"trace_id": job.trace_id, "user_id": job.user_id}
        about = {"job_id": job.id, "kind": job.kind, **about}
        self._say(job.task, line(level, message, **common, **about))

    def _reached_by(self, task: Replica) -> tuple[Any, str]:
        """Redis, and the database's URL, as a task was given them."""
        given = task.environment
        cache = self._stores.redis(given.get(names.REDIS_URL, ""))
        return cache, given.get(names.DATABASE_URL, "")


def enqueue(
    cursor: Any, cache: Any, kind: str, user_id: str | None, payload: dict[str, Any]
) -> str:
    """Put a job into the table and its message into its queue; gives the job's id."""
    from studio_sandbox.seed import celery

    job_id = str(uuid.uuid4())
    cursor.execute(
        "INSERT INTO jobs (id, user_id, kind, payload_json) VALUES (%s, %s, %s, %s)",
        (job_id, user_id, kind, json.dumps({"attempts": 1, "user_id": user_id, **payload})),
    )
    message = celery.message(job_id, kind, attempts=1)
    cursor.connection.commit()  # before the message: a worker would find nothing
    cache.lpush(celery.TASKS[kind][0], json.dumps(message))
    return job_id


def _close(cursor: Any, job: Job, error: str, file_id: str | None = None) -> None:
    status, more = ("failed", {"error": error}) if error else ("completed", {})
    cursor.execute(_FINISH, (status, file_id, json.dumps(more), job.id))


def _store_video(cursor: Any, job: Job, file_id: str) -> None:
    seconds = int(job.payload.get("seconds") or 8)
    about = {"title": job.payload.get("prompt"), "seconds": seconds, "width": 1280, "height": 720}
    key, size = f"users/{job.user_id}/{file_id}.mp4", 2_000_000 + seconds * 1_100_000
    cursor.execute(_FILE, (file_id, job.user_id, key, size, json.dumps(about)))


def _job_of(text: str) -> tuple[str, dict[str, Any]]:
    """The id of the job that a message stands for, and the message."""
    message: dict[str, Any] = json.loads(text)
    arguments = json.loads(base64.b64decode(message["body"]))[0]
    return str(uuid.UUID(arguments[0])), message
