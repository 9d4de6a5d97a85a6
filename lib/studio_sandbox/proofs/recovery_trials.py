"""What `prove recoveries` tries: a Studio that is broken, and how other clients judge it then.

They are boto3, psycopg2 and redis with their own addresses and logins: nothing of the runbook's,
but for the keys that a reviewed plan has named.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg2
from botocore.exceptions import ClientError

from runbook.change.plan import Change
from runbook.change.saved import SavedPlan, rows_of
from studio_sandbox.control_plane import names
from studio_sandbox.drills import buckets, services, world
from studio_sandbox.drills import drill as drills
from studio_sandbox.drills.data_corrupted import lasting_content
from studio_sandbox.drills.studio import Studio
from studio_sandbox.state import Box

Inside = tuple[str, Callable[[], bool]]  # how much of a change the world shows, and whether it does
_SHARES = (0.05, 0.15, 0.25, 0.35, 0.5, 0.65, 0.75, 0.85, 0.95)
_GRACE = timedelta(seconds=10)  # what was used is written three seconds later, or a bit more
_ALIKE = (
    "DBSubnetGroup", "VpcSecurityGroups", "DBClusterParameterGroup", "EngineVersion",
    "ServerlessV2ScalingConfiguration", "StorageEncrypted", "DeletionProtection",
)  # fmt: skip
_SUMS = """
    SELECT CASE kind WHEN 'video' THEN 'videos' ELSE kind END, user_id::text,
           to_char(created_at, 'YYYY-MM'), sum(amount)::bigint
    FROM usage_logs GROUP BY 1, 2, 3
"""
_SETTLED_WITHIN_S = 60.0


class Trial(Protocol):
    """A section, and a world that it recovers. `plans`: it has so many, one after the other."""

    slug: str
    plans: int
    undoes: bool  # whether the section says that it can be undone

    def break_it(self) -> dict[str, str]:
        """Break the Studio; the parameters that the section is run with."""
        ...

    def planned(self, planned: SavedPlan) -> None:
        """Take note of a plan that will be applied."""
        ...

    def inside(self, change: Change) -> Iterable[Inside]:
        """Points inside a change that takes long."""
        ...

    def judge(self) -> list[str]:
        """What is not as it is after a run that nobody disturbs: a sentence each."""
        ...

    def judge_undone(self) -> list[str]:
        """What is not as it was before the section."""
        ...


class _Drilled:
    """What is broken by a drill is judged by it: the same that rehearsals are judged by."""

    slug = ""
    plans = 1
    undoes = True
    drill = ""

    def __init__(self, box: Box, seed: int) -> None:
        self.studio, self._seed = Studio(box), seed

    def break_it(self) -> dict[str, str]:
        self.running = drills.start(self.studio.box, self.drill, self._seed)
        self.broken = world.read(self.studio)
        return {}

    def planned(self, planned: SavedPlan) -> None:
        """Nothing of the plan is needed."""

    def inside(self, change: Change) -> Iterable[Inside]:
        return ()

    def judge(self) -> list[str]:
        found = drills.judge(self.studio.box, self.running)
        return [*found.findings, *found.unneeded]

    def judge_undone(self) -> list[str]:
        return world.changed(self.broken, world.read(self.studio))


class Corrupted(_Drilled):
    """Rows were damaged: the moment before is restored, then switched to."""

    slug, plans, drill = "recover-database", 2, "data-corrupted"

    def break_it(self) -> dict[str, str]:
        self._clusters, self._versions = self._read_clusters(), self._read_versions()
        super().break_it()
        self._now = self._content(datetime.now(UTC))
        return {"moment": self.running.details["moment"]}

    def inside(self, change: Change) -> Iterable[Inside]:
        name = change.target.partition(":")[2]
        if change.kind == "aurora-cluster":
            return [("it is being made", lambda: name in self._read_clusters())]
        if change.kind == "aurora-instance":
            return [("it is being made", lambda: self._is_instance(name))]
        return ()

    def judge(self) -> list[str]:
        return [*super().judge(), *self._judge_clusters()]

    def judge_undone(self) -> list[str]:
        services.until_well(self.studio)  # an undo starts services, and follows none
        found = super().judge_undone()
        if self._read_clusters().keys() != self._clusters.keys():
            found.append(f"there are clusters {', '.join(self._read_clusters())}")
        if self._content(*self._now[1:]) != self._now:
            found.append("the database that was left is not as it was")
        return found

    def _judge_clusters(self) -> Iterator[str]:
        """One new cluster, like the old one, with one instance; one new version of the DSN."""
        now = self._read_clusters()
        made = [one for name, one in now.items() if name not in self._clusters]
        if len(made) != 1 or not self._clusters.keys() <= now.keys():
            yield f"there are clusters {', '.join(now)}"
        for one in made:
            old = self._clusters[names.DATABASE_CLUSTER]
            yield from (f"{key} is another" for key in _ALIKE if one[key] != old[key])
            if one["Status"] != "available" or len(one["DBClusterMembers"]) != 1:
                yield f"it is {one['Status']}, with {len(one['DBClusterMembers'])} instances"
            if urlsplit(self.studio.database_url).port != one["Port"]:
                yield "the DSN names another"
        if (versions := self._read_versions() - self._versions) != 1:
            yield f"the DSN has {versions} new versions"

    def _read_clusters(self) -> dict[str, dict[str, Any]]:
        found = self.studio.aws("rds").describe_db_clusters()["DBClusters"]
        return {one["DBClusterIdentifier"]: one for one in found}

    def _is_instance(self, name: str) -> bool:
        found = self.studio.aws("rds").describe_db_instances()["DBInstances"]
        return name in [one["DBInstanceIdentifier"] for one in found]

    def _read_versions(self) -> int:
        found = self.studio.aws("secretsmanager").list_secret_version_ids(
            SecretId=names.DATABASE_URL, IncludeDeprecated=True
        )
        return len(found["Versions"])

    def _content(self, moment: datetime) -> tuple[dict[str, list[Any]], datetime]:
        """What the database that the DSN names has of before a moment."""
        until = (moment - _GRACE).astimezone(UTC).replace(tzinfo=None).isoformat()
        with closing(psycopg2.connect(self.studio.database_url)) as connection:
            return lasting_content(connection.cursor(), until), moment


class Snapshot(Corrupted):
    """Nothing is broken: a snapshot is taken, and restored beside the one that serves."""

    slug = "restore-database"

    def break_it(self) -> dict[str, str]:
        self._clusters, self._versions = self._read_clusters(), self._read_versions()
        self._kept = self._content(datetime.now(UTC))
        self._take("before-the-kills")
        self._now = self._content(datetime.now(UTC))
        self.broken = world.read(self.studio)
        return {"snapshot": "before-the-kills"}

    def _take(self, name: str) -> None:
        rds = self.studio.aws("rds")
        rds.create_db_cluster_snapshot(
            DBClusterSnapshotIdentifier=name, DBClusterIdentifier=names.DATABASE_CLUSTER
        )

        def taken() -> bool:
            found = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)
            return bool(found["DBClusterSnapshots"][0]["Status"] == "available")

        self.studio.until(taken, "a snapshot")

    def judge(self) -> list[str]:
        found = list(self._judge_clusters())
        if self._content(*self._kept[1:]) != self._kept:
            found.append("what was committed before the snapshot is not there as it was")
        needed = [f"secret {names.DATABASE_URL}: version", "cluster *"]
        found += world.unneeded(self.broken, self.broken, world.read(self.studio), needed)
        found += services.with_earlier_value(self.studio, names.DATABASE_URL)
        return found + services.wrong(self.studio)


class ObjectsGone(_Drilled):
    """Objects are hidden by delete markers, or destroyed: there is a way back."""

    slug, drill, bucket = "recover-bucket", "objects-deleted", names.ASSETS_BUCKET

    def break_it(self) -> dict[str, str]:
        parameters = super().break_it()
        self._shown, self._wanted = self._content(), self.running.details["wanted"]
        return parameters

    def inside(self, change: Change) -> Iterable[Inside]:
        if change.kind == "s3-bucket":
            return [("it is there", self._is_there)]
        return [
            (f"{share:.0%} of its objects are back", partial(self._is_back, share))
            for share in _SHARES[1::2]
        ]

    def planned(self, planned: SavedPlan) -> None:
        rows = (row for change in planned.plan.changes for row in rows_of(planned, change) or ())
        self._lost = [row["key"] for row in rows]

    def _is_back(self, share: float) -> bool:
        """Whether the one is that stands there in the plan: to list them all takes too long."""
        try:
            one = self._lost[int(share * len(self._lost))]
            self.studio.aws("s3").head_object(Bucket=self.bucket, Key=one)
        except ClientError:
            return False
        return True

    def judge(self) -> list[str]:
        """Each with its content, shown by one version and no more."""
        found = super().judge()
        shown = [
            one["Key"]
            for one in buckets.versions(self.studio, self.bucket)
            if one["IsLatest"] and "ETag" in one
        ]
        twice = len(shown) - len(set(shown))
        more = self._versions_of(self._made())
        found += [f"{twice} keys are shown twice"] if twice else []
        return found + ([f"{more} objects were copied more than once"] if more else [])

    def judge_undone(self) -> list[str]:
        found = super().judge_undone()
        return found + (["other objects are shown"] if self._content() != self._shown else [])

    def _made(self) -> set[str]:
        """Keys that had no version left: each has to have one now."""
        return set(self.running.details["destroyed"])

    def _versions_of(self, keys: set[str]) -> int:
        found = [one["Key"] for one in buckets.versions(self.studio, self.bucket, keys)]
        return len(found) - len(set(found))

    def _content(self) -> dict[str, str]:
        try:
            return buckets.content(self.studio, self.bucket)
        except ClientError:
            return {}

    def _is_there(self) -> bool:
        known = self.studio.aws("s3").list_buckets()["Buckets"]
        return self.bucket in [one["Name"] for one in known]


class BucketGone(ObjectsGone):
    """The bucket is gone: it is made anew, and there is no way back from that."""

    drill, undoes = "bucket-deleted", False

    def _made(self) -> set[str]:
        return set(self._wanted)


class Counters:
    """Usage counters, while users go on: the table has them whole, and a way back is kept."""

    slug, plans, undoes = "clear-usage-cache", 1, True

    def __init__(self, box: Box, seed: int) -> None:
        self.studio = Studio(box)
        self._keys: dict[str, tuple[str, int]] = {}

    def break_it(self) -> dict[str, str]:
        self._sums = self._read_sums()
        return {}

    def planned(self, planned: SavedPlan) -> None:
        rows = (row for change in planned.plan.changes for row in rows_of(planned, change) or ())
        images = ((row["key"], row["before"]) for row in rows)
        self._keys = {key: (image["sha1"], image["expires_at_ms"]) for key, image in images}

    def inside(self, change: Change) -> Iterable[Inside]:
        return [
            (f"{share:.0%} of its counters are gone", partial(self._is_gone, share))
            for share in _SHARES
        ]

    def _is_gone(self, share: float) -> bool:
        there: Any = self.studio.redis.exists(*self._keys)
        return bool(there <= (1 - share) * len(self._keys))

    def judge(self) -> list[str]:
        """None is as it was planned, no usage is lost, and what is counted is what was used."""
        left = self._as_they_were()
        now = self._read_sums()
        less = [about for about, amount in self._sums.items() if now.get(about, 0) < amount]
        told = {
            "counters are as they were": left,
            "sums of the table are less than they were": less,
            "counters do not come to say what the table says": self._apart(),
        }
        return [f"{len(found)} {what}" for what, found in told.items() if found]

    def judge_undone(self) -> list[str]:
        """Each counter is as it was, or was begun anew by a user before that."""
        now = self._images()
        lost = [key for key in self._keys if key not in now]
        apart = self._apart()
        return [
            *([f"{len(lost)} counters have not come back"] if lost else []),
            *([f"{len(apart)} counters do not come to say what the table says"] if apart else []),
        ]

    def _as_they_were(self) -> list[str]:
        """Counters that are as planned, and stay so. Whoever uses something for the first time
        counts from nought, and so up to a small number that was there, until that is written."""
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        while left := [key for key, image in self._images().items() if image == self._keys[key]]:
            if time.monotonic() > deadline:
                break
            time.sleep(1)
        return left

    def _images(self) -> dict[str, tuple[str, int]]:
        """Fingerprint and expiry of those of the plan's counters that are there."""
        pipe = self.studio.redis.pipeline(transaction=False)
        for key in self._keys:
            pipe.dump(key)
            pipe.pexpiretime(key)
        answers = pipe.execute()
        found = zip(self._keys, answers[::2], answers[1::2], strict=True)
        return {
            key: (hashlib.sha1(dump, usedforsecurity=False).hexdigest(), expires)
            for key, dump, expires in found
            if dump is not None
        }

    def _apart(self) -> list[str]:
        """Counters that differ from the table, and go on to do so: usage is written a bit later."""
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        apart = self._differing()
        while apart and time.monotonic() < deadline:
            time.sleep(1)
            apart = {key: by for key, by in self._differing().items() if apart.get(key) == by}
        return sorted(apart)

    def _differing(self) -> Mapping[str, int]:
        redis = self.studio.redis
        keys = list(redis.scan_iter("usage:*:*:*", count=1000))
        values = zip(keys, redis.mget(keys) if keys else [], strict=True)
        counted = {key: int(value) for key, value in values if value is not None}
        sums = self._read_sums()
        return {key: by for key, value in counted.items() if (by := value - sums.get(key, 0))}

    def _read_sums(self) -> dict[str, int]:
        """What the table adds up to, by the name that its counter has."""
        rows = self.studio.rows(_SUMS)
        return {f"usage:{kind}:{user}:{month}": int(total) for kind, user, month, total in rows}


TRIALS: Mapping[str, Callable[[Box, int], Trial]] = {
    "recover-bucket (bucket)": BucketGone,
    "recover-bucket (objects)": ObjectsGone,
    "clear-usage-cache": Counters,
    "recover-database": Corrupted,
    "restore-database": Snapshot,
}
