"""Kill whoever applies a plan, at random moments, and see that the record tells the truth.

A worker is a fork of this process that applies a saved plan and is killed (SIGKILL). What the
servers themselves noted of its mutations (scenarios.py) is compared with its journal. Then the
intents that were left open are reconciled, the finding is compared with the servers, and the plan
is resumed to its end.

A SIGKILL leaves the machine's page cache alone: that intents survive a power cut is what fsync
promises, and is not tried here.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runbook import settings
from runbook.change.door import Door
from runbook.change.plan import Plan
from runbook.change.reconcile import reconcile
from runbook.change.saved import SavedPlan
from runbook.clients import Clients
from runbook.errors import Failed, PlanStale, Unresolved
from runbook.record.journal import Intent
from runbook.record.runs import Run
from runbook.settings import Environment
from studio_sandbox.proofs.proof import Asked
from studio_sandbox.proofs.scenarios import Scenario, prepared

_SETTLED_WITHIN_S = 10.0  # a server needs a moment to notice that its client is gone


@dataclass
class Tally:
    """What came of the kills of one kind. Everything in `wrong` has to be nought."""

    kind: str
    kills: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    intents: int = 0
    reconciled: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KillProof:
    """The tallies of all kinds."""

    seed: int
    seconds: float
    tallies: tuple[Tally, ...]

    @property
    def kills(self) -> int:
        return sum(tally.kills for tally in self.tallies)

    @property
    def holds(self) -> bool:
        return not any(tally.wrong.total() for tally in self.tallies)

    def table(self) -> str:
        lines = [f"{self.kills} kills, seed {self.seed}, {self.seconds:.0f} s"]
        for tally in self.tallies:
            lines.append(f"{tally.kind}: {tally.kills} kills, {tally.intents} intents")
            lines.append(f"  killed     {_listed(tally.moments)}")
            lines.append(f"  reconciled {_listed(tally.reconciled)}")
            lines.append(f"  wrong      {_listed(tally.wrong) or 'nothing'}")
            lines += [f"    {example}" for example in tally.examples[:5]]
        return "\n".join(lines)


def prove(asked: Asked) -> KillProof:
    """`./runbook prove kills`: 500 workers, unless asked for another number."""
    return prove_kills(
        asked.runs or 500,
        seed=asked.seed,
        record=asked.home / "record",
        within_s=asked.within_s,
        say=asked.say,
    )


def prove_kills(
    runs: int = 500,
    *,
    seed: int = 7,
    record: Path,
    within_s: float = 3600.0,
    say: Callable[[str], None] = lambda text: None,
) -> KillProof:
    """Kill `runs` workers, or as many as fit in `within_s`, in the sandbox that runs.

    The record of these runs is kept in the folder `record`; what the proof made or changed in the
    world is put back afterwards.
    """
    began, rng = time.monotonic(), random.Random(seed)  # noqa: S311
    environment = _environment(record)
    with prepared(environment, rng) as scenarios:
        tallies = [Tally(scenario.name) for scenario in scenarios]
        usual = [_usual_seconds(scenario, environment) for scenario in scenarios]
        for number in range(runs):
            if time.monotonic() - began > within_s:
                break
            which = number % len(scenarios)
            # a little after its usual end too: those that are through must stay so
            delay_s = rng.uniform(0, 1.15) * usual[which]
            # an intent is open for a short time only: half of the kills are aimed at that
            aimed_s = rng.uniform(0, scenarios[which].open_s) if rng.random() < 0.5 else None
            _one_kill(scenarios[which], environment, tallies[which], delay_s, aimed_s)
            if number % 50 == 49:
                say(f"{number + 1} of {runs}")
    return KillProof(seed, time.monotonic() - began, tuple(tallies))


def _one_kill(
    scenario: Scenario,
    environment: Environment,
    tally: Tally,
    delay_s: float,
    aimed_s: float | None,
) -> None:
    planned = _save(scenario.plan(), scenario.clients, environment)
    run = _begin(environment)
    ended = _killed(scenario, planned, environment, run, delay_s, aimed_s)
    tally.kills += 1
    open_intents = run.journal.unresolved()
    tally.moments[_moment(run, ended)] += 1

    def wrong(what: str, count: int = 1) -> None:
        if count:
            tally.wrong[what] += count
            tally.examples.append(f"{what}: run {run.id}")

    findings = _reconciled(scenario, environment, run)
    made, intents = scenario.mutations(), _intents(run)
    tally.intents += len(intents)
    marks = {each.id: scenario.marks(run, each) for each in intents}
    wrong("mutations without an intent", len(made - set().union(*marks.values())))
    wrong("changed twice when killed", scenario.doubled())
    closed = {intent.id for intent, _ in run.journal.done()}
    for intent in open_intents:
        outcome = findings.get(intent.id, "unknown")
        tally.reconciled[outcome] += 1
        truth = "done" if marks[intent.id] <= made else "failed"
        wrong(f"reconciled as {outcome}, was {truth}", int(outcome != truth))
    for intent in intents:
        happened, told = marks[intent.id] <= made, intent.id in closed
        wrong("made in part", int(not happened and bool(marks[intent.id] & made)))
        wrong("done on record, not made", int(told and not happened))
        wrong("made, not done on record", int(happened and not told))
    resumed = _begin(environment)
    clients = Clients(environment, run_id=resumed.id)
    try:
        Door(clients, resumed).apply(planned)
    except PlanStale:
        if not ended:  # only who came to the end has used the plan up
            applied = any(entry["entry"] == "applied" for entry in run.journal.entries())
            wrong("resume refused", int(not applied))
    finally:
        clients.close()
    wrong("not as planned after the resume", scenario.unfinished())
    wrong("changed twice after the resume", scenario.doubled())
    meant = {
        mark
        for one in (run, resumed)
        for each in _intents(one)
        for mark in scenario.marks(one, each)
    }
    wrong("mutations without an intent after the resume", len(scenario.mutations() - meant))


def _killed(
    scenario: Scenario,
    planned: SavedPlan,
    environment: Environment,
    run: Run,
    delay_s: float,
    aimed_s: float | None,
) -> bool:
    """Fork a worker that applies the plan, and kill it so long after it has begun.

    With `aimed_s`, so long after the first intent that is found open after that. Returns whether
    it had come to its end before.
    """
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _work(scenario, planned, environment, run, tell)
    os.close(tell)
    try:
        os.read(ready, 1)
        time.sleep(delay_s)
        if aimed_s is not None:
            _wait_for_an_intent(pid, run)
            time.sleep(aimed_s)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(ready)
        status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise Failed(f"A worker ended by itself, with {os.WEXITSTATUS(status)} (run {run.id}).")
    return os.WIFEXITED(status)


def _wait_for_an_intent(pid: int, run: Run) -> None:
    """Look at the journal until its last line is an intent, or its writer has ended."""
    journal = Path(run.store.where(run.key("journal.jsonl")))
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        try:
            last = journal.read_bytes().rstrip(b"\n").rsplit(b"\n", 1)[-1]
        except FileNotFoundError:
            continue
        if last.startswith(b'{"entry": "intent"'):
            return


def _work(
    scenario: Scenario, planned: SavedPlan, environment: Environment, run: Run, tell: int
) -> None:
    """What a worker does; it never returns."""
    code = 1
    try:
        clients = Clients(environment, run_id=run.id)
        scenario.warm(clients)
        run.join()
        os.write(tell, b"!")
        Door(clients, run).apply(planned)
        code = 0
    finally:
        os._exit(code)


def _reconciled(scenario: Scenario, environment: Environment, run: Run) -> dict[str, str]:
    """Reconcile until every intent of the run is settled; outcomes by the intent's id.

    Until then its targets are blocked, which is tried too.
    """
    blocked = run.journal.unresolved()
    if blocked:
        _refused(scenario, environment, run)
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while run.journal.unresolved() and time.monotonic() < deadline:
        for _ in reconcile(scenario.clients, run.store, by="the proof"):
            pass
    wanted = {intent.id for intent in blocked}
    return {
        entry["id"]: entry["outcome"]
        for entry in run.journal.entries()
        if entry["entry"] == "result" and entry["id"] in wanted
    }


def _refused(scenario: Scenario, environment: Environment, run: Run) -> None:
    digest = next(each["digest"] for each in run.journal.entries() if each["entry"] == "applying")
    door = Door(scenario.clients, _begin(environment))
    try:
        door.apply(door.find(digest))
    except Unresolved:
        return
    raise Failed(f"A target with an open intent was not blocked (run {run.id}).")


def _moment(run: Run, ended: bool) -> str:
    told = [entry["entry"] for entry in run.journal.entries()]
    if ended:
        return "after its end"
    if run.journal.unresolved():
        return "intent open"
    if "applied" in told:
        return "after the last result"
    if "intent" in told:
        return "between changes"
    return "before the first intent"


def _intents(run: Run) -> list[Intent]:
    return [
        Intent(each["id"], each["change"], each["kind"], each["target"], each["detail"])
        for each in run.journal.entries()
        if each["entry"] == "intent"
    ]


def _usual_seconds(scenario: Scenario, environment: Environment) -> float:
    """How long a worker takes to apply such a plan, by three that are left alone."""
    took = []
    for _ in range(3):
        planned = _save(scenario.plan(), scenario.clients, environment)
        run, ready = _begin(environment), os.pipe()
        pid = os.fork()
        if pid == 0:
            _work(scenario, planned, environment, run, ready[1])
        os.read(ready[0], 1)
        began = time.monotonic()
        status = os.waitpid(pid, 0)[1]
        took.append(time.monotonic() - began)
        for end in ready:
            os.close(end)
        if status:
            raise Failed(f"A worker that nobody killed did not succeed (run {run.id}).")
    return statistics.median(took)


def _save(plan: Plan, clients: Clients, environment: Environment) -> SavedPlan:
    return Door(clients, _begin(environment)).save(plan)


def _begin(environment: Environment) -> Run:
    return Run.begin(
        environment, section="prove-kills", notebook_sha256="0" * 64, parameters={}, mode="headless"
    )


def _environment(record: Path) -> Environment:
    content = settings.load("sandbox").model_dump()
    content["record"] = {"store": str(record), "single_machine": True}
    return Environment.model_validate(content)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
