"""Runs: one folder each in the record, with ids that sort by time.

runs/20261124T084512Z-clear-stuck-jobs-3f9c/
    notebook.ipynb   the executed copy
    run.json         who, what, where, when, verdict
    journal.jsonl    intents and results
    plan.json        the plan that was made or applied
    rows-….jsonl     large sets that the plan names by hash

running/20261124T084512Z-clear-stuck-jobs-3f9c2b    until the run has its verdict
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import psutil

from runbook import settings
from runbook.clients import Clients
from runbook.errors import BadInput, RecordUnavailable
from runbook.record.journal import Journal
from runbook.record.origin import origin
from runbook.record.redaction import mask_all
from runbook.record.s3 import S3Store
from runbook.record.store import AlreadyThere, FolderStore, Moved, Store, side_by_side
from runbook.settings import Environment
from runbook.wait import SYSTEM_CLOCK, Clock

_LOG = logging.getLogger(__name__)
_ID_TIME = "%Y%m%dT%H%M%SZ"
_RUNNING = "running"  # an empty object for each run that is not sealed: no need to read them all


def store_of(environment: Environment) -> Store:
    """The store that an environment's `record` names."""
    return _store_at(_location(environment), environment)


def anchors_of(environment: Environment) -> Store:
    """The store of the environment's anchors: `record.anchor`, or `anchors` beside the record."""
    beside = _location(environment).rstrip("/").rpartition("/")[0]
    return _store_at(
        environment.record.anchor or f"{beside}/anchors/{environment.name}", environment
    )


def spool_of(environment: Environment) -> FolderStore:
    """Where runs are put on record while the environment's own record does not answer."""
    return FolderStore(settings.home() / "spool" / environment.name)


def find_run(environment: Environment, run_id: str) -> Run:
    """A run that was begun: in the record, or in this machine's spool."""
    spool = spool_of(environment)
    spooled = (spool.root / "runs" / run_id).is_dir()
    return Run(spool if spooled else store_of(environment), run_id)


def _location(environment: Environment) -> str:
    return environment.record.store or f"record/{environment.name}"


def _store_at(location: str, environment: Environment) -> Store:
    if not location.startswith("s3://"):
        return FolderStore(settings.home() / location)
    region = environment.record.region or environment.regions.backup
    clients = Clients(environment, region=region)
    return S3Store(clients, location, retain_days=environment.record.retain_days)


@dataclass(frozen=True)
class Run:
    """One run in a store. What it knows about itself is `run.json`."""

    store: Store
    id: str

    @classmethod
    def begin(
        cls,
        environment: Environment,
        *,
        section: str,
        notebook_sha256: str,
        parameters: Mapping[str, Any],
        mode: str,
        apply: str = "",
        incident: str = "",
        break_glass: str = "",
        spool: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Run:
        """Make the folder of a new run. `mode` is `headless` or `interactive`.

        `spool`: while the record does not answer, this machine keeps the run until it does.
        Raises RecordUnavailable when it cannot be made.
        """
        now = clock.now()
        run_id = f"{now.strftime(_ID_TIME)}-{section}-{secrets.token_hex(3)}"
        run = cls(store_of(environment), run_id)
        try:
            run.mark()
        except RecordUnavailable as error:
            if not spool or isinstance(run.store, FolderStore):
                raise
            run = cls(spool_of(environment), run_id)
            run.mark()
            _LOG.warning("%s AUDIT PENDING: this run is kept in %s.", error.message, run.where)
        run.update(
            run_id=run_id,
            section=section,
            environment=environment.name,
            account=environment.account,
            mode=mode,
            verdict="running",
            started_at=now.isoformat(),
            finished_at=None,
            **origin(),
            runner=process_here(),
            process=process_here(),
            git_commit=git_commit(),
            notebook_sha256=notebook_sha256,
            parameters=dict(parameters),
            apply=apply,
            incident=incident or None,
            break_glass=break_glass or None,
            operator=None,  # who AWS says we are: known once it has been asked
            exit_code=None,
            changes_applied=0,
            result=None,
            error=None,
        )
        return run

    def join(self) -> None:
        """Note that this process is the one that acts: a kernel, with its runner above it."""
        self.update(process=process_here())

    def began(self) -> datetime:
        """When the run was begun, as its id says."""
        return datetime.strptime(self.id.partition("-")[0], _ID_TIME).replace(tzinfo=UTC)

    def mark(self) -> None:
        """Put the run on the list of those that the next command looks at, if nobody else does."""
        self.store.write(f"{_RUNNING}/{self.id}", b"")

    def ended(self) -> None:
        """Take the run off the list of those that are running."""
        self.store.remove(f"{_RUNNING}/{self.id}")

    @cached_property
    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.store, self.id)

    @property
    def where(self) -> str:
        """What a person opens to see the run."""
        return self.store.where(f"runs/{self.id}")

    def key(self, name: str) -> str:
        """The store's key of one of the run's files."""
        return f"runs/{self.id}/{name}"

    def read(self) -> dict[str, Any]:
        """`run.json`. Raises BadInput when there is no such run."""
        stored = self.store.read(self.key("run.json"))
        if stored is None:
            raise BadInput(
                f"The record has no run {self.id!r}.", next="See all of them: ./runbook runs"
            )
        content: dict[str, Any] = json.loads(stored.data)
        return content

    def update(self, **fields: Any) -> None:
        """Write fields into `run.json`, over those already there; secrets by their names."""
        fields = mask_all(fields)
        while True:
            stored = self.store.read(self.key("run.json"))
            before = json.loads(stored.data) if stored else {}
            content = _readable({**before, **fields})
            try:
                if stored:
                    self.store.replace(self.key("run.json"), content, version=stored.version)
                else:
                    self.store.create(self.key("run.json"), content)
                return
            except (Moved, AlreadyThere):
                continue  # a kernel and its runner write here, each their own fields

    def take(self, seen: Mapping[str, Any]) -> bool:
        """Make this process the one that acts, if `run.json` is still as `seen`: one of many is."""
        stored = self.store.read(self.key("run.json"))
        if stored is None or json.loads(stored.data) != seen:
            return False
        mine = {**seen, "host": socket.gethostname(), "process": process_here()}
        try:
            self.store.replace(self.key("run.json"), _readable(mine), version=stored.version)
        except Moved:
            return False
        return True

    def write_json(self, name: str, content: Any) -> None:
        """Write one of the run's files as readable JSON."""
        self.store.write(self.key(name), _readable(content))


def runs(store: Store) -> Iterator[dict[str, Any]]:
    """`run.json` of every run, newest first."""
    newest_first = [f"runs/{name}/run.json" for name in reversed(store.names("runs"))]
    for stored in side_by_side(store.read, newest_first):
        if stored:
            yield json.loads(stored.data)


def last_runs(store: Store) -> dict[str, str]:
    """When each section last began, ISO 8601; read from the runs' names alone."""
    found = {}
    for name in store.names("runs"):
        began, _, rest = name.partition("-")
        moment = datetime.strptime(began, _ID_TIME).replace(tzinfo=UTC)
        found[rest.rpartition("-")[0]] = moment.isoformat()
    return found


def note_drill(store: Store, name: str, sections: Iterable[str], *, clock: Clock) -> None:
    """Put a drill that was mended on record; `sections` are those that mended it."""
    now = clock.now()
    content = {"drill": name, "sections": list(sections), "at": now.isoformat()}
    key = f"drills/{now.strftime(_ID_TIME)}-{name}-{secrets.token_hex(3)}.json"
    store.create(key, json.dumps(content).encode())


def last_drills(store: Store) -> dict[str, str]:
    """When each section last mended a drill, ISO 8601."""
    found: dict[str, str] = {}
    for key in store.keys("drills"):
        stored = store.read(key)
        content = json.loads(stored.data) if stored else {"sections": ()}
        found.update(dict.fromkeys(content["sections"], content["at"]))
    return found


def running(store: Store) -> Iterator[Run]:
    """Runs that have not been sealed, oldest first: at work, or cut off."""
    for key in list(store.keys(_RUNNING)):
        yield Run(store, key.split("/")[1])


def process_here() -> dict[str, Any]:
    """This process, so that another can tell later whether it still lives."""
    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive(process: Mapping[str, Any], host: str) -> bool:
    """Whether a recorded process still runs; one of another machine is taken to be alive."""
    if host != socket.gethostname():
        return True
    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["started"]) < 1
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def git_commit() -> str:
    """The checkout's commit, read from its files: no git is needed. Empty outside of git."""
    git = settings.checkout() / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        if (git / ref).exists():
            return (git / ref).read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(" " + ref)), "")
    except OSError:
        return ""


def _readable(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n").encode()
