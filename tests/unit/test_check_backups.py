"""What the backups come to, judged without asking anybody: just under a target, and just over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.errors import BadInput
from runbook.procedure.check_backups import Checked, Judged, Rehearsal
from runbook.settings import Backups
from runbook.studio import aurora_backups, s3_bucket
from runbook.studio.aurora_backups import Snapshot, Window
from runbook.studio.s3 import Version
from runbook.studio.s3_bucket import Bucket

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GOOD = Bucket(
    "files",
    region="eu-central-1",
    versioning="Enabled",
    encryption="AES256",
    public_access="blocked",
    lifecycle={"old": s3_bucket.keep_versions(30)},
    policy={s3_bucket.DENY_DELETE: s3_bucket.deny_delete("files")},
)


def snapshot(days: float, kind: str = "automated", *, encrypted: bool = True) -> Snapshot:
    taken = NOW - timedelta(days=days)
    return Snapshot(f"{kind}-{days}", "db", kind, "available", taken, 46, encrypted)


FOUND = Checked(
    Backups(),
    Window("db", NOW - timedelta(days=7), NOW - timedelta(minutes=4), 7, encrypted=True),
    tuple(snapshot(day + 0.4) for day in range(7)),
    (snapshot(0.4),),
    (GOOD,),
    (),
    Rehearsal("recover-database", "run-1", NOW - timedelta(days=10), 1800),
    NOW,
)


def bad(found: Checked) -> list[Judged]:
    judged = [*found.targets(), *found.database(), *found.files()]
    return [one for one in judged if one.status != "ok"]


def test_what_is_kept_as_it_should_be_is_ok() -> None:
    assert bad(FOUND) == []
    assert FOUND.findings()["status"] == "ok"
    assert FOUND.findings()["recovery_point_s"] == 240


@pytest.mark.parametrize(("minutes", "status"), [(59, []), (61, ["critical"])])
def test_the_recovery_point_is_now_minus_the_latest_moment(minutes: int, status: list[str]) -> None:
    window = replace(FOUND.window, latest=NOW - timedelta(minutes=minutes))
    assert [one.status for one in bad(replace(FOUND, window=window))] == status


@pytest.mark.parametrize(("hours", "status"), [(3.9, []), (4.1, ["critical"])])
def test_the_recovery_time_is_that_of_the_last_restore(hours: float, status: list[str]) -> None:
    last = Rehearsal("recover-database", "run-1", NOW, hours * 3600)
    assert [one.status for one in bad(replace(FOUND, rehearsal=last))] == status


def test_a_recovery_time_that_nobody_measured_is_a_warning() -> None:
    assert {one.about for one in bad(replace(FOUND, rehearsal=None))} == {
        "recovery time",
        "last restore",
    }


def test_a_day_without_a_snapshot_and_a_late_one_are_found() -> None:
    days = tuple(snapshot(day) for day in (1.5, 2.5, 4.5, 5.5))
    assert {one.about: one.status for one in bad(replace(FOUND, snapshots=days))} == {
        "last automated snapshot": "critical",
        "none left out": "warning",
    }


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        (Bucket("files"), "is gone"),
        (replace(GOOD, versioning="Suspended"), "keeps no versions"),
        (replace(GOOD, lifecycle={"old": s3_bucket.keep_versions(29)}), "keeps them for 29 days"),
        (replace(GOOD, policy={}), "lacks a policy that denies deletion"),
    ],
)
def test_a_bucket_that_is_protected_too_little_says_what_is_missing(
    bucket: Bucket, says: str
) -> None:
    (one,) = bad(replace(FOUND, buckets=(bucket,)))
    assert one.found == says


def test_files_are_without_a_copy_for_longer_than_may_be_lost() -> None:
    young, old = (
        Version("1", marker=False, modified_at=NOW - timedelta(minutes=m)) for m in (50, 70)
    )
    assert bad(replace(FOUND, not_copied=(young,))) == []
    (one,) = bad(replace(FOUND, not_copied=(young, old)))
    assert (one.status, one.open) == ("warning", "back-up-now")


def test_the_strategy_contradicts_itself_where_snapshots_are_rarer_than_the_target() -> None:
    told = FOUND.contradictions().frame
    assert "up to 24 h are lost" in told["but"][0]
    hourly = replace(FOUND, settings=Backups(snapshot_every_hours=1))
    assert not hourly.contradictions().frame["but"].str.contains("24 h").any()


@pytest.mark.parametrize("name", ["9lives", "two--hyphens", "ends-", "sp ace", "a" * 64, ""])
def test_a_snapshot_is_not_planned_under_a_name_that_aws_refuses(name: str) -> None:
    with pytest.raises(BadInput, match="single hyphens"):
        aurora_backups.plan_snapshot(FOUND.window, name=name)


def test_a_snapshot_that_is_there_is_not_taken_again() -> None:
    there = replace(snapshot(1, "manual"), name="before")
    assert aurora_backups.plan_snapshot(FOUND.window, name="Before", known=[there]).changes == ()
    (change,) = aurora_backups.plan_snapshot(FOUND.window, name="After", known=[there]).changes
    assert change.after == {"cluster": "db", "encrypted": True, "status": "available"}
    assert change.inverse().after["status"] is None
