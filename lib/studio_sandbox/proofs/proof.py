"""What a proof is, and the list of them: a promise tried many times, with a table that tells."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Proven(Protocol):
    """What came of a proof."""

    @property
    def holds(self) -> bool: ...
    def table(self) -> str: ...


@dataclass(frozen=True)
class Asked:
    """What a proof is asked for. `runs` and `seeds` are 0 for the proof's own number; `drills` are
    names with commas between (of whatever it tries one by one), empty: all.

    `home` is a state folder for it alone, where no sandbox runs unless the proof wants one.
    """

    home: Path
    runs: int
    seed: int
    within_s: float
    say: Callable[[str], None]
    drills: str = ""
    seeds: int = 0


@dataclass(frozen=True)
class Proof:
    """A promise, and `module:function` that tries it: imported when it is asked for."""

    promise: str
    entry: str
    sandbox: bool = True  # it wants a still sandbox in its home

    def run(self, asked: Asked) -> Proven:
        """Try it."""
        module, _, name = self.entry.partition(":")
        tried: Callable[[Asked], Proven] = getattr(importlib.import_module(module), name)
        return tried(asked)


PROOFS: Mapping[str, Proof] = {
    "kills": Proof(
        "who applies a plan is killed at random moments; the record tells the truth, "
        "and the plan is resumed to its end",
        "studio_sandbox.proofs.kills:prove",
    ),
    "recoveries": Proof(
        "who recovers a database, a bucket or clears the usage cache is killed at ten points; "
        "taken up again it comes to the same end, nothing lost, nothing twice, and is undone",
        "studio_sandbox.proofs.recoveries:prove",
        sandbox=False,
    ),
    "redaction": Proof(
        "secrets in every encoding through every channel of a real kernel: nothing of them is left",
        "studio_sandbox.proofs.redaction:prove",
        sandbox=False,
    ),
    "ways-to-die": Proof(
        "however a run ends, its folder says what happened: verdict, exit code, error, each cell",
        "studio_sandbox.proofs.ways_to_die:prove",
        sandbox=False,
    ),
    "probe": Proof(
        "the calls that sections stand on answer as AWS documents, or say that they do not; "
        "what plain moto would have answered stands beside",
        "studio_sandbox.proofs.probing:prove",
    ),
    "ledger": Proof(
        "a record is attacked in eleven ways; with an anchor at its head every one is found",
        "studio_sandbox.proofs.ledger:prove",
        sandbox=False,
    ),
    "logs": Proof(
        "a million log lines are searched never slower than by the aws command and awslogs, a wide "
        "search three times as fast, in memory that does not grow",
        "studio_sandbox.proofs.log_searches:prove",
        sandbox=False,
    ),
    "jobs": Proof(
        "a million stuck jobs of ten are set back in one run while workers run, who never wait "
        "long for it, and it takes little longer than the one UPDATE that makes them wait",
        "studio_sandbox.proofs.jobs:prove",
    ),
    "redis": Proof(
        "five million keys are removed five times as fast as by redis-cli --scan | xargs unlink "
        "over a network, and another client waits less than twice as long",
        "studio_sandbox.proofs.redis_clearing:prove",
    ),
    "sweep": Proof(
        "a healthy Studio is swept without a finding, and each of the drills is noticed",
        "studio_sandbox.proofs.sweeping:prove",
        sandbox=False,
    ),
    "assess": Proof(
        "whatever a drill breaks, its true cause is first on the page of `assess` in five of six, "
        "among the first three always; a healthy Studio has no suspect",
        "studio_sandbox.proofs.assessing:prove",
        sandbox=False,
    ),
    "incidents": Proof(
        "fifteen drills, each answered as an incident by sections alone, from the alarm to the "
        "post-mortem, with the parameters that `assess` found: mended and closed",
        "studio_sandbox.proofs.incidents:prove",
        sandbox=False,
    ),
    "soak": Proof(
        "a moving Studio answers for ten minutes, and no process of it grows by a fifth",
        "studio_sandbox.proofs.soak:prove",
        sandbox=False,
    ),
}
