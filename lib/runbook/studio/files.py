"""Customers' files: rows of `files`, each with an object in the bucket, kept for so many days.

What a job has made is named by the job too (`result_file_id`). `created_at` is UTC, without time
zone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook.change.plan import Change, Json
from runbook.studio import removed_rows
from runbook.studio.rows import Table, plan_update

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

KEYS = "files.s3_key"  # where the keys of objects stand
FILES = Table("files", key="id", stamp="", columns=("kind", "s3_key"))
RESULTS = Table("jobs", key="id", stamp="", columns=("result_file_id",))

_KEYS = "SELECT s3_key FROM files"
_SINCE = "SELECT count(*) FROM files WHERE created_at > :moment"
_BY_KIND = """
    SELECT kind, count(*) AS files, sum(bytes)::float / 1e9 AS gb,
           count(*) FILTER (WHERE past) AS past_files,
           coalesce(sum(bytes) FILTER (WHERE past), 0)::float / 1e9 AS past_gb,
           min(created_at) AS oldest
    FROM (
        SELECT kind, bytes, created_at,
               created_at < (now() AT TIME ZONE 'UTC') - make_interval(days => days) AS past
        FROM files LEFT JOIN (SELECT key, value::int AS days
                              FROM jsonb_each_text(CAST(:keep AS jsonb))) AS kept ON kind = key
    ) AS judged
    GROUP BY kind ORDER BY gb DESC
"""
_PAST = """
    SELECT to_jsonb(files) FROM files
    JOIN (SELECT key, value::int AS days
          FROM jsonb_each_text(CAST(:keep AS jsonb))) AS kept ON kind = key
    WHERE created_at < (now() AT TIME ZONE 'UTC') - make_interval(days => days)
    ORDER BY created_at, id LIMIT :at_most
"""
_MADE_BY = """
    SELECT id::text, result_file_id::text FROM jobs
    WHERE result_file_id = ANY (CAST(:ids AS uuid[])) ORDER BY id
"""


@dataclass(frozen=True)
class Past:
    """Files that are past their time, oldest first: whole rows, and the jobs that name them."""

    rows: tuple[Mapping[str, Json], ...]
    made_by: tuple[tuple[str, str], ...]  # job, file

    @property
    def gb(self) -> float:
        """How much they say that they hold, in GB."""
        return sum(int(row["bytes"]) for row in self.rows) / 1e9

    @property
    def keys(self) -> list[str]:
        """Where their objects are."""
        return [str(row["s3_key"]) for row in self.rows]


def by_kind(database: sqlalchemy.Engine, *, keep_days: Mapping[str, int]) -> pd.DataFrame:
    """All files by kind, most GB first.

    Columns: kind, files, gb, past_files, past_gb, oldest.
    """
    import pandas as pd
    import sqlalchemy

    with database.connect() as connection:
        return pd.read_sql_query(
            sqlalchemy.text(_BY_KIND), connection, params={"keep": _json(keep_days)}
        )


def read_past(database: sqlalchemy.Engine, *, keep_days: Mapping[str, int], at_most: int) -> Past:
    """The oldest files that are past their time."""
    from sqlalchemy import text

    with database.connect() as connection:
        found = connection.execute(
            text(_PAST), {"keep": _json(keep_days), "at_most": at_most}
        ).scalars()
        rows: list[Any] = list(found)
        jobs = connection.execute(text(_MADE_BY), {"ids": [row["id"] for row in rows]}).all()
    return Past(tuple(rows), tuple((job, file) for job, file in jobs))


def plan_remove(past: Past) -> list[Change]:
    """The changes that take these rows away: first, no job names them any more. Pure."""
    named = [
        {"key": job, "before": {"result_file_id": file}, "after": {"result_file_id": None}}
        for job, file in past.made_by
    ]
    changes = []
    if named:
        before, after = {"naming a file": len(named)}, {"naming a file": 0}
        changes.append(plan_update(RESULTS, named, before=before, after=after))
    if past.rows:
        changes.append(removed_rows.plan_remove(FILES, past.rows))
    return changes


def count_since(database: sqlalchemy.Engine, moment: datetime) -> int:
    """How many files users have made since a moment (aware)."""
    import sqlalchemy

    given = {"moment": moment.astimezone(UTC).replace(tzinfo=None)}
    with database.connect() as connection:
        return int(connection.execute(sqlalchemy.text(_SINCE), given).scalar_one())


def read_keys(database: sqlalchemy.Engine) -> set[str]:
    """Keys of all objects that users see in their library: what a bucket has to have."""
    import sqlalchemy

    with database.connect() as connection:
        return set(connection.execute(sqlalchemy.text(_KEYS)).scalars())


def _json(keep_days: Mapping[str, int]) -> str:
    return json.dumps(dict(keep_days))
