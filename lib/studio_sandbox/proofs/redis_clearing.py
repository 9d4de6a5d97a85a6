"""`./runbook prove redis`: a family of five million keys is removed, beside two usual ways.

Ours (`redis_families.remove`), `redis-cli --scan | xargs redis-cli unlink`, and KEYS with DEL, in
one run on the same server with the same keys; another client, a process of its own, asks for one
key all the while. `--runs N`: with so many keys. Without redis-cli on this machine there is
nothing to compare with, and the proof does not hold.

Where the limit lies, in microseconds of the server's processor time a key: the command costs 2.9,
and waits for itself between; SCAN and UNLINK alone cost 1.85, in a script or not. To tell a
family's names from those of others comes on top of that, and is what keeps them. A script of 1,000
keys is no cheaper for each than one of 250, and everybody waits four times as long. On loopback,
where the command hardly waits, five times its speed is out of reach; over a network it waits for an
answer every ten keys, and a script for one every 250.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from runbook.studio import redis_families
from studio_sandbox import state
from studio_sandbox.proofs.proof import Asked

_KEYS, _BATCH = 5_000_000, 50_000
_PREFIX, _FAMILY = "proof", "proof:*"
_FASTER, _SLOWER = 5.0, 2.0  # than the command; another client's p99, than when nobody clears
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
    """All ways, after the client alone. `left` are keys that ours has left behind."""

    keys: int
    idle: Way
    ways: tuple[Way, ...]
    left: int

    @property
    def holds(self) -> bool:
        ours, *others = self.ways
        command = next((one for one in others if "redis-cli" in one.name), None)
        fast = command is not None and ours.seconds * _FASTER <= command.seconds
        return fast and not self.left and ours.p99_ms < _SLOWER * self.idle.p99_ms

    def table(self) -> str:
        """One line a way."""
        lines = [
            f"{self.keys:,} keys",
            f"{'way':<44}{'s':>9}{'a second':>13}{'p99 ms':>9}{'worst ms':>10}",
        ]
        for one in (self.idle, *self.ways):
            rate = f"{self.keys / one.seconds:,.0f}" if one is not self.idle else ""
            lines.append(
                f"{one.name:<44}{one.seconds:>9.2f}{rate:>13}{one.p99_ms:>9.2f}{one.worst_ms:>10.2f}"
            )
        lines.append("holds" if self.holds else "does not hold")
        return "\n".join(lines)


def prove(asked: Asked) -> Cleared:
    """Fill and clear, one way after the other."""
    box = state.read(asked.home / "sandbox")
    if box is None:
        raise LookupError("the proof's sandbox does not run")
    url, keys = box.redis_url, asked.runs or _KEYS
    client = redis.Redis.from_url(url, decode_responses=True)
    client.config_set("maxmemory", _MEMORY)
    idle = _felt("nobody clears", url, lambda: time.sleep(_IDLE_S))
    ways, left = [], 0
    for name, clear in _ways(url, client).items():
        _fill(client, keys)
        asked.say(f"{name} …")
        ways.append(_felt(name, url, clear))
        left += sum(1 for _ in client.scan_iter(f"{_PREFIX}:*", count=10_000))
    return Cleared(keys, idle, tuple(ways), left)


def _ways(url: str, client: redis.Redis) -> dict[str, Callable[[], Any]]:
    """Ours first; the command where this machine has it."""
    found: dict[str, Callable[[], Any]] = {
        "ours: SCAN and UNLINK inside the server": lambda: redis_families.remove(client, _FAMILY)
    }
    if command := shutil.which("redis-cli") or shutil.which("valkey-cli"):
        found["redis-cli --scan | xargs redis-cli unlink"] = lambda: _by_command(command, url)
    found["KEYS, then DEL"] = lambda: _by_keys(client)
    return found


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
