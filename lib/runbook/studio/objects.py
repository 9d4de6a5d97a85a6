"""Objects of a versioned bucket that are deleted, and brought back, as a kind of change.

Deleting puts a delete marker on top of an object's versions; taking the marker away brings the
object back. Each object is judged by itself and is a step of its own: its newest version is the
one of the plan, and it is deleted or not. Nothing is ever removed for good. An object that a row of
the database names (`named_in` of the set's header, TABLE.COLUMN) is never deleted.

Kind of change: `s3-deleted-objects`, a set of rows; target `s3:BUCKET`.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import BadInput, NotVerified, Refused
from runbook.record.journal import Intent

KIND = "s3-deleted-objects"


def read_object(s3: Any, *, bucket: str, key: str) -> Json:
    """An object's newest version, and whether it is deleted; None where there never was one.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """
    found = s3.list_object_versions(Bucket=bucket, Prefix=key)
    versions = [one for one in found.get("Versions", ()) if one["Key"] == key]
    if not versions:
        return None
    markers = [one for one in found.get("DeleteMarkers", ()) if one["Key"] == key]
    newest = max(versions, key=lambda one: (one["IsLatest"], one["LastModified"]))
    return {"version": newest["VersionId"], "deleted": any(one["IsLatest"] for one in markers)}


def refuse_unless_versioned(s3: Any, *, bucket: str) -> None:
    """Raises Refused for a bucket in which what is deleted is gone."""
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        raise Refused(
            f"{bucket} keeps no versions: what is deleted in it is gone.",
            next="Switch versioning on first: protect-buckets",
        )


def plan_delete(bucket: str, there: Mapping[str, Json], *, named_in: str) -> Change:
    """The change that deletes these objects, by key, each as `read_object` gave it.

    One that is named in this column (TABLE.COLUMN) when its turn comes is left alone.
    """
    rows = [
        {"key": key, "before": image, "after": {**image, "deleted": True}}
        for key, image in there.items()
    ]
    return _change({"bucket": bucket, "named_in": named_in}, rows, deletes=True)


def read_named(clients: Clients, *, named_in: str, keys: Iterable[str]) -> set[str]:
    """Of these keys, those that a row names. Raises BadInput for what is not TABLE.COLUMN."""
    from sqlalchemy import text

    if not re.fullmatch(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*", named_in):
        raise BadInput(f"{named_in!r} is not a column, as TABLE.COLUMN.")
    table, _, column = named_in.partition(".")
    query = text(f"SELECT {column} FROM {table} WHERE {column} = ANY (:keys)")  # noqa: S608
    with clients.database.connect() as connection:
        return set(connection.execute(query, {"keys": list(keys)}).scalars())


def _change(header: Mapping[str, Json], rows: list[dict[str, Json]], *, deletes: bool) -> Change:
    there, gone = {"objects": len(rows)}, {"objects": 0}
    before, after = (there, gone) if deletes else (gone, there)
    return Change(KIND, f"s3:{header['bucket']}", before, after, rows=RowSet.of(header, rows))


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Delete or bring back what is still as planned, one after the other; each is read back."""
    s3, bucket = clients.aws("s3", once=True), rows.header["bucket"]
    total, made = change.rows.count if change.rows else 0, 0
    deleted = [row["key"] for row in rows if row["after"]["deleted"]]
    named = read_named(clients, named_in=rows.header["named_in"], keys=deleted)
    for index, row in enumerate(rows):
        if row["key"] in named:
            continue
        if read_object(s3, bucket=bucket, key=row["key"]) == row["before"]:
            with steps.step({"row": index, **row}) as step:
                _carry_out(s3, bucket, row)
                step.left["row"] = index
            made += 1
        steps.progress(index + 1, total)
    return {**change.after, "rows": made, "as_left": made, "moved_on": total - made}


def _carry_out(s3: Any, bucket: str, row: Mapping[str, Json]) -> None:
    """Put a delete marker on top, or take away those that are there. Raises NotVerified."""
    key = row["key"]
    if row["after"]["deleted"]:
        s3.delete_object(Bucket=bucket, Key=key)
    else:
        for marker in _markers(s3, bucket, key):
            s3.delete_object(Bucket=bucket, Key=key, VersionId=marker)
    if read_object(s3, bucket=bucket, key=key) != row["after"]:
        raise NotVerified(
            f"s3://{bucket}/{key} was changed, but does not read as planned.",
            next="Look at its versions before doing anything else.",
        )


def _markers(s3: Any, bucket: str, key: str) -> Iterable[str]:
    """The delete markers of an object: all are above its newest version when it is deleted."""
    found = s3.list_object_versions(Bucket=bucket, Prefix=key).get("DeleteMarkers", ())
    return [one["VersionId"] for one in found if one["Key"] == key and one["IsLatest"]]


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while one object is as planned; in place when all of them are; else it has moved."""
    if rows is None:
        return Judgement("moved", ("its objects are not on record",))
    s3, moved = clients.aws("s3"), []
    for row in rows:
        found = read_object(s3, bucket=rows.header["bucket"], key=row["key"])
        if found == row["before"]:
            return Judgement("to do")
        if found != row["after"]:
            moved.append(row["key"])
    return (
        Judgement("moved", (f"{len(moved):,} objects have changed",))
        if moved
        else Judgement("holds")
    )


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """Whether the object of a step is as it was to be."""
    about = intent.detail
    bucket = change.target.removeprefix("s3:")
    found = read_object(clients.aws("s3"), bucket=bucket, key=about["key"])
    return {str(about["before"]): False, str(about["after"]): True}.get(str(found))


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Each object that was deleted or brought back, the other way round."""
    made = {intent.detail["row"] for intent, _ in done}
    back = [
        {"key": row["key"], "before": row["after"], "after": row["before"]}
        for index, row in enumerate(rows or ())
        if index in made
    ]
    if rows is None or not back:
        return None
    return _change(rows.header, back, deletes=bool(back[0]["after"]["deleted"]))


register(
    KIND,
    read=lambda clients, target: {},  # a set is judged object by object, never as a whole
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=lambda change: {"objects": change.rows.count if change.rows else 0},
    take_back=_take_back,
)
