"""Objects as a kind of change: `s3-objects`, a set of rows, each one key of one bucket.

A row's side is null (nothing is shown), or the content that is shown: its `etag` and `size`. Its
`markers` are what hides it; `version` says that the bucket itself has the content, else it is
copied from the bucket that the set's header names. A key whose content is neither of the two sides
has moved on, and is left alone.

Objects are worked on side by side, a batch is one step, and every key of it is read back. A batch
that was cut off is taken up where it stopped: each key says for itself whether it was done.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RemDelMarker.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import NotVerified
from runbook.record.journal import Intent
from runbook.studio.pieces import in_chunks, judged, some
from runbook.studio.s3 import Version

KIND = "s3-objects"
CHUNK = 500  # keys of one step; DeleteObjects takes a thousand, with a marker or two each
_AT_ONCE = 16
_ONE_COPY = 5 * 2**30  # bytes: what is larger is copied in parts
_PIECE = 2**20

Row = dict[str, Json]


@dataclass(frozen=True)
class Place:
    """A bucket, and the region that it is asked for in."""

    bucket: str
    region: str

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"s3:{self.bucket}"


def content(one: Version, *, own: bool = False) -> Row:
    """A side of a row: this content; `own`: the bucket has it as a version of its own."""
    return {"etag": one.etag, "size": one.size, **({"version": one.id} if own else {})}


def hidden(markers: Iterable[Version]) -> Row:
    """A side of a row: nothing is shown, since these markers hide what there is."""
    return {"markers": [one.id for one in markers]}


def change_of(
    place: Place, rows: Sequence[Row], *, source: Place | None = None, before: Json, after: Json
) -> Change:
    """The change of a set of keys; `before` and `after` are its summary, for the reader."""
    header = {
        "bucket": place.bucket,
        "region": place.region,
        "source": source.bucket if source else "",
        "source_region": source.region if source else "",
    }
    return Change(KIND, place.target, before, after, rows=RowSet.of(header, rows))


class _Bucket:
    """The bucket of a set at work, with clients for it and for the one it is copied from."""

    def __init__(self, clients: Clients, header: Mapping[str, Json]) -> None:
        self.header = dict(header)
        self.name, self.source = header["bucket"], header["source"]
        self.s3 = clients.aws("s3", region=header["region"])
        self.source_s3 = clients.aws("s3", region=header["source_region"] or header["region"])

    def states(self, rows: Sequence[Row]) -> list[str]:
        """Of each key: `before`, `after`, or `moved`."""
        return _side_by_side(self._state, rows)

    def apply(self, rows: Sequence[Row]) -> None:
        """Bring these keys to their other side."""
        removed = [{"Key": row["key"]} for row in rows if _is_absent(row["after"])]
        shown = [row for row in rows if not _is_absent(row["after"])]
        markers = [
            {"Key": row["key"], "VersionId": marker}
            for row in shown
            for marker in (row["before"] or {}).get("markers", ())
        ]
        for batch in in_chunks([*removed, *markers], 1000):
            self.s3.delete_objects(Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
        _side_by_side(self._copy, [row for row in shown if not _is_hidden(row["before"])])

    def _state(self, row: Row) -> str:
        found = self._head(row["key"])
        for side in ("after", "before"):
            if self._is(row["key"], found, row[side]):
                return side
        return "moved"

    def _head(self, key: str) -> Row | None:
        from botocore.exceptions import ClientError

        try:
            found = self.s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return {"etag": found["ETag"].strip('"'), "size": found["ContentLength"]}

    def _is(self, key: str, found: Row | None, side: Row | None) -> bool:
        if found is None or side is None or _is_hidden(side):
            return found is None and _is_absent(side)
        if found["size"] != side["size"]:
            return False
        if found["etag"] == side["etag"]:
            return True
        # what was uploaded in parts has an ETag that its copy has not: then its bytes are compared
        in_parts = "-" in side["etag"] or "-" in found["etag"]
        return in_parts and self._sha256(key) == self._sha256(key, of=side)

    def _sha256(self, key: str, *, of: Row | None = None) -> str:
        """Of the bytes that a key shows, or of those that a side is copied from; empty: gone."""
        place = self._origin(key, of) if of else {"Bucket": self.name, "Key": key}
        s3 = self.s3 if place["Bucket"] == self.name else self.source_s3
        checksum = hashlib.sha256()
        try:
            for piece in s3.get_object(**place)["Body"].iterin_chunks(_PIECE):
                checksum.update(piece)
        except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
            return ""
        return checksum.hexdigest()

    def _origin(self, key: str, side: Row) -> dict[str, str]:
        if "version" in side:
            return {"Bucket": self.name, "Key": key, "VersionId": side["version"]}
        return {"Bucket": self.source or self.name, "Key": key}

    def _copy(self, row: Row) -> None:
        """Copy just the content that was planned: another one at its source is refused by S3."""
        key, wanted = row["key"], row["after"]
        origin = self._origin(key, wanted)
        if wanted["size"] < _ONE_COPY:
            self.s3.copy_object(
                Bucket=self.name, Key=key, CopySource=origin, CopySourceIfMatch=wanted["etag"]
            )
            return
        source = self.s3 if origin["Bucket"] == self.name else self.source_s3
        about = source.head_object(**origin)
        kept = {name: about[name] for name in ("ContentType", "Metadata") if name in about}
        self.s3.copy(origin, self.name, key, ExtraArgs=kept, SourceClient=source)


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    bucket, total = _Bucket(clients, rows.header), change.rows.count if change.rows else 0
    seen = made = 0
    for chunk in in_chunks(enumerate(rows), CHUNK):
        made += _apply_chunk(bucket, chunk, steps)
        seen += len(chunk)
        steps.progress(seen, total)
    return {**change.after, "rows": made, "as_left": made, "moved_on": total - made}


def _apply_chunk(bucket: _Bucket, chunk: Sequence[tuple[int, Row]], steps: Steps) -> int:
    """One step: how many keys were changed; the others are so already, or have moved on."""
    states = bucket.states([row for _, row in chunk])
    mine = [one for one, state in zip(chunk, states, strict=True) if state == "before"]
    if not mine:
        return 0
    detail = {**bucket.header, "rows": [row for _, row in mine]}
    with steps.step(detail) as step:
        bucket.apply([row for _, row in mine])
        after = bucket.states([row for _, row in mine])
        left = [row["key"] for (_, row), state in zip(mine, after, strict=True) if state != "after"]
        if left:
            raise NotVerified(
                f"{len(left):,} of {len(mine):,} objects do not read as planned: {some(left)}.",
                next="Look at the bucket before doing anything else.",
            )
        step.left["rows"] = [index for index, _ in mine]
    return len(mine)


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    if rows is None:
        return Judgement("moved", ("its keys are not on record",))
    return judged(rows, _Bucket(clients, rows.header).states, chunk=CHUNK)


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """Done as soon as one key of the batch is: what is left, whoever resumes it finds as before.

    None when every key has moved on: nothing is left that could tell.
    """
    states = set(_Bucket(clients, intent.detail).states(intent.detail["rows"])) - {"moved"}
    return "after" in states if states else None


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Each key that was changed, the other way round."""
    if rows is None:
        return None
    made: set[int] = set()
    for intent, left in done:
        keys = {row["key"] for row in intent.detail["rows"]}
        known = (left or {}).get("rows")
        made |= set(known) if known is not None else _named(rows, keys)
    back = [
        # markers that were removed do not come back: a new one is made
        {
            "key": row["key"],
            "before": row["after"],
            "after": None if _is_absent(row["before"]) else row["before"],
        }
        for index, row in enumerate(rows)
        if index in made
    ]
    if not back:
        return None
    inverse = change.inverse()
    return Change(
        KIND, change.target, inverse.before, inverse.after, rows=RowSet.of(rows.header, back)
    )


def _named(rows: Rows, keys: set[str]) -> set[int]:
    return {index for index, row in enumerate(rows) if row["key"] in keys}


def _measure(change: Change) -> Mapping[str, float]:
    return {"objects": change.rows.count if change.rows else 0}


def _is_hidden(side: Row | None) -> bool:
    return side is not None and "markers" in side


def _is_absent(side: Row | None) -> bool:
    return side is None or _is_hidden(side)


def _side_by_side(work: Any, rows: Sequence[Row]) -> list[Any]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(work, rows))


register(
    KIND,
    read=lambda clients, target: {},  # a set is judged key by key, never as a whole
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=_measure,
    take_back=_take_back,
)
