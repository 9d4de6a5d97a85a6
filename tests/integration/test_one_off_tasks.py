"""Tasks of their own do what they are asked to: migrations, and the script that syncs usage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import psycopg2
import pytest
import redis
from tests.aurora import client, psql, until
from tests.integration.test_control_plane_ecs import SOON
from tests.moving_studio import MovingStudio

from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
SEEDED, NEWEST = "8f2c41d7a9be", "d2a85c7741ef"
SCRIPT = ("python", "-m", "scripts.sync_usage_to_db")
Ran = tuple[int, str]


@pytest.fixture
def run(box: Box) -> Callable[..., Ran]:
    """Run a command as a task of its own; gives its exit code and what its log stream says."""
    return runner(box)


def runner(box: Box) -> Callable[..., Ran]:
    ecs, logs = client(box, "ecs"), client(box, "logs")
    (service,) = ecs.describe_services(cluster=names.CLUSTER, services=[names.BACKEND])["services"]

    def run(*command: str, revision: str = names.BACKEND, **environment: str) -> Ran:
        pairs = [{"name": key, "value": value} for key, value in environment.items()]
        override = {"name": "backend", "command": list(command), "environment": pairs}
        (task,) = ecs.run_task(
            cluster=names.CLUSTER,
            taskDefinition=revision,
            launchType="FARGATE",
            networkConfiguration=service["networkConfiguration"],
            overrides={"containerOverrides": [override]},
        )["tasks"]
        asked = {"cluster": names.CLUSTER, "tasks": [task["taskArn"]]}
        ecs.get_waiter("tasks_stopped").wait(**asked, WaiterConfig=SOON)
        (found,) = ecs.describe_tasks(**asked)["tasks"]
        stream = f"ecs/backend/{task['taskArn'].rpartition('/')[2]}"
        events = logs.get_log_events(
            logGroupName=names.LOG_GROUPS[names.BACKEND], logStreamName=stream, startFromHead=True
        )["events"]
        return found["containers"][0]["exitCode"], "\n".join(one["message"] for one in events)

    return run


def version(box: Box) -> str:
    return psql(box.database_url, "SELECT version_num FROM alembic_version")


def columns(box: Box) -> list[str]:
    query = "SELECT string_agg(column_name, ' ') FROM information_schema.columns" \
            " WHERE table_name = 'users'"  # fmt: skip
    return psql(box.database_url, query).split()


def test_upgrade_really_migrates_and_can_be_taken_back(
    fresh_box: Box, run: Callable[..., Ran]
) -> None:
    assert version(fresh_box) == SEEDED
    code, said = run("alembic", "current")
    assert (code, said.splitlines()[-1]) == (0, SEEDED)
    code, said = run("alembic", "upgrade", "head")
    assert code == 0, said
    assert f"Running upgrade {SEEDED} -> b46d9e13f0a7, payments by status and age" in said
    assert version(fresh_box) == NEWEST
    assert "last_seen_at" in columns(fresh_box)
    code, said = run("alembic", "downgrade", "-1")
    assert code == 0, said
    assert (version(fresh_box), "last_seen_at" in columns(fresh_box)) == ("b46d9e13f0a7", False)


def test_previews_and_history_are_written_and_change_nothing(
    box: Box, run: Callable[..., Ran]
) -> None:
    asked = (("history",), ("upgrade", f"{SEEDED}:head", "--sql"), ("upgrade", "head", "--sql"))
    with ThreadPoolExecutor(len(asked)) as pool:
        ran = list(pool.map(lambda arguments: run("alembic", *arguments), asked))
    assert [code for code, _ in ran] == [0, 0, 0], ran
    (_, history), (_, missing), (_, whole) = ran
    assert f"b46d9e13f0a7 -> {NEWEST} (head), when users were last seen" in history
    assert "ALTER TABLE users ADD COLUMN last_seen_at timestamp;" in missing
    assert "CREATE TABLE jobs" not in missing
    assert "CREATE TABLE jobs" in whole
    assert version(box) == SEEDED


def test_an_older_image_knows_no_newer_migration(box: Box, run: Callable[..., Ran]) -> None:
    ecs = client(box, "ecs")
    (service,) = ecs.describe_services(cluster=names.CLUSTER, services=[names.BACKEND])["services"]
    family, _, number = service["taskDefinition"].rpartition("/")[2].partition(":")
    older = f"{family}:{int(number) - 1}"
    with changed(
        box,
        f"UPDATE alembic_version SET version_num = '{NEWEST}'",  # noqa: S608
        back=f"UPDATE alembic_version SET version_num = '{SEEDED}'",  # noqa: S608
    ):
        code, said = run("alembic", "upgrade", "head", revision=older)
        assert code != 0
        assert f"Can't locate revision identified by '{NEWEST}'" in said


def test_what_fails_says_so_and_changes_nothing(box: Box, run: Callable[..., Ran]) -> None:
    with changed(
        box,
        "ALTER TABLE users ADD COLUMN last_seen_at text",
        back="ALTER TABLE users DROP COLUMN last_seen_at",
    ):
        code, said = run("alembic", "upgrade", "head")
        assert code == 1
        assert 'column "last_seen_at" of relation "users" already exists' in said
        assert version(box) == SEEDED  # the migration before it is taken back with it
    nowhere = "postgresql://studio:wrong@127.0.0.1:1/studio"
    code, said = run("alembic", "upgrade", "head", AI_STUDIO_DATABASE_URL=nowhere)
    assert code == 1
    assert "Connection refused" in said


@contextmanager
def changed(box: Box, statement: str, *, back: str) -> Iterator[None]:
    psql(box.database_url, statement)
    try:
        yield
    finally:
        psql(box.database_url, back)


def test_usage_that_was_counted_and_never_written_is_written_once(
    fresh_box: Box, run: Callable[..., Ran]
) -> None:
    with redis.Redis.from_url(fresh_box.redis_url, decode_responses=True) as server:
        key = next(iter(server.scan_iter("usage:tokens:*")))
        user = key.split(":")[2]
        server.incrby(key, 123_456)
    query = f"SELECT amount FROM usage_logs WHERE user_id = '{user}'" \
            " AND meta_json ->> 'source' = 'sync_usage_to_db'"  # fmt: skip  # noqa: S608
    with closing(psycopg2.connect(fresh_box.database_url)) as other, ThreadPoolExecutor(1) as pool:
        other.cursor().execute("SELECT pg_advisory_xact_lock(hashtext('usage_flush'))")
        ran = pool.submit(run, *SCRIPT)
        until(lambda: psql(fresh_box.database_url, WAITING) == "1", "the script waits for the lock")
        assert psql(fresh_box.database_url, query) == ""
        other.rollback()
        code, said = ran.result()
    assert code == 0, said
    assert psql(fresh_box.database_url, query) == "123456"
    assert json.loads(said)["rows"] >= 1
    code, said = run(*SCRIPT)
    assert code == 0, said
    assert psql(fresh_box.database_url, query) == "123456"


def test_what_the_script_has_written_the_backend_does_not_write_again(quiet: MovingStudio) -> None:
    user = quiet.rows("SELECT id::text FROM users WHERE is_active ORDER BY id LIMIT 1")[0][0]
    key = f"usage:tokens:{user}:{datetime.now(UTC):%Y-%m}"
    quiet.order("usage-unwritten")
    ask(quiet, user)
    before, counted = total(quiet, user), int(quiet.redis.get(key) or 0)
    assert counted > before
    code, said = runner(quiet.box)(*SCRIPT)
    assert code == 0, said
    assert total(quiet, user) == counted
    ask(quiet, user)
    quiet.control("DELETE", "data-plane?order=usage-unwritten")
    quiet.until(
        lambda: quiet.control("GET", "data-plane")["usage_unwritten"] == 0, "the rest is written"
    )
    assert total(quiet, user) == int(quiet.redis.get(key) or 0) > counted


def ask(studio: MovingStudio, user: str) -> None:
    body = {"message": "شكرا"}
    found = studio.ask("/gateway/v1/chat/complete", method="POST", body=body, X_User_Id=user)
    assert found.status == 200


def total(studio: MovingStudio, user: str) -> int:
    """What the table knows of a user's tokens this month."""
    query = "SELECT coalesce(sum(amount), 0) FROM usage_logs WHERE user_id = %s" \
            " AND kind = 'tokens' AND created_at >= %s"  # fmt: skip
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return int(studio.rows(query, user, month)[0][0])
