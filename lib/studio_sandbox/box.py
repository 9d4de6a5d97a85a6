"""The Studio in a box, as Python sees it: up, down, status, reset.

    started = box.up()          started.box, started.fresh (False: it was running already)
    box.status()                the running Box, or None
    box.reset()                 the same servers with everything as it was at the start
    box.down()                  whether there was anything to stop

**Every start and every reset makes all data anew**, as of the *anchor*: the moment (UTC, whole
seconds) when the command began. Time in the sandbox is real, so ages grow from there: each row,
event and revision is as old as the anchor minus a fixed age, and its id never varies.

What `still` adds is that outputs can be compared. There is no traffic, so nothing happens after
the anchor; ages are whole minutes, so that for the first 60 s after a start or a reset every age
that is cut to minutes, and every count over a window of whole minutes, reads the same (compare
right after a `reset`; hours and days hold longer, but not for ever); rate limits expire after six
hours and not within their minute; and the usage of the last 15 days is spread over the current
month whatever its day, so that the month's sums are always the same. What still varies: dates
and times themselves, how old a row of `usage_logs` is, the month in the counters' names, ports
and passwords.
"""

from __future__ import annotations

import configparser
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook.errors import NotReachable, Refused
from studio_sandbox import folder as folders
from studio_sandbox import servant, state
from studio_sandbox.guard import Order, working_folders
from studio_sandbox.process import kill_leftovers
from studio_sandbox.state import Box

__all__ = ["Box", "Started", "down", "environment_variables", "reset", "status", "up"]

ACCOUNT = "123456789012"
REGION, BACKUP_REGION = "eu-central-1", "eu-west-1"
_STOP_WITHIN_S = 10.0
Say = Callable[[str], None]
_SILENT: Say = lambda _text: None  # noqa: E731

# Guards that this process has started: their death pipes stay open, and their ends are noticed.
_guards: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Started:
    """What `up` gives. `fresh` is False when the sandbox was running already."""

    box: Box
    fresh: bool


def up(
    *,
    still: bool = False,
    tied: bool = False,
    folder: Path | None = None,
    say: Say = _SILENT,
) -> Started:
    """Start the sandbox and fill it, or give the one that runs. One start at a time: others wait.

    `tied`: it ends with this process, however this process ends. `say` is called with progress.
    Raises NotReachable (a server does not start), Refused (`still`, but one runs that is not).
    """
    where = folder or folders.sandbox_folder()
    folders.make(where)
    with folders.command_lock(where):
        if running := _running(where):
            if still and not running.still:
                raise Refused(
                    "A sandbox is running that is not still.",
                    next="./runbook sandbox down, then up --still",
                )
            return Started(running, fresh=False)
        _sweep(where)
        say("starting PostgreSQL, Valkey and AWS, and filling them")
        order = Order(where, ACCOUNT, REGION, BACKUP_REGION, _now(), still)
        _start_guard(order, tied=tied)
        box = state.read(where)
        if box is None:
            raise NotReachable("The sandbox ended as soon as it had started.")
        return Started(box, fresh=True)


def status(folder: Path | None = None) -> Box | None:
    """The running sandbox, or None. Takes no lock and changes nothing."""
    _reap()
    box = state.read(folder or folders.sandbox_folder())
    return box if box and box.alive() else None


def down(folder: Path | None = None) -> bool:
    """Stop the sandbox; afterwards no process of it is left. False: there was none.

    The warm data folder and the passwords stay. Raises NotReachable when something will not end.
    """
    where = folder or folders.sandbox_folder()
    if not where.exists():
        return False
    with folders.command_lock(where):
        box = state.read(where)
        was_there = not folders.nothing_lives(where)
        if box and box.alive():
            box.processes["guard"].send(signal.SIGTERM)
            with suppress(NotReachable):  # what will not end by itself is swept away
                _wait_for_end(where)
        _sweep(where)
        return was_there


def reset(folder: Path | None = None, *, say: Say = _SILENT) -> Box:
    """Put everything back as after a start, with a new anchor and the same servers and URLs.

    Sessions that hold locks in the database are ended, and databases made since are dropped.
    Raises NotReachable when no sandbox runs.
    """
    where = folder or folders.sandbox_folder()
    folders.make(where)
    with folders.command_lock(where):
        box = _running(where)
        if box is None:
            raise NotReachable("No sandbox is running.", next="./runbook sandbox up")
        say("putting everything back")
        fresh = replace(box, anchor=_now())
        _reseed(fresh)
        state.write(fresh)
        return fresh


def environment_variables(box: Box) -> dict[str, str]:
    """What other clients need: endpoint, credentials of the on-call identity, region, URLs."""
    credentials = configparser.ConfigParser(interpolation=None)
    credentials.read(box.credentials_file, encoding="utf-8")
    profile = credentials[state.PROFILE]
    return {
        "AWS_ENDPOINT_URL": box.aws_endpoint_url,
        "AWS_ACCESS_KEY_ID": profile["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": profile["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": box.region,
        "DATABASE_URL": box.database_url,
        "REDIS_URL": box.redis_url,
    }


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _running(where: Path) -> Box | None:
    """The sandbox if all of it lives. One that is about to end is waited for, and is none."""
    _reap()
    box = state.read(where)
    if box is None or not box.alive():
        return None
    if all(process.alive() for process in box.processes.values()):
        return box
    with suppress(NotReachable):  # what will not end by itself is swept away
        _wait_for_end(where)
    return None


def _reap() -> None:
    """Take notice of guards of ours that have ended, so that they are no zombies."""
    _guards[:] = [guard for guard in _guards if guard.poll() is None]


def _wait_for_end(where: Path) -> None:
    deadline = time.monotonic() + _STOP_WITHIN_S
    while not folders.nothing_lives(where):
        _reap()
        if time.monotonic() > deadline:
            raise NotReachable(f"A process of the sandbox in {where} does not end.")
        time.sleep(0.02)


def _sweep(where: Path) -> None:
    """After a crash: end what is left, and forget how it was reached."""
    if not folders.nothing_lives(where):
        servers = servant.servers_folder(where, servant.servant())
        kill_leftovers(working_folders(where, servers))
        _wait_for_end(where)
    _reap()
    state.remove(where)


def _start_guard(order: Order, *, tied: bool) -> None:
    with (order.folder / "logs" / "guard.log").open("w") as log:
        guard = subprocess.Popen(
            [sys.executable, "-P", "-m", "studio_sandbox.guard"],
            cwd=order.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    _guards.append(guard)
    try:
        _raise_unless(_ask(guard, order.to_json()), "ready", order.folder)
        if not tied:
            _raise_unless(_ask(guard, "keep"), "kept", order.folder)
    except BaseException:  # an interrupt too: nothing half-started stays
        assert guard.stdin is not None  # noqa: S101  asked for
        with suppress(BrokenPipeError):
            guard.stdin.close()
        guard.wait()
        raise


def _ask(guard: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """One line to the guard, and its answer; nothing when it has ended."""
    assert guard.stdin is not None  # noqa: S101  asked for
    assert guard.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError):
        guard.stdin.write(f"{line}\n")
        guard.stdin.flush()
    answer: dict[str, Any] = json.loads(guard.stdout.readline() or "{}")
    return answer


def _raise_unless(answer: dict[str, Any], wanted: str, where: Path) -> None:
    if not answer.get(wanted):
        raise NotReachable(
            answer.get("error", "The sandbox ended while it was starting."),
            next=answer.get("next") or f"Look into {where / 'logs'}.",
        )


def _reseed(box: Box) -> None:
    import psycopg2
    import redis

    from studio_sandbox import seed

    try:
        _control_aws(box, "hold")  # nothing is counted or worked on while it is replaced
        seed.everything(
            folders.passwords(box.folder),
            postgres_port=_port(box.database_url),
            valkey_port=_port(box.redis_url),
            anchor=box.anchor,
            still=box.still,
        )
        _control_aws(box, "reset", {"anchor": box.anchor.isoformat()})
    except (psycopg2.OperationalError, redis.RedisError, OSError) as error:
        raise NotReachable(
            f"The sandbox could not be reset: {error}",
            next="./runbook sandbox down, then ./runbook sandbox up",
        ) from error


def _control_aws(box: Box, what: str, content: dict[str, Any] | None = None) -> None:
    request = urllib.request.Request(  # noqa: S310  our own server, on loopback
        f"{box.aws_endpoint_url}/sandbox/{what}",
        data=json.dumps(content or {}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
    with opener.open(request, timeout=30) as answer:
        answer.read()


def _port(url: str) -> int:
    port = urlsplit(url).port
    if port is None:
        raise ValueError(f"no port in the sandbox's URL {urlsplit(url).scheme}://…")
    return port
