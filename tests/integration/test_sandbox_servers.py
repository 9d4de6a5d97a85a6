"""The sandbox's servers: what they are filled with, who may reach them, and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis
from click.testing import CliRunner
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests import aurora

from runbook import settings
from runbook.clients import Clients
from runbook.errors import NotReachable, Refused
from studio_sandbox import box as sandbox
from studio_sandbox import folder as folders
from studio_sandbox import programs, servant
from studio_sandbox.box import Box
from studio_sandbox.commands import sandbox as commands
from studio_sandbox.control_plane import names
from studio_sandbox.seed import database
from studio_sandbox.seed.celery import QUEUES

UP = "from studio_sandbox import box; print(box.up().box.pids['guard'], flush=True)"
UP_TIED = f"{UP.replace('up()', 'up(tied=True)')}; import time; time.sleep(60)"
GONE_WITHIN_S = 2.0
# given to a Python that is not this environment's own, where another user can run no other
PACKAGES = os.pathsep.join(
    [str(Path(sandbox.__file__).parents[1]), str(Path(psutil.__file__).parents[1])]
)
AGES = {
    "users": "created_at",
    "subscriptions": "updated_at",
    "payments": "created_at",
    "files": "created_at",
    "jobs": "updated_at",
}


def rows(box: Box, query: str, *values: object) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(box.database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
    finally:
        connection.close()


def keys(box: Box) -> dict[str, Any]:
    """Every key of Redis with its value."""
    with redis.Redis.from_url(box.redis_url, decode_responses=True) as server:
        read: dict[str, Callable[[str], Any]] = {
            "string": server.get,
            "list": lambda key: server.lrange(key, 0, -1),
            "hash": server.hgetall,
            "set": lambda key: sorted(server.smembers(key)),
            "zset": lambda key: server.zrange(key, 0, -1),
        }
        return {key: read[server.type(key)](key) for key in sorted(server.scan_iter(count=1000))}


def checksum(box: Box) -> str:
    """Over every id and age in the database, and every key and value in Redis."""
    found = [
        rows(
            box,
            f"SELECT md5(string_agg(concat(id, %s - {stamp}), ',' ORDER BY id)) FROM {table}",  # noqa: S608
            box.anchor.replace(tzinfo=None),
        )
        for table, stamp in AGES.items()
    ]
    found.append(
        rows(box, "SELECT md5(string_agg(concat(id, amount), ',' ORDER BY id)) FROM usage_logs")
    )
    return hashlib.sha256(json.dumps([found, keys(box)]).encode()).hexdigest()


def processes_of(box: Box) -> list[psutil.Process]:
    """The guard and all that come from it, PostgreSQL's backends too."""
    guard = psutil.Process(box.pids["guard"])
    return [guard, *guard.children(recursive=True)]


def assert_nothing_lives(folder: Path, processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while not folders.nothing_lives(folder) or any(map(lives, processes)):
        assert time.monotonic() < deadline, [found for found in processes if lives(found)]
        time.sleep(0.02)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def python(
    code: str, home: Path, *, program: str = sys.executable, **more: Any
) -> subprocess.Popen[str]:
    environment = os.environ | {"RUNBOOK_HOME": str(home), "PYTHONPATH": PACKAGES}
    command = [program, "-P", "-c", code]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **more)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A state folder for sandboxes that are killed; its data folder stays warm between them."""
    yield from make_home()


@pytest.fixture
def cold_home() -> Iterator[Path]:
    """A state folder that no sandbox has been in."""
    yield from make_home()


def make_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="runbook-servers-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    yield home
    sandbox.down(home / "sandbox")
    shutil.rmtree(home)


# what is in them


def test_there_are_thousands_of_users_and_jobs_of_every_kind_and_status(box: Box) -> None:
    [(users,)] = rows(box, "SELECT count(*) FROM users")
    [(jobs,)] = rows(box, "SELECT count(*) FROM jobs")
    [(kinds, statuses)] = rows(box, "SELECT count(DISTINCT kind), count(DISTINCT status) FROM jobs")
    plans = rows(box, "SELECT name, price_jod::int, token_limit FROM plans ORDER BY price_jod")
    assert users >= 5000
    assert jobs >= 20000
    assert (kinds, statuses) == (6, 4)
    assert plans == [("Starter", 3, 150000), ("Pro", 5, 400000), ("Creator", 7, 1000000)]


def test_the_studio_is_healthy_no_job_is_stuck_and_nobody_is_over_a_limit(fresh_box: Box) -> None:
    box = sandbox.reset()
    [(working, oldest)] = rows(
        box,
        "SELECT count(*), extract(epoch FROM max(%s - updated_at)) FROM jobs"
        " WHERE status = 'processing'",
        box.anchor.replace(tzinfo=None),
    )
    over = rows(
        box,
        """
        SELECT user_id, kind, sum(amount) FROM usage_logs
        JOIN subscriptions USING (user_id) JOIN plans ON plans.id = plan_id
        WHERE subscriptions.status = 'active'
        GROUP BY user_id, kind, date_trunc('month', usage_logs.created_at),
                 token_limit, image_limit, video_limit
        HAVING sum(amount) > CASE kind WHEN 'tokens' THEN token_limit
                                       WHEN 'images' THEN image_limit ELSE video_limit END
        """,
    )
    assert working > 10
    assert oldest < 15 * 60
    assert over == []


def test_nothing_in_the_database_is_later_than_the_anchor(box: Box) -> None:
    for table, stamp in (AGES | {"usage_logs": "created_at"}).items():
        [(latest,)] = rows(box, f"SELECT max({stamp}) FROM {table}")  # noqa: S608
        assert latest <= box.anchor.replace(tzinfo=None), table


def test_two_resets_give_the_same_ids_ages_and_keys(fresh_box: Box) -> None:
    first = checksum(sandbox.reset())
    with redis.Redis.from_url(fresh_box.redis_url) as server:
        server.flushall()
    rows(fresh_box, "UPDATE jobs SET status = 'failed' RETURNING 1")
    second = sandbox.reset()
    assert checksum(second) == first
    assert second.anchor >= fresh_box.anchor
    assert second.pids == fresh_box.pids


def test_a_reset_gets_past_a_session_that_holds_locks_and_drops_databases_made_since(
    fresh_box: Box,
) -> None:
    holder = psycopg2.connect(fresh_box.database_url)
    holder.cursor().execute("LOCK TABLE jobs")
    rows(fresh_box, "DROP TABLE alembic_version CASCADE; SELECT 1")
    box = sandbox.reset()
    assert rows(box, "SELECT count(*) FROM alembic_version") == [(1,)]
    with pytest.raises(psycopg2.OperationalError):
        holder.cursor().execute("SELECT 1")
    holder.close()


def test_after_a_reset_no_service_is_connected_yet(fresh_box: Box) -> None:
    """What was asked before must not show in what is committed of a Studio where nobody asks."""
    request = urllib.request.Request(  # noqa: S310
        f"{fresh_box.endpoints_url}/v1/health", headers={"Host": names.API_HOST}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status == 200
    connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ai-studio'"
    assert rows(fresh_box, connected)[0][0] > 0

    box = sandbox.reset()

    assert rows(box, connected) == [(0,)]


def test_this_months_counters_equal_the_sums_of_the_database(fresh_box: Box) -> None:
    box = sandbox.reset()
    month = f"{box.anchor:%Y-%m}"
    sums = rows(
        box,
        "SELECT user_id::text, kind, sum(amount) FROM usage_logs"
        " WHERE to_char(created_at, 'YYYY-MM') = %s GROUP BY 1, 2",
        month,
    )
    names = {"tokens": "tokens", "images": "images", "video": "videos"}
    expected = {f"usage:{names[kind]}:{user}:{month}": str(n) for user, kind, n in sums}
    assert {k: v for k, v in keys(box).items() if k.startswith("usage:")} == expected
    assert len(expected) > 1000


def test_a_still_sandbox_has_the_same_sums_on_every_day_of_the_month(fresh_box: Box) -> None:
    sums = []
    for anchor in (datetime(2026, 2, 1, 0, 0, 30, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)):
        port = int(fresh_box.database_url.rsplit(":", 1)[1].split("/")[0])
        database.seed(folders.passwords(fresh_box.folder), port=port, anchor=anchor, still=True)
        sums.append(
            rows(
                fresh_box,
                "SELECT user_id, kind, sum(amount), max(created_at) <= %s FROM usage_logs"
                " WHERE created_at >= %s GROUP BY 1, 2 ORDER BY 1, 2",
                anchor.replace(tzinfo=None),
                anchor.replace(tzinfo=None, day=1, hour=0, second=0),
            )
        )
    assert sums[0] == sums[1]
    assert len(sums[0]) > 1000


def test_the_brokers_queues_hold_the_jobs_that_wait_and_that_are_worked_on(box: Box) -> None:
    box = sandbox.reset()
    held = keys(box)
    waiting = {
        json.loads(message)["headers"]["id"] for queue in QUEUES for message in held.get(queue, [])
    }
    jobs = rows(box, "SELECT id::text, status FROM jobs WHERE status IN ('pending', 'processing')")
    assert waiting == {job for job, status in jobs if status == "pending"}
    assert set(held["unacked"]) == {job for job, status in jobs if status == "processing"}


def test_rate_limits_expire(box: Box) -> None:
    with redis.Redis.from_url(box.redis_url, decode_responses=True) as server:
        limits = list(server.scan_iter("ratelimit:*"))
        assert len(limits) > 50
        assert all(server.ttl(key) > 0 for key in limits)


# who may reach them


def test_all_listen_on_loopback_alone(box: Box) -> None:
    listening = {
        connection.laddr.ip
        for process in processes_of(box)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_database_and_redis_want_a_password(box: Box) -> None:
    secret = box.database_url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(box.database_url.replace(secret, "guessed"))
    port = int(box.redis_url.rsplit(":", 1)[1].split("/")[0])
    once = Retry(NoBackoff(), 0)
    with pytest.raises(redis.AuthenticationError), redis.Redis(port=port, retry=once) as server:
        server.ping()
    told = [" ".join(process.cmdline()) for process in processes_of(box)]
    assert not any(secret in line for line in told)


def test_files_that_hold_secrets_are_their_owners_alone(box: Box) -> None:
    for name in (
        "state.json",
        "connection.json",
        "passwords.json",
        "aws-credentials",
        "slack-webhook",
    ):
        assert (box.folder / name).stat().st_mode & 0o777 == 0o600, name


def test_the_exports_are_all_that_other_clients_need(box: Box) -> None:
    code = (
        "import os, boto3, psycopg2, redis\n"
        "c = psycopg2.connect(os.environ['DATABASE_URL']).cursor()\n"
        "c.execute('SELECT count(*) FROM plans'); print(c.fetchone()[0])\n"
        "print(redis.Redis.from_url(os.environ['REDIS_URL']).ping())\n"
        "print(boto3.client('sts').get_caller_identity()['Arn'])\n"
    )
    exports = CliRunner().invoke(commands, ["env"]).stdout
    script = f'{exports}\nexec "$0" -P -c "$1"'
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script, sys.executable, code],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["3", "True", "arn:aws:iam::123456789012:user/oncall"]


def test_the_library_reaches_all_of_it_through_its_own_settings(box: Box) -> None:
    path = Path(__file__).parents[2] / "parameters" / "environments" / "sandbox.yaml"
    clients = Clients(settings.load_file(path))
    try:
        assert clients.identity.name == "user/oncall"
        assert clients.redis.ping()
        with clients.database.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM plans").scalar() == 3
    finally:
        clients.close()


# commands


def test_up_is_a_no_op_when_it_runs_and_json_is_alone_on_stdout(box: Box) -> None:
    done = CliRunner().invoke(commands, ["up", "--json"])
    assert "already" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["started"], answer["pids"]) == (False, box.pids)


def test_a_sandbox_that_is_not_there_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    done = CliRunner().invoke(commands, ["status", "--json"])
    answer = json.loads(done.stdout)
    assert done.exit_code == 0
    assert answer.pop("running") is False
    assert set(answer.values()) == {None}
    assert not sandbox.down()
    with pytest.raises(NotReachable, match="No sandbox is running"):
        sandbox.reset()


# how they end


@pytest.mark.parametrize("killed", ["guard", "mourner", "postgres", "redis", "aws"])
def test_when_any_process_is_killed_none_is_left_and_the_next_up_works(
    home: Path, killed: str
) -> None:
    folder = home / "sandbox"
    box = sandbox.up(folder=folder).box
    busy = psycopg2.connect(box.database_url, async_=1)
    while busy.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.01)
    busy.cursor().execute("SELECT count(*) FROM generate_series(1, 1e10::bigint)")
    processes = processes_of(box)
    os.kill(box.pids[killed], signal.SIGKILL)
    assert_nothing_lives(folder, processes)
    busy.close()
    again = sandbox.up(folder=folder)
    assert again.fresh
    assert rows(again.box, "SELECT count(*) FROM plans") == [(3,)]


def test_a_restored_cluster_s_server_dies_with_the_guard(home: Path) -> None:
    box = sandbox.up(folder=home / "sandbox").box
    rds = aurora.client(box, "rds")
    (snapshot, *_) = rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="orphan",
        SnapshotIdentifier=snapshot["DBClusterSnapshotIdentifier"],
        Engine="aurora-postgresql",
    )
    aurora.until_cluster(rds, "orphan")
    aurora.add_instance(rds, "orphan")
    aurora.until_served(rds, "orphan")
    (server,) = aurora.servers(box)
    processes = processes_of(box)
    assert server in processes
    os.kill(box.pids["guard"], signal.SIGKILL)
    assert_nothing_lives(home / "sandbox", processes)


def test_up_is_refused_when_still_is_wanted_and_the_running_one_is_not(home: Path) -> None:
    sandbox.up(folder=home / "sandbox")
    with pytest.raises(Refused, match="not still"):
        sandbox.up(still=True, folder=home / "sandbox")


def test_two_ups_at_once_get_the_same_sandbox(home: Path) -> None:
    sandbox.down(home / "sandbox")
    twins = [python(UP, home) for _ in range(2)]
    answers = {twin.communicate(timeout=60)[0] for twin in twins}
    running = sandbox.status(home / "sandbox")
    assert running is not None
    assert answers == {f"{running.pids['guard']}\n"}


def test_down_leaves_nothing(home: Path) -> None:
    box = sandbox.up(folder=home / "sandbox").box
    processes = processes_of(box)
    assert sandbox.down(home / "sandbox")
    assert_nothing_lives(home / "sandbox", processes)
    assert not (home / "sandbox" / "connection.json").exists()


@pytest.mark.parametrize(
    ("stage", "ended_by"),
    [
        ("logs/guard.log", signal.SIGKILL),
        ("logs/aws.log", signal.SIGTERM),
        ("servers/postgres/new", signal.SIGKILL),  # initdb is at work
        ("logs/postgres.log", signal.SIGINT),  # the database is being filled
    ],
)
def test_a_starting_command_that_is_ended_leaves_nothing(
    cold_home: Path, stage: str, ended_by: signal.Signals
) -> None:
    processes = end_a_start(cold_home, stage, ended_by)
    assert_nothing_lives(cold_home / "sandbox", processes)
    assert sandbox.status(cold_home / "sandbox") is None


def test_the_next_up_works_after_a_start_was_killed(cold_home: Path) -> None:
    end_a_start(cold_home, "servers/postgres/new", signal.SIGKILL)
    assert sandbox.up(folder=cold_home / "sandbox").fresh


def end_a_start(home: Path, stage: str, ended_by: signal.Signals) -> list[psutil.Process]:
    """Start, and end the starting command as soon as that file is there; gives its processes."""
    # tests that run in the background are deaf to Ctrl-C, and their children would be, too
    starting = python(
        UP,
        home,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (home / "sandbox" / stage).exists():
        assert starting.poll() is None
        time.sleep(0.005)
    processes = psutil.Process(starting.pid).children(recursive=True)
    starting.send_signal(ended_by)
    starting.communicate()
    return processes


def test_data_that_is_not_for_our_password_is_made_anew(home: Path) -> None:
    sandbox.up(folder=home / "sandbox")
    sandbox.down(home / "sandbox")
    (home / "sandbox" / "passwords.json").unlink()
    assert rows(sandbox.up(folder=home / "sandbox").box, "SELECT count(*) FROM plans") == [(3,)]


def test_data_that_postgresql_does_not_start_on_is_made_anew(home: Path) -> None:
    sandbox.up(folder=home / "sandbox")
    sandbox.down(home / "sandbox")
    [control] = (home / "sandbox").rglob("global/pg_control")
    control.write_bytes(b"")
    assert rows(sandbox.up(folder=home / "sandbox").box, "SELECT count(*) FROM plans") == [(3,)]


def test_servers_are_found_on_path_where_there_are_no_wheels(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, who = home / "sandbox" / "servers", servant.servant()
    in_wheels = [programs.postgres_folder(who, place), programs.valkey(who, place).parent]
    monkeypatch.setattr(programs, "_wheel", lambda _package: None)
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, in_wheels)))
    on_path = [programs.postgres_folder(who, place), programs.valkey(who, place).parent]
    assert on_path == in_wheels
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReachable, match="can run no Valkey here; tried: none is installed"):
        programs.valkey(who, place)


def test_a_tied_sandbox_ends_with_who_started_it(home: Path) -> None:
    sandbox.down(home / "sandbox")
    owner = python(UP_TIED, home)
    assert owner.stdout is not None
    assert owner.stdout.readline().strip().isdigit()
    box = sandbox.status(home / "sandbox")
    assert box is not None
    processes = processes_of(box)
    owner.kill()
    owner.communicate()
    assert_nothing_lives(home / "sandbox", processes)


def test_an_ordinary_user_has_a_sandbox_too(cold_home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: all the other tests were run as an ordinary user")
    nobody: dict[str, Any] = {"user": "nobody", "group": 65534, "extra_groups": [], "cwd": "/"}
    nobody["program"] = python_for(nobody)
    shutil.chown(cold_home, "nobody")
    code = f"{UP}\nprint(box.status().alive(), box.down())"
    out = python(code, cold_home, **nobody).communicate(timeout=60)[0]
    assert out.splitlines()[1:] == ["True True"]


def python_for(user: dict[str, Any]) -> str:
    """A Python of our version that this user can run with our packages; skips without one."""
    version = f"python3.{sys.version_info.minor}"
    code = "import boto3, moto, psutil, psycopg2, redis, studio_sandbox; print(1)"
    for program in (sys.executable, f"/usr/bin/{version}"):
        try:
            tried = python(code, Path("/"), program=program, stderr=subprocess.PIPE, **user)
        except OSError:
            continue
        if tried.communicate(timeout=60)[0] == "1\n":
            return program
    pytest.skip("not run: an ordinary user can run no Python here that has our packages")
