"""What tests of the door share: a record of its own, a clock that is set, a kind of change.

The kind `test-value` is a JSON value in a real Redis key. It costs `read` and `apply`; each apply
leaves its intent's id in a list beside the value, in the same transaction, so that a test can ask
the server how often a value was written, whatever the journal says.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from runbook import settings
from runbook.change.door import Door
from runbook.change.kinds import register
from runbook.change.plan import Change, Json, Origin, Plan, RowSet
from runbook.change.saved import SavedPlan
from runbook.clients import Clients, Identity
from runbook.record.journal import Intent
from runbook.record.runs import Run, store_of
from runbook.record.store import FolderStore
from runbook.settings import Environment
from runbook.wait import SYSTEM_CLOCK, Clock

VALUE = "test-value"
PLANNER = Identity("123456789012", "arn:aws:iam::123456789012:user/planner")
COLLEAGUE = Identity("123456789012", "arn:aws:iam::123456789012:user/colleague")
THIRD = Identity("123456789012", "arn:aws:iam::123456789012:user/third")


@dataclass
class SetClock:
    """A clock that stands where it was set."""

    moment: datetime = datetime(2026, 11, 24, 8, 45, tzinfo=UTC)  # a Tuesday

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)

    def advance(self, **units: float) -> None:
        self.moment += timedelta(**units)


def environment_in(folder: Path, **sections: Any) -> Environment:
    """The sandbox's environment with its record in `folder` and other sections as given."""
    content = settings.load("sandbox").model_dump()
    content["record"] = {"store": str(folder), "single_machine": True}
    return Environment.model_validate({**content, **sections})


def environment_on_s3(bucket: str, prefix: str = "record", **record: Any) -> Environment:
    """The sandbox's environment with its record in a bucket."""
    content = settings.load("sandbox").model_dump()
    content["record"] = {"store": f"s3://{bucket}/{prefix}", **record}
    return Environment.model_validate(content)


@contextmanager
def bucket_with_locks(name: str) -> Iterator[Any]:
    """A bucket with Object Lock in the sandbox's backup region, and a client there."""
    environment = settings.load("sandbox")
    region = environment.regions.backup
    s3 = Clients(environment, region=region).aws("s3")
    s3.create_bucket(
        Bucket=name,
        CreateBucketConfiguration={"LocationConstraint": region},
        ObjectLockEnabledForBucket=True,
    )
    yield s3
    while True:
        found = s3.list_object_versions(Bucket=name)
        versions = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
        if not versions:
            break
        wanted = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in versions]
        s3.delete_objects(Bucket=name, Delete={"Objects": wanted}, BypassGovernanceRetention=True)
    s3.delete_bucket(Bucket=name)


def begin(environment: Environment, *, clock: Clock = SYSTEM_CLOCK, **about: Any) -> Run:
    """A new run of this process."""
    wanted = {"section": "a-test", "notebook_sha256": "0" * 64, "parameters": {}, **about}
    return Run.begin(environment, mode="headless", clock=clock, **wanted)


def value_change(target: str, before: Json, after: Json, **other: Any) -> Change:
    return Change(VALUE, target, before, after, **other)


def plan_of(*changes: Change, **other: Any) -> Plan:
    """A plan of these changes with an origin, as a section would save it."""
    origin = Origin("sandbox", "123456789012", "a-test", "0" * 64, {})
    wanted = {"title": "A test", "risk": "low", "way_back": "undo.", "origin": origin, **other}
    return Plan(changes=changes, **wanted)


def _read_value(clients: Clients, target: str) -> Json:
    stored: Any = clients.redis.get(target)
    return json.loads(stored) if stored is not None else None


def _apply_value(clients: Clients, change: Change, intent: Intent) -> None:
    pipeline = clients.redis.pipeline(transaction=True)
    pipeline.set(change.target, json.dumps(change.after))
    pipeline.rpush(f"{change.target}:writes", intent.id)
    pipeline.execute()


register(VALUE, read=_read_value, apply=_apply_value, measure=lambda change: {"keys": 1})


@dataclass
class Bench:
    """An environment with a record of its own, and all that goes through its door."""

    environment: Environment
    clock: SetClock | None = None
    clients: Clients = field(init=False)
    _approver: Clients | None = None
    _prefix: str = field(default_factory=lambda: f"test:{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.clients = Clients(self.environment)

    @property
    def store(self) -> FolderStore:
        store = store_of(self.environment)
        assert isinstance(store, FolderStore)
        return store

    @property
    def approver(self) -> Clients:
        """The sandbox's second identity."""
        self._approver = self._approver or Clients(self.environment, profile="approver")
        return self._approver

    def target(self, name: str, value: Json = None) -> str:
        """A Redis key of this test's own, holding `value`."""
        key = f"{self._prefix}:{name}"
        self.clients.redis.set(key, json.dumps(value))
        return key

    def value(self, target: str) -> Json:
        return _read_value(self.clients, target)

    def set(self, target: str, value: Json) -> None:
        """Somebody else changes it."""
        self.clients.redis.set(target, json.dumps(value))

    def writes(self, target: str) -> list[str]:
        """Ids of the intents under which the key was written, as the server tells."""
        found: Any = self.clients.redis.lrange(f"{target}:writes", 0, -1)
        return list(found)

    def begin(self, **about: Any) -> Run:
        return begin(self.environment, clock=self.clock or SYSTEM_CLOCK, **about)

    def door(self, run: Run | None = None, *, clients: Clients | None = None) -> Door:
        clock = self.clock or SYSTEM_CLOCK
        return Door(clients or self.clients, run or self.begin(), clock=clock)

    def save(self, *changes: Change, **other: Any) -> SavedPlan:
        """Save a plan of these changes in a run of its own."""
        return self.door().save(plan_of(*changes, **other))

    def checksum(self) -> str:
        """Of all that is in the Studio's stores: keys and their values, and every job."""
        content: list[Any] = []
        redis = self.clients.redis
        for key in sorted(redis.scan_iter(f"{self._prefix}:*")):
            content.append([key, (redis.dump(key) or b"").hex()])
        content.append(jobs_checksum(self.clients))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def close(self) -> None:
        """Remove this test's keys and give back the connections."""
        redis = self.clients.redis
        for key in list(redis.scan_iter(f"{self._prefix}:*")):
            redis.delete(key)
        self.clients.close()
        if self._approver:
            self._approver.close()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """The block leaves the world as it was."""
        before = self.checksum()
        yield
        assert self.checksum() == before, "a refusal changed the world"


def jobs_checksum(clients: Clients) -> str:
    query = text("SELECT md5(string_agg(j::text, '|' ORDER BY id)) FROM jobs j")
    with clients.database.connect() as connection:
        return str(connection.execute(query).scalar_one())


def rows_of_file(rows: RowSet) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.data.splitlines()[1:]]


def in_other_process(work: Callable[[], None]) -> int:
    """Do `work` in a fork of this process, and give its exit code: 1 when it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
