"""`./runbook prove redis`: a family of five million keys is removed, beside two usual ways.

Ours (`redis_families.remove`), `redis-cli --scan | xargs redis-cli unlink`, and KEYS with DEL, in
one run on the same server with the same keys; another client, a process of its own, asks for one
key all the while. `--runs N`: with so many keys. Without redis-cli on this machine there is
nothing to compare with, and the proof does not hold.

The first two are tried twice. Over a link of half a millisecond there and back, as between a task
and its ElastiCache, ours has to be five times as fast: the command waits for an answer every ten
keys, a script for one every 250. On loopback, where nobody waits for a network, it has to be no
slower. The other client is as near as we are each time, and must hardly feel it.

Where the limit lies on loopback, in microseconds of the server's processor time a key: the command
costs 2.9, and waits for itself between; SCAN and UNLINK alone cost 1.85, in a script or not. To
tell a family's names from those of others comes on top of that, and is what keeps them. A script of
250 keys on loopback would be half as fast again as one of 60, and everybody would wait four times
as long as when nobody clears: the length of a script follows the way to the server and back.

Scripts shorter than 60 keys are not felt less on two cores (another client's p99 is 0.37 ms with 20
keys and with 60, of 0.17 when nobody clears): what is left of it is three processes on two cores.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import redis

from runbook.studio import redis_families
from studio_sandbox import state
from studio_sandbox.faulty_link import FaultyLink
from studio_sandbox.proofs.proof import Asked

_KEYS, _BATCH = 5_000_000, 50_000
_PREFIX, _FAMILY = "proof", "proof:*"
_FASTER, _SLOWER = 5.0, 2.0  # than the command; another client's p99, than when nobody clears
_THERE_S = 0.00025  # of the link, in each direction
_IDLE_S = 3.0
_MEMORY = "2gb"
_FILL = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('SET', ARGV[3] .. ':' .. i, i) end
"""


@dataclass(frozen=True)
class Way:
    """One way: seconds, and what another client felt meanwhile, in milliseconds."""

    name: str
    seconds: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True)
class Cleared:
    """All ways on loopback, `near`, and over a link, `far`: each time the client alone first, then
    ours. `left` are keys that were left behind."""

    keys: int
    near: tuple[Way, ...]
    far: tuple[Way, ...]
    left: int

    @property
    def holds(self) -> bool:
        fast = self._times(self.near) >= 1 and self._times(self.far) >= _FASTER
        both = (self.near, self.far)
        unfelt = all(ours.p99_ms < _SLOWER * idle.p99_ms for idle, ours, *_ in both)
        return fast and unfelt and not self.left

    @staticmethod
    def _times(ways: tuple[Way, ...]) -> float:
        """How many times as long as ours the command took; 0 without it."""
        command = next((one for one in ways if "redis-cli" in one.name), None)
        return command.seconds / ways[1].seconds if command else 0.0

    def table(self) -> str:
        """One line a way."""
        lines = [
            f"{self.keys:,} keys",
            f"{'way':<57}{'s':>9}{'a second':>13}{'p99 ms':>9}{'worst ms':>10}",
        ]
        idle = (self.near[0], self.far[0])
        for one in (*self.near, *self.far):
            rate = f"{self.keys / one.seconds:,.0f}" if one not in idle else ""
            lines.append(
                f"{one.name:<57}{one.seconds:>9.2f}{rate:>13}{one.p99_ms:>9.2f}{one.worst_ms:>10.2f}"
            )
        lines.append(
            f"{'holds' if self.holds else 'does not hold'}: {self._times(self.far):.1f} times as "
            f"fast as the command over a link ({_FASTER:g} wanted), {self._times(self.near):.1f} "
            "times on loopback"
        )
        return "\n".join(lines)


def prove(asked: Asked) -> Cleared:
    """Fill and clear, one way after the other."""
    box = state.read(asked.home / "sandbox")
    if box is None:
        raise LookupError("the proof's sandbox does not run")
    url, keys = box.redis_url, asked.runs or _KEYS
    client = redis.Redis.from_url(url, decode_responses=True)
    client.config_set("maxmemory", _MEMORY)
    left = 0

    def tried(there: str, ways: Mapping[str, Callable[[], Any]], where: str) -> tuple[Way, ...]:
        nonlocal left
        found = [_felt(f"nobody clears{where}", there, lambda: time.sleep(_IDLE_S))]
        for name, clear in ways.items():
            _fill(client, keys)
            asked.say(f"{name}{where} …")
            found.append(_felt(f"{name}{where}", there, clear))
            left += sum(1 for _ in client.scan_iter(f"{_PREFIX}:*", count=10_000))
        return tuple(found)

    near = tried(url, {**_ways(url), "KEYS, then DEL": lambda: _by_keys(client)}, "")
    with _link(url) as far_url:
        far = tried(far_url, _ways(far_url), ", over a link")
    return Cleared(keys, near, far, left)


def _ways(url: str) -> dict[str, Callable[[], Any]]:
    """Ours first; the command where this machine has it."""
    client = redis.Redis.from_url(url, decode_responses=True)
    found: dict[str, Callable[[], Any]] = {
        "ours: SCAN and UNLINK inside the server": lambda: redis_families.remove(client, _FAMILY)
    }
    if command := shutil.which("redis-cli") or shutil.which("valkey-cli"):
        found["redis-cli --scan | xargs redis-cli unlink"] = lambda: _by_command(command, url)
    return found


@contextmanager
def _link(url: str) -> Iterator[str]:
    """The same server, as far away as a network makes it; the link is a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    link = multiprocessing.get_context("spawn").Process(target=_keep_link, args=(theirs, url))
    link.start()
    try:
        yield ours.recv()
    finally:
        ours.send("over")
        link.join()


def _keep_link(asked: Connection, url: str) -> None:
    with FaultyLink.to(url) as link:
        link.delay(_THERE_S)
        asked.send(link.url)
        asked.recv()


def _by_command(command: str, url: str) -> None:
    place = urlsplit(url)
    line = f"{command} -h 127.0.0.1 -p {place.port}"
    shell = f"{line} --scan --pattern '{_PREFIX}:*' | xargs {line} unlink >/dev/null"
    auth = {**os.environ, "REDISCLI_AUTH": place.password or ""}
    subprocess.run(["/bin/sh", "-c", shell], env=auth, check=True)


def _by_keys(client: redis.Redis) -> None:
    names: Any = client.keys(f"{_PREFIX}:*")
    for first in range(0, len(names), _BATCH):
        client.delete(*names[first : first + _BATCH])


def _fill(client: redis.Redis, keys: int) -> None:
    script = client.register_script(_FILL)
    for first in range(0, keys, _BATCH):
        script(args=[first, min(first + _BATCH, keys) - 1, _PREFIX])


def _felt(name: str, url: str, work: Callable[[], Any]) -> Way:
    """Do something while another client asks; what that felt."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as client:  # fmt: skip
        if client.stdin is None or client.stdout is None:
            raise LookupError("no pipes")
        client.stdin.write(f"{url}\n")  # never on its command line
        client.stdin.flush()
        client.stdout.readline()  # it has begun
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
        client.stdin.close()
        p99_ms, worst_ms = map(float, client.stdout.readline().split())
    return Way(name, seconds, p99_ms, worst_ms)


def _ask() -> None:
    """The other client: one key, all the time, until nobody listens any more."""
    import select

    client = redis.Redis.from_url(sys.stdin.readline().strip())
    client.ping()
    print("begun", flush=True)
    took: list[float] = []
    while not select.select([sys.stdin], [], [], 0.0005)[0]:
        began = time.perf_counter()
        client.get("nobody:has:this")
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    print(took[int(len(took) * 0.99)], took[-1], flush=True)


if __name__ == "__main__":
    _ask()
