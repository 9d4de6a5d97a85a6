"""`./runbook prove logs`: a million lines, searched by us, by the `aws` command and by awslogs.

All three ask the same stub (log_stub.py), one after the other, each as a program of its own, from
its start to its end. What they print is compared with what the stub holds, line by line.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import yaml

from runbook import settings
from studio_sandbox.proofs.log_stub import ACCOUNT, GROUPS, LENGTH_MS, LINES, START_MS, expected
from studio_sandbox.proofs.proof import Asked

OURS, AWS, AWSLOGS = "runbook", "aws", "awslogs"
_WIDE = "every line of four groups"
_FASTER = 3.0  # on a wide search
_SLACK_S = 1.0  # what starting a program varies by on a busy machine
_MOST_GROWTH = 0.25  # of memory, from a quarter of the lines to all of them
_MOST_REFUSED = 0.03  # of our requests: a busy machine sends them less evenly than it means to
_LIMIT_S = {OURS: 900.0, AWS: 900.0, AWSLOGS: 60.0}  # of one program; awslogs may take hours
_AWSLOGS = "awslogs==0.15.0"
_PLACE = {"AWS_ACCESS_KEY_ID": "proof", "AWS_SECRET_ACCESS_KEY": "proof",
          "AWS_DEFAULT_REGION": "eu-central-1", "PYTHONUNBUFFERED": ""}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    name: str
    services: tuple[str, ...]
    start_ms: int = START_MS
    end_ms: int = START_MS + LENGTH_MS
    pattern: str = ""
    times: int = 1  # that it is tried by each client; the fastest counts


NAMES = {group.removeprefix("/ecs/proof-"): group for group in GROUPS}
SEARCHES = (
    Search(
        "two minutes of one group",
        ("gateway",),
        START_MS + 7_200_000,
        START_MS + 7_320_000,
        times=3,
    ),  # most of it is starting a program
    Search("errors of four groups", tuple(NAMES), pattern="ERROR"),
    Search("every line of one group", ("gateway",)),
    Search(_WIDE, tuple(NAMES)),
)


@dataclass
class Taken:
    """What one client took for one search. `wrong` says what it got wrong; empty for nothing."""

    seconds: float = 0.0
    peak_mib: float = 0.0
    lines: int = 0
    requests: int = 0
    throttled: int = 0
    wrong: str = ""
    cut_off: bool = False

    def at_this_pace(self, lines: int) -> float:
        """Seconds for so many lines; what was cut off would have gone on at the pace it had."""
        return self.seconds * lines / max(1, self.lines) if self.cut_off else self.seconds


@dataclass
class Compared:
    """Every search by every client that could be had. `absent`: why one could not."""

    taken: dict[str, dict[str, Taken]] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)  # of the machine, after each client
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def doubts(self) -> list[str]:
        """What does not hold."""
        found = []
        for name, by_client in self.taken.items():
            ours = by_client[OURS]
            if ours.wrong:
                found.append(f"{name}: {ours.wrong}")
            if ours.throttled > _MOST_REFUSED * ours.requests:
                found.append(f"{name}: {ours.throttled} requests of ours were over the quota")
            for client in (AWS, AWSLOGS):
                other = by_client.get(client)
                if other is None:
                    continue
                theirs_s = other.at_this_pace(ours.lines)
                if ours.seconds > theirs_s + _SLACK_S:
                    found.append(f"{name}: slower than {client}")
                if name == _WIDE and ours.seconds * _FASTER > theirs_s:
                    found.append(f"{name}: not {_FASTER:.0f} times as fast as {client}")
        if self.growth > _MOST_GROWTH:
            found.append(f"memory grew by {self.growth:.0%} from a quarter of the lines to all")
        return found

    @property
    def growth(self) -> float:
        """How much more memory all lines took us than a quarter of them."""
        quarter, whole = (self.taken[search.name][OURS].peak_mib for search in SEARCHES[-2:])
        return whole / quarter - 1

    @property
    def holds(self) -> bool:
        return AWS in self.taken[_WIDE] and not self.doubts

    def table(self) -> str:
        """One line a search and client."""
        head = f"{'search':<26}{'client':<9}{'lines':>10}{'seconds':>9}{'times ours':>11}"
        lines = [f"{head}{'peak MiB':>10}{'requests':>10}{'refused':>9}"]
        for name, by_client in self.taken.items():
            for client, taken in by_client.items():
                ratio = taken.at_this_pace(by_client[OURS].lines) / by_client[OURS].seconds
                more = ">" if taken.cut_off else ""
                lines.append(
                    f"{name:<26}{client:<9}{taken.lines:>10,}{f'{more}{taken.seconds:.1f}':>9}"
                    f"{ratio:>11.1f}{taken.peak_mib:>10.0f}{taken.requests:>10}"
                    f"{taken.throttled:>9}{f'  {taken.wrong}' if taken.wrong else ''}"
                )
        lines += [f"{client} was not compared: {why}" for client, why in self.absent.items()]
        lines.append(
            f"{os.cpu_count()} processors; load of the machine {min(self.load, default=0):.1f} to "
            f"{max(self.load, default=0):.1f}, where a client alone makes about 1"
        )
        lines.append(f"memory, from a quarter of the lines to all: {self.growth:+.0%}")
        lines += [f"does not hold: {doubt}" for doubt in self.doubts] or ["holds"]
        return "\n".join(lines)


Command = Callable[[Search, str], Sequence[str]]  # of a search in one service's group


def prove(asked: Asked) -> Compared:
    """Every search by every client, one after the other."""
    with ExitStack() as stack:
        stub = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "studio_sandbox.proofs.log_stub"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert stub.stdout  # noqa: S101
        url = f"http://127.0.0.1:{stub.stdout.readline().strip()}"
        found = Compared()
        others = _others(asked, url, found)
        for search in SEARCHES:
            tries = {OURS: partial(_ours, asked, url, search)}
            for client, command in others.items():
                tries[client] = partial(_theirs, asked, url, search, client, command)
            taken: dict[str, list[Taken]] = {client: [] for client in tries}
            for _ in range(search.times):
                for client, attempt in tries.items():
                    taken[client].append(attempt())
                    found.load.append(os.getloadavg()[0])
            found.taken[search.name] = {client: _best(each) for client, each in taken.items()}
            for client, best in found.taken[search.name].items():
                asked.say(f"{search.name}: {client} {best.seconds:.1f} s {best.wrong}")
        return found


def _best(tries: Sequence[Taken]) -> Taken:
    """The fastest try; one that went wrong before all others."""
    return min(tries, key=lambda taken: (not taken.wrong, taken.seconds))


def _others(asked: Asked, url: str, found: Compared) -> dict[str, Command]:
    """The clients to compare with; of those that cannot be had, why."""
    others: dict[str, Command] = {}
    aws = shutil.which("aws")
    if aws:
        others[AWS] = lambda search, group: [
            aws, "logs", "filter-log-events", "--log-group-name", group, "--output", "text",
            "--start-time", str(search.start_ms), "--end-time", str(search.end_ms),
            *(["--filter-pattern", search.pattern] if search.pattern else []),
            "--query", "events[].[timestamp,message]",
        ]  # fmt: skip
    else:
        found.absent[AWS] = "there is no `aws` on PATH"
    program = asked.home / "awslogs"
    try:
        venv.create(program, with_pip=True)
        pip = [str(program / "bin/pip"), "install", "--quiet", _AWSLOGS]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        found.absent[AWSLOGS] = f"it could not be installed: {said[-1] if said else error}"
    else:
        others[AWSLOGS] = lambda search, group: [
            str(program / "bin/awslogs"), "get", group, "ALL", "--aws-endpoint-url", url,
            "--start", _iso(search.start_ms), "--end", _iso(search.end_ms),
            *(["--filter-pattern", search.pattern] if search.pattern else []),
            "--no-group", "--no-stream", "--color", "never",
        ]  # fmt: skip
    return others


def _ours(asked: Asked, url: str, search: Search) -> Taken:
    """One program for all groups: its lines come merged, and are told apart to be compared."""
    file = environment_of(asked.home, url)
    command = [sys.executable, "-P", "-m", "studio_sandbox.proofs.log_reader", str(file)]
    command += [str(search.start_ms), str(search.end_ms), search.pattern, *search.services]
    taken, out = Taken(), asked.home / "ours.txt"
    _run(OURS, command, out, taken, asked, {})
    _count(url, taken)
    times = 0
    with ExitStack() as stack:
        apart = {
            name: stack.enter_context((asked.home / f"{name}.txt").open("w", encoding="utf-8"))
            for name in search.services
        }
        for line in stack.enter_context(out.open(encoding="utf-8", newline="\n")):
            service, rest = line.split("\t", 1)
            apart[service].write(rest)
            at = int(rest.split("\t", 1)[0])
            if at < times:
                taken.wrong = "lines are not in the order of time"
            times = at
    for name in search.services:
        _compare(asked.home / f"{name}.txt", search, NAMES[name], taken, timed=True)
    return taken


def _theirs(asked: Asked, url: str, search: Search, client: str, command: Command) -> Taken:
    """One program for each group, one after the other: neither of them takes several."""
    taken, out = Taken(), asked.home / "theirs.txt"
    for name in search.services:
        group = NAMES[name]
        _run(client, command(search, group), out, taken, asked, {"AWS_ENDPOINT_URL": url})
        _compare(out, search, group, taken, timed=client == AWS)
        if taken.wrong:
            break
    _count(url, taken)
    return taken


def _run(
    client: str,
    command: Sequence[str],
    out: Path,
    taken: Taken,
    asked: Asked,
    more: Mapping[str, str],
) -> None:
    """Run a program to its end or its limit; adds up time, keeps the highest peak of memory."""
    variables = {**os.environ, **_PLACE, **more, "RUNBOOK_HOME": str(asked.home)}
    began = time.monotonic()
    with out.open("wb") as file:
        program = subprocess.Popen(
            command, stdout=file, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=variables
        )
        deadline = began + min(_LIMIT_S[client], asked.within_s)
        while True:
            pid, status, used = os.wait4(program.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                program.kill()
                taken.cut_off = True
                taken.wrong = f"cut off; {_LIMIT_S[client]:.0f} s are enough to tell its pace"
                _, status, used = os.wait4(program.pid, 0)
                break
            time.sleep(0.02)
    taken.seconds += time.monotonic() - began
    taken.peak_mib = max(taken.peak_mib, used.ru_maxrss / 1024)
    program.returncode = os.waitstatus_to_exitcode(status)
    assert program.stderr  # noqa: S101
    said = program.stderr.read().decode(errors="replace").strip()
    program.stderr.close()
    if program.returncode and not taken.wrong:
        taken.wrong = f"exit {program.returncode}: {said[-200:]}"


def _compare(out: Path, search: Search, group: str, taken: Taken, *, timed: bool) -> None:
    """Whether the file has just the lines that the stub holds, in their order."""
    wanted = expected(LINES, group, search.start_ms, search.end_ms, search.pattern)
    with out.open(encoding="utf-8", newline="\n") as file:
        for number, (line, right) in enumerate(itertools.zip_longest(file, wanted), start=1):
            told = line.rstrip("\n") if line is not None else None
            meant = right if timed or right is None else right.split("\t", 1)[1]
            taken.lines += told is not None
            if told != meant:
                taken.wrong = taken.wrong or f"line {number:,} of {group} is another"
                return


def _count(url: str, taken: Taken) -> None:
    """What the stub has counted since it was last asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        counted = json.load(answer)
    taken.requests, taken.throttled = counted.get("requests", 0), counted.get("throttled", 0)


def environment_of(home: Path, url: str) -> Path:
    """An environment whose AWS is the stub."""
    (home / "credentials").write_text(
        "[proof]\naws_access_key_id = proof\naws_secret_access_key = proof\n", encoding="utf-8"
    )
    connection = {
        "endpoint_url": url,
        "credentials_file": str(home / "credentials"),
        "profile": "proof",
    }
    (home / "stub.json").write_text(json.dumps(connection), encoding="utf-8")
    content = settings.load("sandbox").model_dump(mode="json", exclude={"name"})
    content |= {"account": ACCOUNT, "aws": {"connection": "stub.json"}}
    content["logs"] = {**content["logs"], "groups": NAMES}
    file = home / "proof.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def _iso(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}"
