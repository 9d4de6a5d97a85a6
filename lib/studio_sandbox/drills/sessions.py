"""`python -m studio_sandbox.drills.sessions`: somebody's sessions in the database, and no tool.

One line on stdin says what to do; one on stdout says which sessions there are, once the first
holds its lock and the others wait for it. It ends when none of them is left: with the server, at
the latest.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errors, sql

from runbook.errors import NotReachable
from studio_sandbox.process import Identity

_WITHIN_S = 20.0
_BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ANY (%s)"


def start(folder: Path, order: dict[str, Any]) -> tuple[Identity, dict[str, Any]]:
    """Start them in a process of their own; who it is, and their pids in the server.

    `order`: url, table, application, stubborn, waiting. Raises NotReachable.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "studio_sandbox.drills.sessions"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101  asked for
    assert process.stdout is not None  # noqa: S101
    with process.stdin, process.stdout:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
    if not said:
        raise NotReachable("The sessions of the drill did not come so far.")
    return Identity.of(process.pid), json.loads(said)


def main() -> None:
    """Do what the line on stdin says."""
    order = json.loads(sys.stdin.readline())
    held = threading.Event()
    blocker = _connect(order, order["application"])
    waiters = [_connect(order, "ai-studio") for _ in range(order["waiting"])]
    works = [threading.Thread(target=_block, args=(blocker, order, held))]
    works += [threading.Thread(target=_wait, args=(one, order, held)) for one in waiters]
    for work in works:
        work.start()
    held.wait(_WITHIN_S)
    waiting = [_pid(one) for one in waiters]
    with closing(_connect(order, "")) as watcher:
        _until_blocked(watcher, waiting)
    print(json.dumps({"blocker": _pid(blocker), "waiters": waiting}), flush=True)


def _connect(order: dict[str, Any], application: str) -> Any:
    return psycopg2.connect(order["url"], application_name=application)


def _pid(connection: Any) -> int:
    pid: int = connection.info.backend_pid
    return pid


def _block(connection: Any, order: dict[str, Any], held: threading.Event) -> None:
    """Hold the table, and do something long meanwhile. A stubborn one begins again."""
    table = sql.Identifier(order["table"])
    with (
        suppress(psycopg2.OperationalError, psycopg2.InterfaceError),
        connection.cursor() as cursor,
    ):
        while True:
            try:
                cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
                held.set()
                cursor.execute(sql.SQL("SELECT count(*) FROM {}, pg_sleep(86400)").format(table))
            except errors.QueryCanceled:
                connection.rollback()
                if not order["stubborn"]:
                    break
    _stay(connection)


def _wait(connection: Any, order: dict[str, Any], held: threading.Event) -> None:
    """Want to read the table as soon as it is held, and stay connected afterwards."""
    held.wait()
    table = sql.Identifier(order["table"])
    with suppress(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
        connection.rollback()
    _stay(connection)


def _stay(connection: Any) -> None:
    """Until the server ends the session."""
    if not connection.closed:
        select.select([connection], [], [])


def _until_blocked(watcher: Any, pids: list[int]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    watcher.autocommit = True
    with watcher.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(_BLOCKED, (pids,))
            if cursor.fetchone()[0] == len(pids):
                return
            time.sleep(0.02)
    raise NotReachable("Nobody waits for the table.")


if __name__ == "__main__":
    main()
