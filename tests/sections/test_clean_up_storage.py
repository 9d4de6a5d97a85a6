"""clean-up-storage: rows and objects go as planned, and come back whole."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

SLUG = "clean-up-storage"
# Older than all others, so that they are the first to go; the second is what a job has made.
OLD = """
    UPDATE files SET created_at = created_at - interval '100 days'
    WHERE s3_key = ANY (%s) RETURNING id::text
"""
FILES = "SELECT to_jsonb(files) FROM files WHERE s3_key = ANY (%s) ORDER BY id"
RESULTS = "SELECT id::text FROM jobs WHERE result_file_id::text = ANY (%s) ORDER BY id"
KEPT = 4


class Few:
    """A few files with their objects, as other clients see them."""

    def __init__(self, studio: MovingStudio) -> None:
        self._studio = studio
        found = studio.client("s3").list_objects_v2(Bucket=names.ASSETS_BUCKET)["Contents"]
        self.keys = [one["Key"] for one in found[:KEPT]]
        self.ids = [row[0] for row in studio.rows(OLD, self.keys)]

    def state(self) -> tuple[Any, Any, Any]:
        """Rows whole, the jobs that name them, and the objects that can be read."""
        return (
            self._studio.rows(FILES, self.keys),
            self._studio.rows(RESULTS, self.ids),
            [key for key in self.keys if self._there(key)],
        )

    def _there(self, key: str) -> bool:
        listed = self._studio.client("s3").list_objects_v2(Bucket=names.ASSETS_BUCKET, Prefix=key)
        return bool(listed["KeyCount"])


def test_files_past_their_time_go_with_their_rows_and_come_back_whole(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    few = Few(studio)
    before = few.state()
    assert len(before[0]) == len(before[2]) == KEPT
    assert before[1]

    planned = run(studio, SLUG, at_most=KEPT)
    targets = [one["target"] for one in planned["plan"]["changes"]]
    assert targets == ["postgresql:jobs", "postgresql:files", f"s3:{names.ASSETS_BUCKET}"]
    assert few.state() == before
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert few.state() == ([], [], [])

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert few.state() == before


def test_a_file_that_changed_since_is_left_alone(put_back: MovingStudio) -> None:
    studio = put_back
    few = Few(studio)
    digest = run(studio, SLUG, at_most=KEPT)["plan"]["digest"]
    changed, kept = few.ids[0], "UPDATE files SET bytes = bytes + 1 WHERE id = %s"
    studio.rows(kept, changed)
    approve(studio, digest)

    applied = run(studio, SLUG, apply=digest)

    assert applied["verdict"] == "succeeded", applied["error"]
    rows, _, there = few.state()
    assert [row[0]["id"] for row in rows] == [changed]
    assert there == [rows[0][0]["s3_key"]]  # its object, and no other
