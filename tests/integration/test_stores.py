"""What the record asks of a place, of a folder and of S3 alike; and what S3 alone can do."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from tests.support import bucket_with_locks, environment_on_s3

from runbook.errors import RecordUnavailable
from runbook.record.journal import Journal
from runbook.record.runs import store_of
from runbook.record.s3 import S3Store
from runbook.record.store import AlreadyThere, Digest, FolderStore, Moved, Store
from studio_sandbox.box import Box

BUCKET = "ai-studio-test-record"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with bucket_with_locks(BUCKET) as client:
        yield client


@pytest.fixture(params=["folder", "s3"])
def another(request: pytest.FixtureRequest, tmp_path: Path, box: Box) -> Callable[[], Store]:
    """Makes stores of one place, as two processes would have them."""
    if request.param == "folder":
        return lambda: FolderStore(tmp_path / "record")
    request.getfixturevalue("s3")
    environment = environment_on_s3(BUCKET, f"test/{secrets.token_hex(4)}")
    return lambda: store_of(environment)


@pytest.fixture
def store(another: Callable[[], Store]) -> Store:
    return another()


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.read("a/key") is None
    assert store.digest("a/key") is None
    assert list(store.keys("a")) == []
    assert store.names("a") == []
    store.remove("a/key")


def test_create_gives_a_key_away_once_even_to_the_same_bytes(store: Store) -> None:
    store.create("a/key", b"1")

    for data in (b"1", b"2"):
        with pytest.raises(AlreadyThere):
            store.create("a/key", data)
    assert (found := store.read("a/key"))
    assert found.data == b"1"


def test_a_key_that_was_removed_can_be_created_again(store: Store) -> None:
    store.create("a/key", b"1")
    store.remove("a/key")
    assert store.read("a/key") is None

    store.create("a/key", b"2")
    assert (found := store.read("a/key"))
    assert found.data == b"2"


def test_replace_wants_the_version_that_is_there(store: Store) -> None:
    first = store.create("a/key", b"1")
    second = store.replace("a/key", b"2", version=first)
    with pytest.raises(Moved):
        store.replace("a/key", b"3", version=first)
    with pytest.raises(Moved):
        store.replace("a/nothing", b"3", version=first)

    assert (found := store.read("a/key"))
    assert (found.data, found.version) == (b"2", second)
    store.write("a/key", b"4")
    with pytest.raises(Moved):
        store.replace("a/key", b"5", version=second)


def test_of_many_who_create_or_replace_one_succeeds(another: Callable[[], Store]) -> None:
    stores = [another(), another()]
    version = stores[0].create("an/old", b"first")

    def create(number: int) -> bool:
        try:
            stores[number % 2].create("a/key", str(number).encode())
        except AlreadyThere:
            return False
        return True

    def replace(number: int) -> bool:
        try:
            stores[number % 2].replace("an/old", str(number).encode(), version=version)
        except Moved:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(create, range(6))) == 1
        assert sum(pool.map(replace, range(6))) == 1


def test_lines_are_read_in_the_order_in_which_they_were_appended(
    store: Store, another: Callable[[], Store]
) -> None:
    other = another()
    for number in range(12):
        (store if number % 3 else other).append("a/lines.jsonl", str(number).encode())

    expected = b"".join(b"%d\n" % number for number in range(12))
    assert (found := store.read("a/lines.jsonl"))
    assert found.data == expected
    assert list(store.keys("a")) == ["a/lines.jsonl"]
    assert list(store.keys("")) == ["a/lines.jsonl"]
    store.remove("a/lines.jsonl")
    assert other.read("a/lines.jsonl") is None


def test_no_line_is_lost_when_many_append_at_once(another: Callable[[], Store]) -> None:
    def append(store: Store) -> None:
        for _ in range(4):
            store.append("a/lines.jsonl", secrets.token_hex(4).encode())

    stores = [another() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(append, stores))
    assert (found := stores[0].read("a/lines.jsonl"))
    assert len(set(found.data.splitlines())) == 12


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_a_digest_is_of_the_whole_and_of_its_beginnings(store: Store, size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    store.write("a/key", data)

    def sha256(length: int) -> str:
        return hashlib.sha256(data[:length]).hexdigest()

    cuts = [0, size // 2, size]
    found = store.digest("a/key", beginnings=[*cuts, size + 1])
    assert found == Digest(size, sha256(size), tuple(sha256(cut) for cut in cuts))


def test_a_digest_of_lines_is_that_of_the_journal(store: Store) -> None:
    for line in (b"one", b"two"):
        store.append("a/lines.jsonl", line)

    found = store.digest("a/lines.jsonl", beginnings=[4])
    assert found
    assert found.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert found.beginnings == (hashlib.sha256(b"one\n").hexdigest(),)


def test_keys_and_names_are_those_below_a_prefix_and_no_others(store: Store) -> None:
    for key in ("runs/b/run.json", "runs/a/run.json", "runs/a/deep/x", "runsmore/c/x", "runs/top"):
        store.write(key, b"")

    assert set(store.keys("runs")) == {
        "runs/a/deep/x", "runs/a/run.json", "runs/b/run.json", "runs/top",
    }  # fmt: skip
    assert store.names("runs") == ["a", "b"]
    assert store.names("") == ["runs", "runsmore"]


def test_the_journal_works_on_it_unchanged(store: Store) -> None:
    journal = Journal(store, "a-run")
    one = journal.intent(0, "k", "t", {"xid": "7"})
    two = journal.intent(1, "k", "ü")
    journal.result(one, "done", {"found": 1})

    assert journal.unresolved() == [two]
    assert journal.done() == [(one, {"found": 1})]
    assert [entry["entry"] for entry in journal.entries()] == ["intent", "intent", "result"]


# S3 alone.


def on_s3(prefix: str = "", **record: Any) -> S3Store:
    environment = environment_on_s3(BUCKET, prefix or f"test/{secrets.token_hex(4)}", **record)
    store = store_of(environment)
    assert isinstance(store, S3Store)
    return store


def test_the_store_is_in_the_backup_region_unless_another_is_named(box: Box, s3: Any) -> None:
    regions = [
        on_s3(**record)._clients.aws("s3").meta.region_name
        for record in ({}, {"region": "eu-central-1"})
    ]
    assert regions == ["eu-west-1", "eu-central-1"]


def test_a_write_whose_answer_was_lost_is_known_as_our_own(box: Box, s3: Any) -> None:
    store = on_s3()
    store.append("a/lines.jsonl", b"one")
    client = store._clients.aws("s3")

    def send_twice(request: Any, **_: Any) -> None:
        """As when the first answer is lost on its way and botocore sends the request again."""
        if not sent:
            sent.append(request)
            URLLib3Session().send(request)
            request.reset_stream()

    for write in (
        lambda: store.create("a/key", b"1"),
        lambda: store.replace("a/key", b"2", version=store.read("a/key").version),  # type: ignore[union-attr]
        lambda: store.append("a/lines.jsonl", b"two"),
    ):
        sent: list[Any] = []
        client.meta.events.register("before-send.s3.PutObject", send_twice)
        write()
        client.meta.events.unregister("before-send.s3.PutObject", send_twice)
        assert sent

    assert (found := store.read("a/key"))
    assert found.data == b"2"
    assert (lines := store.read("a/lines.jsonl"))
    assert lines.data == b"one\ntwo\n"


def test_more_keys_than_a_page_has_are_all_listed(box: Box, s3: Any) -> None:
    store = on_s3()
    pages: list[int] = []

    def small_pages(params: dict[str, Any], **_: Any) -> None:
        pages.append(1)
        params["MaxKeys"] = 3

    store._clients.aws("s3").meta.events.register(
        "provide-client-params.s3.ListObjectsV2", small_pages
    )
    for number in range(8):
        store.write(f"many/{number}/x", b"")
        store.append("many/0/lines.jsonl", b"")

    assert len(list(store.keys("many"))) == 9
    assert len(pages) > 5
    assert len(store.names("many")) == 8
    assert (found := store.read("many/0/lines.jsonl"))
    assert len(found.data) == 8


def test_what_is_kept_cannot_be_removed_for_good_before_its_time(box: Box, s3: Any) -> None:
    store = on_s3(retain_days=3)
    store.write("a/key", b"1")
    store.append("a/lines.jsonl", b"one")
    for key in ("a/key", "a/lines.jsonl"):
        store.keep(key)

    for full in (name for key in ("a/key", "a/lines.jsonl") for name in store._objects(key)):
        about = s3.head_object(Bucket=BUCKET, Key=full)
        assert about["ObjectLockMode"] == "GOVERNANCE"
        left = about["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=2, hours=23) < left <= timedelta(days=3)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=BUCKET, Key=full, VersionId=about["VersionId"])


def test_a_retention_is_shortened_only_by_who_may_bypass_it(box: Box, s3: Any) -> None:
    store = on_s3(retain_days=3)
    store.write("a/key", b"1")
    store.keep("a/key")
    (full,) = store._objects("a/key")

    def retain(until: datetime, **more: Any) -> None:
        wanted = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
        s3.put_object_retention(Bucket=BUCKET, Key=full, Retention=wanted, **more)

    now = datetime.now(UTC)
    with pytest.raises(ClientError, match="AccessDenied"):
        retain(now + timedelta(days=1))
    retain(now + timedelta(days=5))
    retain(now + timedelta(days=1), BypassGovernanceRetention=True)


def test_without_days_or_without_locks_nothing_is_kept(box: Box, s3: Any) -> None:
    store = on_s3()
    store.write("a/key", b"1")
    store.keep("a/key")
    assert "ObjectLockMode" not in s3.head_object(Bucket=BUCKET, Key=store._objects("a/key")[0])

    plain = store_of(environment_on_s3("ai-studio-quarantine", "test", retain_days=3))
    plain.write("a/key", b"1")
    plain.keep("a/key")
    plain.remove("a/key")


def test_a_bucket_that_is_not_there_is_a_record_that_is_not(box: Box) -> None:
    store = store_of(environment_on_s3("ai-studio-no-such-bucket"))
    attempts: list[Callable[[], Any]] = [
        lambda: store.read("a/key"),
        lambda: store.create("a/key", b""),
        lambda: store.append("a/key", b""),
        lambda: list(store.keys("a")),
    ]
    for attempt in attempts:
        with pytest.raises(RecordUnavailable, match="NoSuchBucket"):
            attempt()
