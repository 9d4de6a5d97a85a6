"""Bringing back what a bucket has lost: hidden by delete markers, destroyed, or gone with it.

    found = recover_bucket.read(rb.clients, bucket="", since="", overwritten=False, unlisted=False)
    found.findings(), found.table(), found.inventory_table()
    found.plan()
    print(found.support_case())

Users delete files, too: a file that the database does not list any more is left alone, unless that
is asked for. What the bucket has itself comes first, since it is newer than any copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from runbook.change.plan import Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.settings import Backups
from runbook.studio import files, s3, s3_bucket, s3_objects
from runbook.studio.s3 import Inventory, Version
from runbook.studio.s3_bucket import Bucket, Deletion
from runbook.studio.s3_objects import Place
from runbook.table import Table

How = Literal["hidden", "overwritten", "destroyed"]
_WORDS: dict[How, str] = {
    "hidden": "behind a delete marker: the marker is removed",
    "overwritten": "overwritten since: the earlier version is copied over it",
    "destroyed": "no version is left: copied back",
}


@dataclass(frozen=True)
class Lost:
    """A key that does not show what it should. `content` is what it comes to show."""

    key: str
    how: How
    before: Json
    content: Version

    def row(self) -> dict[str, Json]:
        """How a change has it."""
        own = self.how != "destroyed"
        return {
            "key": self.key,
            "before": self.before,
            "after": s3_objects.content(self.content, own=own),
        }


@dataclass(frozen=True)
class Recovery:
    """A bucket beside its copy. `versions` is None when there is no such bucket."""

    account: str
    settings: Backups
    place: Place
    copy: Place | None
    bucket: Bucket
    twin: Bucket | None  # the copy's own settings
    versions: Mapping[str, list[Version]] | None
    copied: Mapping[str, Version]
    listed: frozenset[str] | None  # keys that users see; None: nothing is left out
    younger: int  # files that are younger than all that the copy has
    deletion: Deletion | None
    since: datetime | None = None
    overwritten: bool = False

    @cached_property
    def lost(self) -> tuple[Lost, ...]:
        """What can be brought back, by key. Pure."""
        return tuple(one for one in self._all_lost() if self._is_wanted(one))

    @cached_property
    def left_alone(self) -> int:
        """How many more there are that users do not see any more: they have deleted them."""
        return sum(not self._is_wanted(one) for one in self._all_lost())

    def plan(self) -> Plan:
        """The plan that brings all of it back; first the bucket itself, where it is gone. Pure."""
        bucket = self._bucket_change()
        shown = len(self._shown())
        objects = s3_objects.change_of(
            self.place,
            [one.row() for one in self.lost],
            source=self.copy,
            before={"objects": shown},
            after={"objects": shown + sum(one.how != "overwritten" for one in self.lost)},
        )
        changes = tuple(filter(None, (bucket, objects if self.lost else None)))
        return Plan(
            title=f"Bring back {len(self.lost):,} objects of {self.place.bucket}",
            risk="destructive",
            changes=changes,
            way_back="There is none: a bucket that was created is not deleted here."
            if bucket
            else "undo hides again what was brought back, behind new delete markers; what was "
            "overwritten shows its latest content again.",
            warnings=tuple(self._warnings()),
        )

    def table(self) -> Table:
        """What is lost, in which way, and what becomes of it, to be read."""
        import pandas as pd

        rows = [
            {
                "objects": len(found),
                "MiB": round(sum(one.content.size for one in found) / 2**20, 2),
                "what": words,
            }
            for how, words in _WORDS.items()
            if (found := [one for one in self.lost if one.how == how])
        ]
        if self.left_alone:
            rows.append({"objects": self.left_alone, "MiB": None,
                         "what": "no user sees them any more: left alone"})  # fmt: skip
        return Table(pd.DataFrame(rows), empty="Nothing is lost.")

    def inventories(self) -> tuple[Inventory, ...]:
        """The bucket and its copy, counted and with a checksum."""
        found = [s3.inventory(self.place.bucket, None if self.versions is None else self._shown())]
        if self.copy:
            found.append(s3.inventory(self.copy.bucket, self.copied))
        return tuple(found)

    def inventory_table(self, *, earlier: Recovery | None = None) -> Table:
        """The bucket and its copy, beside how they were earlier, to be read."""
        import pandas as pd

        times = [("before", earlier), ("now", self)] if earlier else [("now", self)]
        rows = [one.row(when) for when, found in times if found for one in found.inventories()]
        return Table(pd.DataFrame(rows))

    def shows(self, then: Recovery) -> bool:
        """Whether the bucket is there, and shows the content of all that was lost then."""
        shown = self._shown()
        return self.bucket.there and all(
            one.key in shown and _is_content(shown[one.key], one.content) for one in then.lost
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        counts = {str(how): sum(one.how == how for one in self.lost) for how in _WORDS}
        gone = not self.bucket.there
        told = f"{self.place.bucket} is gone" if gone else f"{self.place.bucket} is there"
        lost = f"{len(self.lost):,} objects can be brought back" if self.lost else "nothing is lost"
        by = f", deleted by {self.deletion.by}" if gone and self.deletion else ""
        return {
            "status": "critical" if gone or self.lost else "ok",
            "says": f"{told}{by}; {lost}.",
            "gone": gone,
            **counts,
            "left_alone": self.left_alone,
            "younger_than_the_copy": self.younger if gone else 0,
            "sha256": {one.bucket: one.sha256 for one in self.inventories()},
        }

    def support_case(self) -> str:
        """What to write to AWS support: facts that they ask for first."""
        gone = not self.bucket.there
        inventory = {one.bucket: one for one in self.inventories()}
        copy = inventory[self.copy.bucket] if self.copy else None
        lines = [
            f"Subject: {'Bucket' if gone else 'Objects of bucket'} {self.place.bucket} deleted, "
            "help with recovery",
            "Service: S3. Severity: production system impaired.",
            "",
            f"Account {self.account}, region {self.place.region}, bucket {self.place.bucket}.",
            f"The bucket {'does not exist any more' if gone else 'exists'}.",
            self._deletion_line(),
            "Versioning was enabled; older versions were kept for "
            f"{self.settings.versions_kept_days} days.",
        ]
        if copy:
            lines.append(
                f"We have a copy in {copy.bucket}: {copy.objects:,} objects, {copy.bytes:,} bytes."
            )
        destroyed = sum(one.how == "destroyed" for one in self.lost)
        lines += [
            f"{destroyed:,} objects have no version left in the bucket."
            + (f" {self.younger:,} are younger than our copy." if gone else ""),
            "",
            "We ask: can objects that were removed permanently still be recovered on your side?",
            "Is the name of the bucket reserved for us until we have recreated it?"
            if gone
            else "Please tell us who removed the versions, if your data events show it.",
        ]
        return "\n".join(lines)

    def _deletion_line(self) -> str:
        if self.deletion is None:
            return "CloudTrail has no DeleteBucket of it in the last 90 days."
        when = f"{self.deletion.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"CloudTrail: DeleteBucket at {when} by {self.deletion.by}."

    def _bucket_change(self) -> Any:
        """The change that creates the bucket like its copy, as protected as the strategy asks."""
        if self.bucket.there:
            return None
        like = self.twin or self.bucket
        wanted = Bucket(
            self.place.bucket,
            encryption=like.encryption,
            lifecycle=like.lifecycle,
            tags=like.tags,
        )
        settings = s3_bucket.protected(wanted, keep_days=self.settings.versions_kept_days)
        return s3_bucket.change_of(
            self.bucket, {**settings, "tags": dict(like.tags)}, region=self.place.region
        )

    def _warnings(self) -> Iterator[str]:
        if not self.bucket.there:
            yield (
                "Anybody can take the name of a deleted bucket: create it now, and see that it is "
                "ours. S3 may refuse the name for up to an hour."
            )
            if self.younger:
                yield (
                    f"{self.younger:,} files are younger than all that the copy has: they are "
                    "lost, unless AWS can help."
                )
        if self.listed is None:
            yield "The list of files was not used: what users have deleted comes back, too."
        if self.left_alone:
            yield f"{self.left_alone:,} objects that no user sees any more are left alone."

    def _shown(self) -> dict[str, Version]:
        return s3.shown_of(self.versions or {})

    def _is_wanted(self, one: Lost) -> bool:
        return self.listed is None or one.key in self.listed

    def _all_lost(self) -> Iterator[Lost]:
        versions = self.versions or {}
        for key in sorted(versions.keys() | self.copied.keys()):
            one = self._of_key(key, versions.get(key, []))
            if one is not None:
                yield one

    def _of_key(self, key: str, versions: list[Version]) -> Lost | None:
        if versions and not versions[0].marker:
            return self._overwritten(key, versions)
        if versions and self.since and versions[0].modified_at < self.since:
            return None  # deleted before that
        kept = next((one for one in versions if not one.marker), None)
        if kept:
            markers = versions[: versions.index(kept)]
            return Lost(key, "hidden", s3_objects.hidden(markers), kept)
        if key in self.copied:
            return Lost(key, "destroyed", None, self.copied[key])
        return None

    def _overwritten(self, key: str, versions: list[Version]) -> Lost | None:
        """The version before the moment, of what has had another content since."""
        if not (self.overwritten and self.since) or versions[0].modified_at < self.since:
            return None
        then = next((one for one in versions if one.modified_at < self.since), None)
        if then is None or then.marker or then.etag == versions[0].etag:
            return None
        return Lost(key, "overwritten", s3_objects.content(versions[0], own=True), then)


def read(
    clients: Clients, *, bucket: str, since: str, overwritten: bool, unlisted: bool
) -> Recovery:
    """A bucket with all its versions, beside its copy.

    `bucket` empty: the one with the users' files. `since`: a moment in UTC; what was deleted before
    is left alone. `unlisted`: bring back, too, what no user sees any more. Raises BadInput.
    """
    wanted, regions = clients.environment.promises, clients.environment.regions
    name = bucket.strip() or wanted.files_bucket
    copies = {
        wanted.files_bucket: Place(wanted.files_copy, regions.backup),
        wanted.files_copy: Place(wanted.files_bucket, regions.primary),
    }
    copy = copies.get(name)
    place = Place(name, regions.backup if name == wanted.files_copy else regions.primary)
    client = clients.aws("s3", region=place.region)
    moment = _moment(since)
    if overwritten and not moment:
        raise BadInput("overwritten: say since when.", next="-p since 2026-11-28T02:00")
    copied, twin = _copy(clients, copy)
    mine = name in copies and not unlisted
    listed = frozenset(files.read_keys(clients.database)) if mine else None
    newest = max((one.modified_at for one in copied.values()), default=None)
    found = s3_bucket.read_bucket(client, name)
    return Recovery(
        account=clients.environment.account,
        settings=clients.environment.backups,
        place=place,
        copy=copy,
        bucket=found,
        twin=twin,
        versions=s3.read_versions(client, name) if found.there else None,
        copied=copied,
        listed=listed,
        younger=files.count_since(clients.database, newest) if mine and newest else 0,
        deletion=s3_bucket.read_deletion(clients.aws("cloudtrail", region=place.region), name),
        since=moment,
        overwritten=overwritten,
    )


def _copy(clients: Clients, copy: Place | None) -> tuple[dict[str, Version], Bucket | None]:
    """What a bucket's copy has, and how it is set up."""
    if copy is None:
        return {}, None
    client = clients.aws("s3", region=copy.region)
    return s3.read_shown(client, copy.bucket) or {}, s3_bucket.read_bucket(client, copy.bucket)


def _is_content(shown: Version, wanted: Version) -> bool:
    """By size and ETag; a copy of what was uploaded in parts has another ETag, and is compared
    byte by byte where it is made."""
    in_parts = "-" in wanted.etag or "-" in shown.etag
    return shown.size == wanted.size and (in_parts or shown.etag == wanted.etag)


def _moment(text: str) -> datetime | None:
    """A moment as it is typed, in UTC. Raises BadInput."""
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(
            f"since: expected a moment in UTC such as 2026-11-28T02:00, found {text!r}."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
