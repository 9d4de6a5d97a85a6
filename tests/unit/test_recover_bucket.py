"""What a bucket has lost, told from its versions, its copy and the list of files; nothing asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.procedure.recover_bucket import Recovery
from runbook.settings import Backups
from runbook.studio import s3, s3_bucket
from runbook.studio.s3 import Version
from runbook.studio.s3_bucket import Bucket
from runbook.studio.s3_objects import Place

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def version(name: str, hours: float, *, etag: str = "a", size: int = 1) -> Version:
    return Version(name, marker=False, modified_at=NOW - timedelta(hours=hours), etag=etag,
                   size=size)  # fmt: skip


def marker(name: str, hours: float) -> Version:
    return Version(name, marker=True, modified_at=NOW - timedelta(hours=hours))


def found(
    versions: Mapping[str, list[Version]] | None, copied: Mapping[str, Version] | None = None
) -> Recovery:
    there = versions is not None
    return Recovery(
        account="123456789012",
        settings=Backups(),
        place=Place("files", "eu-central-1"),
        copy=Place("copy", "eu-west-1"),
        bucket=Bucket("files", region="eu-central-1" if there else ""),
        twin=Bucket("copy", region="eu-west-1", encryption="aws:kms", tags={"project": "x"}),
        versions=versions,
        copied=copied or {},
        listed=None,
        younger=3,
        deletion=None,
    )


def test_what_is_shown_is_not_lost() -> None:
    assert found({"k": [version("v", 1)]}, {"k": version("", 2)}).lost == ()


def test_a_hidden_object_shows_again_once_all_markers_are_removed() -> None:
    (one,) = found({"k": [marker("m2", 1), marker("m1", 2), version("v", 3)]}).lost
    assert one.row() == {
        "key": "k",
        "before": {"markers": ["m2", "m1"]},
        "after": {"etag": "a", "size": 1, "version": "v"},
    }


def test_what_has_no_version_left_comes_from_the_copy() -> None:
    recovery = found({"k": [marker("m", 1)]}, {"k": version("", 5), "gone": version("", 6)})
    assert [(one.key, one.how) for one in recovery.lost] == [
        ("gone", "destroyed"),
        ("k", "destroyed"),
    ]
    assert recovery.lost[0].row()["after"] == {"etag": "a", "size": 1}


def test_what_no_user_sees_any_more_is_left_alone() -> None:
    versions = {key: [marker("m", 1), version("v", 3)] for key in ("seen", "unseen")}
    recovery = replace(found(versions), listed=frozenset({"seen"}))
    assert [one.key for one in recovery.lost] == ["seen"]
    assert recovery.left_alone == 1


def test_what_was_deleted_earlier_is_left_alone() -> None:
    versions = {"early": [marker("m", 5), version("v", 9)], "late": [marker("m", 1),
                version("v", 9)]}  # fmt: skip
    recovery = replace(found(versions), since=NOW - timedelta(hours=2))
    assert [one.key for one in recovery.lost] == ["late"]


@pytest.mark.parametrize("overwritten", [True, False])
def test_what_was_overwritten_comes_back_when_that_is_asked(overwritten: bool) -> None:
    versions = {"k": [version("v2", 1, etag="b"), version("v1", 3)], "same": [version("v", 9)]}
    recovery = replace(found(versions), since=NOW - timedelta(hours=2), overwritten=overwritten)
    assert [(one.key, one.content.id) for one in recovery.lost] == (
        [("k", "v1")] if overwritten else []
    )


def test_a_bucket_that_is_gone_is_created_like_its_copy_first_and_that_is_not_taken_back() -> None:
    plan = found(None, {"k": version("", 1)}).plan()
    bucket, objects = plan.changes
    assert (bucket.kind, objects.kind) == ("s3-bucket", "s3-objects")
    assert bucket.after["encryption"] == "aws:kms"
    assert bucket.after["tags"] == {"project": "x"}
    assert s3_bucket.DENY_DELETE in bucket.after["policy"]
    assert not plan.reversible
    assert "There is none" in plan.way_back
    assert found({"k": [marker("m", 1), version("v", 2)]}).plan().reversible


def test_the_support_case_says_what_they_ask_for_first() -> None:
    text = found(None, {"k": version("", 1, size=7)}).support_case()
    for told in ("123456789012", "eu-central-1", "does not exist", "1 objects, 7 bytes",
                 "3 are younger"):  # fmt: skip
        assert told in text


def test_a_checksum_differs_where_one_object_does() -> None:
    first = s3.inventory("b", {"k": version("v", 1), "l": version("v", 1)})
    other = s3.inventory("b", {"k": version("v", 1), "l": version("v", 1, etag="z")})
    assert first.sha256 != other.sha256
    assert first == s3.inventory("b", {"l": version("w", 2), "k": version("w", 2)})


def test_a_policy_that_denies_deletion_is_added_to_what_there_is() -> None:
    has = Bucket("b", region="r", policy={"TLS": {"Sid": "TLS", "Effect": "Deny",
                 "Principal": "*", "Action": ["s3:*"]}})  # fmt: skip
    wanted = s3_bucket.protected(has, keep_days=30)
    assert list(wanted["policy"]) == ["TLS", s3_bucket.DENY_DELETE]
    longer = replace(has, lifecycle={"x": s3_bucket.keep_versions(90)})
    assert s3_bucket.protected(longer, keep_days=30)["lifecycle"] == longer.lifecycle
