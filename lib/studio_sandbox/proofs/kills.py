"""Kill whoever applies a plan, at random moments, and see that the record tells the truth.

A worker is a fork of this process that applies a saved plan and is killed (SIGKILL). What the
servers hold is compared with its journal: PostgreSQL's trigger and Redis's transaction note each
mutation on their own, under the transaction's or the intent's id. Then the intents that were left
open are reconciled, the finding is compared with the servers, and the plan is resumed to its end.

A SIGKILL leaves the machine's page cache alone: that intents survive a power cut is what fsync
promises, and is not tried here.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy

from runbook import settings
from runbook.change.door import Door
from runbook.change.kinds import register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Origin, Plan
from runbook.change.reconcile import reconcile
from runbook.change.saved import SavedPlan
from runbook.clients import Clients
from runbook.errors import Failed, PlanStale, Unresolved
from runbook.record.journal import Intent
from runbook.record.runs import Run
from runbook.settings import Environment
from runbook.studio import rows as sql_rows
from runbook.studio.rows import Table, plan_update

_TABLE = Table("proof_rows", key="id", stamp="updated_at", columns=("status", "updated_at"))
_VALUE = "proof-value"
_SETTLED_WITHIN_S = 10.0  # a server needs a moment to notice that its client is gone
_MAKE = """
    CREATE TABLE proof_rows (id uuid PRIMARY KEY, status text, updated_at timestamp);
    CREATE TABLE proof_writes (id uuid, status text, xid text);
    CREATE FUNCTION proof_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO proof_writes VALUES (NEW.id, NEW.status, pg_current_xact_id()::text);
        RETURN NEW; END $$;
    CREATE TRIGGER proof_note AFTER UPDATE ON proof_rows
        FOR EACH ROW EXECUTE FUNCTION proof_note();
"""
_DROP = """
    DROP TABLE IF EXISTS proof_rows, proof_writes;
    DROP FUNCTION IF EXISTS proof_note;
"""
_FILL = """
    TRUNCATE proof_rows, proof_writes;
    INSERT INTO proof_rows
    SELECT gen_random_uuid(), 'processing', timestamp '2026-01-01' FROM generate_series(1, :rows);
"""


class Scenario(ABC):
    """A plan of one kind, and what the server itself says of every mutation made by it."""

    name: str
    open_s: float  # about how long an intent is open

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        self.clients = clients
        self.rng = rng

    @abstractmethod
    def plan(self) -> Plan:
        """Prepare the world and plan to change it."""

    @abstractmethod
    def mutations(self) -> set[str]:
        """What the server noted: the marks of all mutations that it made."""

    @abstractmethod
    def mark(self, intent: Intent) -> str:
        """The mark under which an intent's mutation is noted."""

    @abstractmethod
    def doubled(self) -> int:
        """Things that were changed more than once."""

    @abstractmethod
    def unfinished(self) -> int:
        """Things that are not as planned."""


class RowsScenario(Scenario):
    """`sql-rows`: three chunks of a table whose trigger notes each row with its transaction."""

    name = sql_rows.KIND
    open_s = 0.06

    def plan(self) -> Plan:
        count = self.rng.randint(2001, 3000)
        with self.clients.database_writer.begin() as connection:
            for statement in filter(str.strip, _FILL.split(";")):
                connection.execute(sqlalchemy.text(statement), {"rows": count})
            ids = connection.execute(sqlalchemy.text("SELECT id::text FROM proof_rows")).scalars()
            before = {"status": "processing", "updated_at": "2026-01-01T00:00:00"}
            after = {"status": "pending", "updated_at": KNOWN_AFTER_APPLY}
            planned = [{"key": key, "before": before, "after": after} for key in ids]
        summary = ({"status": side["status"], "rows": count} for side in (before, after))
        first, second = summary
        return _plan(plan_update(_TABLE, planned, before=first, after=second))

    def mutations(self) -> set[str]:
        return {str(xid) for (xid,) in self._ask("SELECT DISTINCT xid FROM proof_writes")}

    def mark(self, intent: Intent) -> str:
        return str(intent.detail["xid"])

    def doubled(self) -> int:
        return len(self._ask("SELECT id FROM proof_writes GROUP BY id HAVING count(*) > 1"))

    def unfinished(self) -> int:
        return len(self._ask("SELECT id FROM proof_rows WHERE status <> 'pending'"))

    def _ask(self, query: str) -> list[Any]:
        with self.clients.database.connect() as connection:
            return list(connection.execute(sqlalchemy.text(query)).all())


class ValuesScenario(Scenario):
    """`proof-value`: eight keys, a change each; a list beside each notes the intents' ids."""

    name = _VALUE
    open_s = 0.002

    def plan(self) -> Plan:
        prefix = f"proof:{self.rng.getrandbits(64):016x}"
        self.targets = [f"{prefix}:{index}" for index in range(8)]
        for target in self.targets:
            self.clients.redis.set(target, json.dumps({"n": 1}))
        return _plan(*(Change(_VALUE, each, {"n": 1}, {"n": 2}) for each in self.targets))

    def mutations(self) -> set[str]:
        return {mark for target in self.targets for mark in self._writes(target)}

    def mark(self, intent: Intent) -> str:
        return intent.id

    def doubled(self) -> int:
        return sum(len(self._writes(target)) > 1 for target in self.targets)

    def unfinished(self) -> int:
        return sum(_read(self.clients, target) != {"n": 2} for target in self.targets)

    def _writes(self, target: str) -> list[str]:
        found: Any = self.clients.redis.lrange(f"{target}:writes", 0, -1)
        return list(found)


def _read(clients: Clients, target: str) -> Json:
    stored: Any = clients.redis.get(target)
    return json.loads(stored) if stored is not None else None


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    pipeline = clients.redis.pipeline(transaction=True)
    pipeline.set(change.target, json.dumps(change.after))
    pipeline.rpush(f"{change.target}:writes", intent.id)
    pipeline.execute()


register(_VALUE, read=_read, apply=_apply)
SCENARIOS: tuple[type[Scenario], ...] = (RowsScenario, ValuesScenario)


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


def prove_kills(
    runs: int = 500,
    *,
    seed: int = 7,
    record: Path,
    within_s: float = 3600.0,
    say: Callable[[str], None] = lambda text: None,
) -> KillProof:
    """Kill `runs` workers, or as many as fit in `within_s`, in the sandbox that runs.

    The record of these runs is kept in the folder `record`; tables and keys of the proof's own
    are removed afterwards.
    """
    began, rng = time.monotonic(), random.Random(seed)  # noqa: S311
    environment = _environment(record)
    with _tables(environment) as clients:
        scenarios = [make(clients, rng) for make in SCENARIOS]
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
    ended = _killed(planned, environment, run, delay_s, aimed_s)
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
    wrong("mutations without an intent", len(made - {scenario.mark(each) for each in intents}))
    wrong("changed twice when killed", scenario.doubled())
    closed = {intent.id for intent, _ in run.journal.done()}
    for intent in open_intents:
        outcome = findings.get(intent.id, "unknown")
        tally.reconciled[outcome] += 1
        truth = "done" if scenario.mark(intent) in made else "failed"
        wrong(f"reconciled as {outcome}, was {truth}", int(outcome != truth))
    for intent in intents:
        happened, told = scenario.mark(intent) in made, intent.id in closed
        wrong("done on record, not made", int(told and not happened))
        wrong("made, not done on record", int(happened and not told))
    resumed = _begin(environment)
    try:
        Door(scenario.clients, resumed).apply(planned)
    except PlanStale:
        if not ended:  # only who came to the end has used the plan up
            applied = any(entry["entry"] == "applied" for entry in run.journal.entries())
            wrong("resume refused", int(not applied))
    wrong("not as planned after the resume", scenario.unfinished())
    wrong("changed twice after the resume", scenario.doubled())
    marks = {scenario.mark(each) for one in (run, resumed) for each in _intents(one)}
    wrong("mutations without an intent after the resume", len(scenario.mutations() - marks))


def _killed(
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
        _work(planned, environment, run, tell)
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


def _work(planned: SavedPlan, environment: Environment, run: Run, tell: int) -> None:
    """What a worker does; it never returns."""
    code = 1
    try:
        clients = Clients(environment, run_id=run.id)
        _ = clients.identity, clients.database, clients.database_writer, clients.redis
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
            _work(planned, environment, run, ready[1])
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


def _plan(*changes: Change) -> Plan:
    origin = Origin("sandbox", settings.load("sandbox").account, "prove-kills", "0" * 64)
    return Plan("Proof", "low", changes, way_back="It is removed with the proof.", origin=origin)


def _environment(record: Path) -> Environment:
    content = settings.load("sandbox").model_dump()
    content["record"] = {"store": str(record), "single_machine": True}
    return Environment.model_validate(content)


@contextmanager
def _tables(environment: Environment) -> Iterator[Clients]:
    clients = Clients(environment)

    def run(statements: str) -> None:
        with clients.database_writer.begin() as connection:
            connection.exec_driver_sql(statements)

    try:
        run(_DROP + _MAKE)
        yield clients
    finally:
        run(_DROP)
        for key in list(clients.redis.scan_iter("proof:*")):
            clients.redis.delete(key)
        clients.close()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
