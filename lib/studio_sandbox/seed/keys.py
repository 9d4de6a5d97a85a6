"""The product's keys in Redis: usage counters, rate limits, and the Celery broker's queues."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import psycopg2
import redis

from studio_sandbox.folder import Passwords
from studio_sandbox.postgres import DATABASE, superuser_url
from studio_sandbox.seed import celery
from studio_sandbox.valkey import keeper_url

COUNTERS = {"tokens": "tokens", "images": "images", "video": "videos"}  # table's kind: key's
_BUCKETS = ("chat", "chat", "chat", "image", "video")
_LIMITED, _BLOCKED = 60, 3
_STILL_EXPIRES_S = 6 * 3600  # no traffic makes new ones: they would be gone after a minute

_COUNTED = """
    SELECT user_id::text, kind, sum(amount)::bigint FROM usage_logs
    WHERE created_at >= date_trunc('month', %s::timestamp)
    GROUP BY user_id, kind
"""
_USERS = """
    SELECT id::text FROM users WHERE is_active = %s ORDER BY created_at DESC, id LIMIT %s
"""
_OPEN_JOBS = """
    SELECT id::text, kind, status, (payload_json ->> 'attempts')::int,
           extract(epoch FROM updated_at)::float8
    FROM jobs WHERE status IN ('pending', 'processing') ORDER BY created_at, id
"""


def seed(
    passwords: Passwords, *, postgres_port: int, valkey_port: int, anchor: datetime, still: bool
) -> None:
    """Replace all keys: counters equal to this month's sums in the database, queues to its jobs.

    The product's password is set back too, and clients that hold another are cut off.
    """
    connection = psycopg2.connect(superuser_url(passwords, postgres_port, DATABASE))
    server = redis.Redis.from_url(keeper_url(passwords, valkey_port), socket_timeout=10)
    try:
        pipe = server.pipeline(transaction=True)
        pipe.flushall()
        with connection, connection.cursor() as cursor:
            _count(pipe, cursor, anchor)
            _limit(pipe, cursor, still=still)
            _queue(pipe, cursor)
        pipe.config_set("requirepass", passwords.redis)
        pipe.execute()
    finally:
        connection.close()
        server.close()


def _count(pipe: Any, cursor: Any, anchor: datetime) -> None:
    moment = anchor.astimezone(UTC)
    cursor.execute(_COUNTED, (moment.replace(tzinfo=None),))
    counters = {
        f"usage:{COUNTERS[kind]}:{user}:{moment:%Y-%m}": total
        for user, kind, total in cursor.fetchall()
    }
    if counters:
        pipe.mset(counters)


def _limit(pipe: Any, cursor: Any, *, still: bool) -> None:
    """Requests of the running minute, and a block for some who were banned."""
    cursor.execute(_USERS, (True, _LIMITED))
    for n, (user,) in enumerate(cursor.fetchall()):
        chance = hashlib.sha256(user.encode()).digest()
        expires_s = _STILL_EXPIRES_S if still else 5 + chance[0] % 56
        pipe.set(f"ratelimit:{user}:{_BUCKETS[n % 5]}", 1 + chance[1] % 40, ex=expires_s)
    cursor.execute(_USERS, (False, _BLOCKED))
    for (user,) in cursor.fetchall():
        pipe.set(f"ratelimit:block:{user}", 1, ex=_STILL_EXPIRES_S if still else 3600)


def _queue(pipe: Any, cursor: Any) -> None:
    """Pending jobs wait in their queue; those in work are delivered and not yet acknowledged."""
    for queue in celery.QUEUES:
        pipe.sadd(f"_kombu.binding.{queue}", f"{queue}\x06\x16\x06\x16{queue}")
    cursor.execute(_OPEN_JOBS)
    for job_id, kind, status, attempts, updated_s in cursor.fetchall():
        message = celery.message(job_id, kind, attempts=attempts)
        queue = message["properties"]["delivery_info"]["routing_key"]
        if status == "pending":
            pipe.lpush(queue, json.dumps(message))  # workers take from the other end
        else:
            pipe.hset("unacked", job_id, json.dumps([message, "", queue]))
            pipe.zadd("unacked_index", {job_id: updated_s})
