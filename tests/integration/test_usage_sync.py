"""Usage is written once: any schedule of counting, flushing, syncing and dying, on real servers.

The product's own meter counts and flushes beside it, and its own script syncs; a sync dies before
or after any of its steps, and is applied again or never. In the end the table has what was used.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from runbook import settings as environments
from runbook.change.kinds import Step, kind_of
from runbook.change.plan import Change
from runbook.change.saved import RowFile
from runbook.clients import Clients
from runbook.errors import Refused
from runbook.record.journal import Intent
from runbook.studio import usage_sync
from studio_sandbox.box import Box
from studio_sandbox.data_plane.orders import Orders
from studio_sandbox.data_plane.stores import Stores
from studio_sandbox.data_plane.usage import Meter, Used
from studio_sandbox.product import sync_usage_to_db

USERS = [str(uuid.UUID(int=n, version=4)) for n in (1, 2, 3)]
SUMS = "SELECT user_id::text, sum(amount)::bigint FROM usage_logs WHERE user_id::text = ANY (%s)" \
       " GROUP BY user_id"  # fmt: skip
DEATHS = ["none", "before moving", "after moving", "after writing", "after all"]


class Died(Exception):
    """The runner is killed here."""


class Mortal:
    """Redis for somebody who dies before or after one of the steps."""

    def __init__(self, redis: Any, death: str) -> None:
        self._redis, self._death = redis, death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    def eval(self, *arguments: Any) -> Any:
        return self._at("moving", lambda: self._redis.eval(*arguments))

    def unlink(self, *keys: str) -> Any:
        if self._death == "after writing":
            raise Died
        return self._at("all", lambda: self._redis.unlink(*keys))

    def _at(self, step: str, call: Any) -> Any:
        if self._death == f"before {step}":
            raise Died
        answer = call()
        if self._death == f"after {step}":
            raise Died
        return answer


class Noted:
    """Steps that are only noted: what a journal would hold."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []

    @contextmanager
    def step(self, detail: Mapping[str, Any]) -> Iterator[Step]:
        intent = Intent("id", 0, usage_sync.KIND, usage_sync.TARGET, json.loads(json.dumps(detail)))
        self.intents.append(intent)
        yield Step(intent, {})

    def progress(self, done: int, total: int) -> None:
        pass


@pytest.fixture
def clients(fresh_box: Box) -> Iterator[Clients]:
    """Clients that wait for nothing: whoever plans in the middle of it all must not write twice."""
    found = environments.load("sandbox")
    quick = found.promises.model_copy(update={"usage_settles_in_s": 0})
    made = Clients(found.model_copy(update={"promises": quick}))
    yield made
    made.close()


@pytest.fixture
def three(fresh_box: Box) -> Iterator[Box]:
    """Three users of our own, who have used nothing; nobody else's usage is counted."""
    with redis.Redis.from_url(fresh_box.redis_url) as server:
        server.delete(*server.scan_iter("usage:*"))
    with closing(psycopg2.connect(fresh_box.database_url)) as connection:
        with connection, connection.cursor() as cursor:
            for user in USERS:
                cursor.execute("INSERT INTO users (id, email) VALUES (%s, %s)", (user, user))
        yield fresh_box
        with connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM usage_logs WHERE user_id::text = ANY (%s)", (USERS,))
            cursor.execute("DELETE FROM users WHERE id::text = ANY (%s)", (USERS,))


def key(user: str) -> str:
    return f"usage:tokens:{user}:{datetime.now(UTC):%Y-%m}"


def written(box: Box) -> dict[str, int]:
    with closing(psycopg2.connect(box.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(SUMS, (USERS,))
        return {user: int(amount) for user, amount in cursor.fetchall()}


def apply(clients: Clients, change: Change, death: str = "none") -> str:
    """Apply a change as the door does, or die of it; what became of it."""
    assert change.rows
    kind, rows, alive = kind_of(change), RowFile(change.rows.data, swapped=False), clients.redis
    if (state := kind.judge(clients, change, rows).state) != "to do":
        return state
    steps = Noted()
    clients.__dict__["redis"] = Mortal(alive, death)
    try:
        assert kind.apply_pieces
        kind.apply_pieces(clients, change, rows, steps)
        return "applied"
    except Died:
        return "died"
    finally:
        clients.__dict__["redis"] = alive
        for intent in steps.intents:
            happened = kind.settled(clients, change, intent)
            assert happened is not (death in ("before moving", "after moving")), death


class Life(RuleBasedStateMachine):
    """Users use, a meter flushes, syncs are planned and applied and die."""

    box: Box
    clients: Clients

    def __init__(self) -> None:
        super().__init__()
        self.used: Counter[str] = Counter()
        self.plans: list[Change] = []
        self.meter = Meter(Stores(Orders()))

    @initialize()
    def begin(self) -> None:
        """Everybody has used something this month: a counter is there."""
        with closing(psycopg2.connect(self.box.database_url)) as connection, connection:
            connection.cursor().execute(
                "DELETE FROM usage_logs WHERE user_id::text = ANY (%s)", (USERS,)
            )
        self.clients.redis.delete(*map(key, USERS))
        for user in USERS:
            self.count(user, 1)
        self.flush()

    @rule(user=st.sampled_from(USERS), amount=st.integers(1, 99))
    def count(self, user: str, amount: int) -> None:
        self.meter.count(self.box.redis_url, Used(user, "tokens", amount, "m", "/"))
        self.used[user] += amount

    @rule(user=st.sampled_from(USERS), amount=st.integers(1, 99))
    def count_and_lose(self, user: str, amount: int) -> None:
        """The gateway dies before it writes it down."""
        self.clients.redis.incrby(key(user), amount)
        self.used[user] += amount

    @rule()
    def flush(self) -> None:
        self.meter.flush(self.box.database_url, self.box.redis_url)

    @rule()
    def run_the_products_script(self) -> None:
        os.environ["AI_STUDIO_DATABASE_URL"] = self.box.database_url
        os.environ["AI_STUDIO_REDIS_URL"] = self.box.redis_url
        sync_usage_to_db.main()

    @rule()
    def plan(self) -> None:
        planned = usage_sync.read(self.clients).plan(run=f"run-{uuid.uuid4()}")
        self.plans += planned.changes

    @rule(which=st.integers(0, 3), death=st.sampled_from(DEATHS))
    def apply(self, which: int, death: str) -> None:
        """A plan that was made at any time; again, too."""
        if self.plans:
            apply(self.clients, self.plans[-1 - which % len(self.plans)], death)

    def teardown(self) -> None:
        if not self.used:
            return
        self.flush()
        self.plan()
        for change in self.plans[-1:]:
            apply(self.clients, change)
        assert written(self.box) == dict(self.used)
        assert usage_sync.read(self.clients).drifts == ()


def test_whatever_is_cut_off_or_repeated_the_table_has_what_was_used(
    three: Box, clients: Clients
) -> None:
    life = type("Life", (Life,), {"box": three, "clients": clients})
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=25,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # a shorter example is not worth minutes of servers
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_moved_aside_carries_the_run_and_nobodys_month_begins_anew(
    three: Box, clients: Clients
) -> None:
    clients.redis.set(key(USERS[0]), 50)
    (change,) = usage_sync.read(clients).plan(run="run-7").changes

    assert apply(clients, change, "after moving") == "died"
    assert clients.redis.get(f"usage-aside:run-7:{key(USERS[0])}") == "50"
    assert clients.redis.get(key(USERS[0])) == "50"
    assert written(three) == {}

    assert apply(clients, change, "after writing") == "died"
    assert written(three) == {USERS[0]: 50}
    assert apply(clients, change) == "holds"
    assert written(three) == {USERS[0]: 50}


def test_a_counter_that_is_behind_is_set_to_the_table_and_nothing_is_written(
    three: Box, clients: Clients
) -> None:
    clients.redis.set(key(USERS[0]), 50)
    (change,) = usage_sync.read(clients).plan(run="run-1").changes
    assert apply(clients, change) == "applied"
    clients.redis.set(key(USERS[0]), 20, ex=3600)
    (change,) = usage_sync.read(clients).plan(run="run-2").changes

    assert apply(clients, change, "after moving") == "died"
    assert apply(clients, change) == "applied"
    assert (clients.redis.get(key(USERS[0])), written(three)) == ("50", {USERS[0]: 50})
    assert apply(clients, change) == "holds"
    assert 0 < clients.redis.ttl(key(USERS[0])) <= 3600


def test_what_is_counted_since_the_plan_is_written_with_it_and_what_agrees_is_left_alone(
    three: Box, clients: Clients
) -> None:
    clients.redis.mset({key(USERS[0]): 50, key(USERS[1]): 7})
    (change,) = usage_sync.read(clients).plan(run="run-3").changes
    clients.redis.incrby(key(USERS[0]), 1)
    clients.redis.delete(key(USERS[1]))
    assert apply(clients, change) == "applied"
    assert written(three) == {USERS[0]: 51}
    assert usage_sync.read(clients).drifts == ()


def test_who_writes_without_the_lock_is_found_and_it_is_refused(
    three: Box, clients: Clients
) -> None:
    clients.redis.set(key(USERS[0]), 50)
    (change,) = usage_sync.read(clients).plan(run="run-8").changes
    insert = "INSERT INTO usage_logs (user_id, kind, amount) VALUES (%s, 'tokens', 1)"
    with closing(psycopg2.connect(three.database_url)) as other:
        other.cursor().execute(insert, (USERS[1],))
        with pytest.raises(Refused, match="does not hold the shared lock"):
            usage_sync.read(clients)
        other.rollback()
        other.cursor().execute("SELECT pg_advisory_xact_lock(hashtext('usage_flush'))")
        other.cursor().execute(insert, (USERS[1],))
        usage_sync.read(clients)  # who holds it may write
    assert apply(clients, change) == "applied"
    assert written(three) == {USERS[0]: 50}
