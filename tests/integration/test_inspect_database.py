"""inspect-database on the sandbox: as psql and `aws` see it; no text of an operator's can write."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
import sqlalchemy
from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401
from tests.support import jobs_checksum

from runbook import reach, settings
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable
from runbook.studio import aurora
from runbook.wait import Wait
from studio_sandbox.box import Box

ENVIRONMENT = settings.load("sandbox")
CLUSTER = ENVIRONMENT.database.cluster


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    found = Clients(ENVIRONMENT)
    yield found
    found.close()


def test_the_cluster_is_as_the_aws_command_has_it(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    found = aurora.read_cluster(clients.aws("rds"), cluster=CLUSTER)
    members = "DBClusterMembers[].DBInstanceIdentifier"
    told = say(
        installed("aws"), "rds", "describe-db-clusters", "--db-cluster-identifier", CLUSTER,
        "--query", f"DBClusters[0].[Endpoint,ReaderEndpoint,{members}]",
        env=exported,
    )  # fmt: skip
    theirs = json.loads(told)
    assert [found.endpoint, found.reader_endpoint] == theirs[:2]
    assert sorted(name for name, *_ in found.instances) == sorted(theirs[2])
    assert [role for _, role, *_ in found.instances] == ["writer", "reader"]
    with pytest.raises(BadInput, match="no database cluster"):
        aurora.read_cluster(clients.aws("rds"), cluster="nobody")


def test_tables_and_connections_are_as_psql_has_them(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    psql = installed("psql")
    now = aurora.read_activity(clients.database, ENVIRONMENT.database)
    for row in now.tables.itertuples():
        query = f"SELECT count(*), pg_indexes_size('{row.table}') FROM {row.table}"  # noqa: S608
        counted = say(psql, exported["DATABASE_URL"], "-Atc", query, env={}).split("|")
        assert (row.rows, round(row.indexes_mib * 2**20)) == tuple(map(int, counted))
    shown = say(psql, exported["DATABASE_URL"], "-Atc", "SHOW max_connections", env={})
    assert now.max_connections == int(shown)


@pytest.fixture
def blocked(box: Box) -> Iterator[tuple[int, int, int]]:
    """Two sessions that wait for each other's row behind one that has forgotten its transaction."""

    def connect(name: str) -> Any:
        return psycopg2.connect(box.database_url, application_name=name)

    lock = "SELECT id FROM plans WHERE name = %s FOR UPDATE"
    with (
        closing(connect("forgetful")) as root,
        closing(connect("first")) as first,
        closing(connect("second")) as second,
    ):
        pids = tuple(each.info.backend_pid for each in (root, first, second))
        root.cursor().execute(lock, ("Starter",))
        first.cursor().execute(lock, ("Pro",))
        threads = [
            threading.Thread(target=_until_cut, args=(each.cursor(), lock, name))
            for each, name in ((first, "Starter"), (second, "Pro"))
        ]
        for thread in threads:
            thread.start()
        with closing(connect("watcher")) as watcher:
            watcher.autocommit = True
            cursor = watcher.cursor()

            def both_wait() -> bool:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s) "
                    "AND cardinality(pg_blocking_pids(pid)) > 0",
                    (list(pids),),
                )
                return bool(cursor.fetchone()[0] == 2)

            Wait(timeout_s=30, interval_s=0.05).until(both_wait, what="two that wait")
        yield pids
        root.rollback()
        threads[0].join()
        first.rollback()
        threads[1].join()
        second.rollback()


def _until_cut(cursor: Any, lock: str, name: str) -> None:
    cursor.execute(lock, (name,))


def test_who_waits_for_whom_is_a_tree(blocked: tuple[int, int, int], clients: Clients) -> None:
    database = ENVIRONMENT.database
    limits = database.limits.model_copy(update={"blocked_s": 0.001, "transaction_s": 0.001})
    strict = database.model_copy(update={"limits": limits})
    now = aurora.read_activity(clients.database, strict)
    mine = [(one.pid, one.depth, one.behind) for one in now.chain if one.pid in blocked]
    assert mine == [(blocked[0], 0, 2), (blocked[1], 1, 1), (blocked[2], 2, 0)]
    assert now.status == "critical"
    assert f"2 of them behind pid {blocked[0]} (forgetful, idle in transaction" in now.doubts[0]
    assert str(blocked[0]) in repr(now.long_transactions())
    assert "forgetful" in repr(now.by_state())
    assert aurora.read_activity(clients.database, database).status == "warning"


REFUSED = [
    "DELETE FROM jobs",
    "DELETE FROM jobs RETURNING id",
    "INSERT INTO plans SELECT * FROM plans RETURNING id",
    "UPDATE jobs SET status = 'x' RETURNING id",
    "MERGE INTO jobs j USING jobs k ON j.id = k.id WHEN MATCHED THEN DELETE RETURNING j.id",
    "WITH gone AS (DELETE FROM jobs RETURNING *) SELECT * FROM gone",
    "TRUNCATE jobs",
    "DROP TABLE jobs",
    "ALTER TABLE jobs ADD COLUMN x int",
    "CREATE TABLE x AS SELECT 1",
    "SELECT * INTO x FROM jobs",
    "CREATE INDEX ON jobs (kind)",
    "GRANT ALL ON jobs TO PUBLIC",
    "COPY jobs FROM STDIN",
    "LOCK TABLE jobs IN EXCLUSIVE MODE",
    "SELECT * FROM jobs FOR UPDATE",
    "SELECT lo_create(0)",
    "VACUUM jobs",
    "CALL x()",
    "DO $x$ BEGIN DELETE FROM jobs; END $x$",
    "EXPLAIN ANALYZE DELETE FROM jobs",
    "PREPARE x AS DELETE FROM jobs",
    "SELECT query_to_xml('DELETE FROM jobs RETURNING id', true, true, '')",
    # out of the read-only transaction
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK TO SAVEPOINT operator",
    "BEGIN READ WRITE",
    # a second statement
    "SELECT 1; COMMIT; DELETE FROM jobs",
    "SELECT 1; SET TRANSACTION READ WRITE; DELETE FROM jobs",
    "SELECT 1) ; DELETE FROM jobs; SELECT (1",
    "SELECT 1 -- \n; DELETE FROM jobs",
    # none at all
    "SELECT frm plans",
    "%(x)s :y",
]


@pytest.mark.parametrize("text", REFUSED)
def test_the_server_refuses_whatever_would_write(box: Box, clients: Clients, text: str) -> None:
    with pytest.raises(BadInput, match="the server refused it"):
        aurora.select(clients.database, text)


def test_nothing_of_all_that_has_written_and_no_setting_outlives_a_select(
    box: Box, clients: Clients
) -> None:
    before = jobs_checksum(clients)
    loosened = "SELECT set_config('default_transaction_read_only', 'off', false)"
    for text in (*REFUSED, loosened):
        for way in (aurora.select, aurora.explain):
            try:
                way(clients.database, text)
            except BadInput:
                continue
    assert jobs_checksum(clients) == before
    for _ in range(4):  # as many as the pool may hold, and more
        with (
            pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"),
            clients.database.begin() as connection,
        ):
            connection.execute(sqlalchemy.text("DELETE FROM jobs"))


def test_rows_of_a_select_are_those_of_psql_and_never_more_than_asked_for(
    box: Box, clients: Clients, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    text = "SELECT id, status FROM jobs ORDER BY id"
    told = say(installed("psql"), exported["DATABASE_URL"], "-Atc", f"{text} LIMIT 7", env={})
    found = aurora.select(clients.database, f"{text};\n", at_most=7)
    assert [f"{row.id}|{row.status}" for row in found.frame.itertuples()] == told.splitlines()
    assert found.more
    percent = aurora.select(clients.database, "SELECT 'a%b :c' AS x, 1 AS x")
    assert percent.frame.to_numpy().tolist() == [["a%b :c", 1]]
    assert "Seq Scan on plans" in repr(aurora.explain(clients.database, "SELECT * FROM plans"))


def test_a_select_that_takes_too_long_is_stopped_by_the_server(box: Box) -> None:
    quick = ENVIRONMENT.database.model_copy(update={"statement_timeout_s": 1})
    clients = Clients(ENVIRONMENT.model_copy(update={"database": quick}))
    with pytest.raises(Failed, match="The server stopped the query"):
        aurora.select(clients.database, "SELECT pg_sleep(30)")
    clients.close()


# from a laptop

FAKE_PLUGIN = """#!{python}
import json, os, socket, sys, threading
if sys.argv[1:] == ["--version"]:
    print("{version}")
    sys.exit()
variable, region, action, profile, asked, endpoint = sys.argv[1:]
assert json.loads(os.environ[variable])["TokenValue"] == "token-of-a-session"
assert "token-of-a-session" not in " ".join(sys.argv)
wanted = {{name: values[0] for name, values in json.loads(asked)["Parameters"].items()}}
server = socket.create_server(("127.0.0.1", int(wanted["localPortNumber"])))
print("Waiting for connections...", flush=True)

def pass_on(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

while True:
    here, _ = server.accept()
    there = socket.create_connection((wanted["host"], int(wanted["portNumber"])))
    for pair in ((here, there), (there, here)):
        threading.Thread(target=pass_on, args=pair, daemon=True).start()
"""


class Ssm:
    """What Systems Manager answers; the sandbox has nobody to talk to."""

    class meta:  # noqa: N801
        endpoint_url = "https://ssm.example"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def start_session(self, **asked: Any) -> dict[str, str]:
        self.asked.append(asked)
        return {"SessionId": "s-1", "TokenValue": "token-of-a-session", "StreamUrl": "wss://x"}


class FromALaptop(Clients):
    """The sandbox's clients, with sessions."""

    ssm = Ssm()

    def aws(self, service: str, *, region: str = "", once: bool = False) -> Any:
        return self.ssm if service == "ssm" else super().aws(service, region=region, once=once)


def laptop(through: str = "i-0123456789abcdef0") -> FromALaptop:
    changed = {"reach": "ssm-port-forward", "through": through}
    database = ENVIRONMENT.database.model_copy(update=changed)
    return FromALaptop(ENVIRONMENT.model_copy(update={"database": database}))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1.2.707.0") -> None:
    plugin = folder / reach.PLUGIN
    plugin.write_text(FAKE_PLUGIN.format(python=sys.executable, version=version))
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_the_database_is_reached_by_a_port_forward_which_ends_with_the_clients(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    clients = laptop()
    found = aurora.select(clients.database, "SELECT inet_server_port() AS port")
    (asked,) = clients.ssm.asked
    real = urlsplit(box.database_url)
    assert found.frame.port[0] == real.port
    assert asked["Target"] == "i-0123456789abcdef0"
    assert asked["Parameters"]["portNumber"] == [str(real.port)]
    local = int(asked["Parameters"]["localPortNumber"][0])
    assert local != real.port
    with clients.database_writer.connect() as connection:  # by the same forward
        connection.execute(sqlalchemy.text("SELECT 1"))
    assert len(clients.ssm.asked) == 1
    clients.close()
    assert not [one for one in psutil.Process().children() if one.is_running()
                and any(reach.PLUGIN in word for word in one.cmdline())]  # fmt: skip


def test_without_the_plugin_one_sentence_says_what_is_missing(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReachable) as refused:
        _ = laptop().database
    assert refused.value.message.count(".") == 1
    assert reach.PLUGIN in refused.value.message
    assert refused.value.next.startswith("Install it: https://docs.aws.amazon.com/")
    install(tmp_path, monkeypatch, version="1.2.30.0")
    with pytest.raises(NotReachable, match=r"1\.2\.497 or newer"):
        _ = laptop().database


def test_an_instance_is_named_by_itself_or_by_a_tag_and_has_to_run(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    with pytest.raises(BadInput, match="names no instance"):
        _ = laptop("").database
    with pytest.raises(BadInput, match="no instance runs with tag:Name=bastion"):
        _ = laptop("tag:Name=bastion").database


def test_the_section_shows_no_password_and_is_judged(box: Box) -> None:
    password = urlsplit(box.database_url).password
    assert password
    told = runbook("run", "inspect-database")
    assert (told.code, told.json["verdict"]) == (0, "succeeded"), told.err
    assert told.json["result"]["status"] in ("ok", "warning")
    folder = Path(told.json["notebook"]).parent
    for file in folder.iterdir():
        assert password not in file.read_text(encoding="utf-8")
    assert password not in repr(Clients(ENVIRONMENT).database)
    refused = runbook("run", "inspect-database", "-p", "sql", "DELETE FROM jobs RETURNING id")
    assert (refused.code, refused.json["error"]["class"]) == (2, "BadInput")
