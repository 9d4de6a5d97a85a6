"""The record in S3, under one prefix of a bucket, by conditional writes.

    create    PutObject with If-None-Match: *      replace   PutObject with If-Match: the ETag
    append    create of KEY/000123.line: S3 has no append, and so each line of a journal is an
              object of its own, written before what it announces; read puts them together

A request that is sent again after its answer was lost finds its own work done: each write carries
a token in its metadata, so that what we wrote ourselves is not taken for somebody else's.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any

from runbook.clients import Clients
from runbook.errors import NotReachable, RecordUnavailable
from runbook.record.store import AlreadyThere, Digest, Moved, Stored, digest_of, side_by_side
from runbook.wait import SYSTEM_CLOCK, Clock

_LINE = re.compile(r"/\d{6,}\.line$")
_PIECE = 1 << 18
_ABSENT = {"NoSuchKey", "404"}
_LOST = {"PreconditionFailed", "412"}
_AGAIN = {"ConditionalRequestConflict", "409"}  # two writers at once: S3 wants to be asked again
_ATTEMPTS = 5


class S3Store:
    """A record in S3. Nothing connects before it is used.

    Raises RecordUnavailable when S3 does not answer or refuses, WrongAccount for credentials of
    another account.
    """

    def __init__(
        self,
        clients: Clients,
        location: str,
        *,
        retain_days: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._clients = clients
        self._retain = timedelta(days=retain_days)
        self._clock = clock
        self._next_line: dict[str, int] = {}

    def read(self, key: str) -> Stored | None:
        """The object, or its lines together; None when there is none."""
        found = self._get(key)
        if found:
            with self._asking():
                return Stored(found["Body"].read(), found["ETag"])
        lines = self._lines(key)
        if not lines:
            return None
        return Stored(b"".join(self._read_all(lines)), f"{len(lines)} lines")

    def digest(self, key: str, *, beginnings: Sequence[int] = ()) -> Digest | None:
        """Size and hash of the object, as it comes; None when there is none."""
        found = self._get(key)
        if found:
            with self._asking():
                return digest_of(found["Body"].iter_chunks(_PIECE), beginnings)
        lines = self._lines(key)
        return digest_of(self._read_all(lines), beginnings) if lines else None

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its version. Raises AlreadyThere."""
        try:
            return self._put(key, data, IfNoneMatch="*")
        except Moved:
            raise AlreadyThere(key) from None

    def replace(self, key: str, data: bytes, *, version: str) -> str:
        """Write over the version that was read, and return the new one. Raises Moved."""
        return self._put(key, data, IfMatch=version)

    def write(self, key: str, data: bytes) -> None:
        """Write the object whole, whatever was there."""
        self._put(key, data)

    def append(self, key: str, line: bytes) -> None:
        """Add one line; it is in S3 when this returns, after every line that was there before."""
        while True:
            if key not in self._next_line:
                lines = self._lines(key)
                self._next_line[key] = _number(lines[-1]) + 1 if lines else 1
            number = self._next_line.pop(key)
            try:
                self.create(f"{key}/{number:06d}.line", line + b"\n")
            except AlreadyThere:  # another writer had the number
                continue
            self._next_line[key] = number + 1
            return

    def keep(self, key: str) -> None:
        """Lock the object, or its lines, for `record.retain_days`, where the bucket has locks."""
        if not self._retain or not self._has_locks:
            return
        until = self._clock.now() + self._retain

        def lock(full: str) -> None:
            with self._asking():
                self._s3.put_object_retention(
                    Bucket=self._bucket,
                    Key=full,
                    Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
                )

        list(side_by_side(lock, self._objects(key)))

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects below a prefix, sorted; a journal is one, however many its lines."""
        last = ""
        for page in self._pages(Prefix=self._below(prefix)):
            for each in page.get("Contents", ()):
                key = _LINE.sub("", each["Key"]).removeprefix(self._prefix)
                if key != last:
                    yield key
                last = key

    def names(self, prefix: str) -> list[str]:
        """Names of all folders directly below a prefix, sorted."""
        below = self._below(prefix)
        return [
            each["Prefix"].removeprefix(below).rstrip("/")
            for page in self._pages(Prefix=below, Delimiter="/")
            for each in page.get("CommonPrefixes", ())
        ]

    def remove(self, key: str) -> None:
        """Remove the object, if it is there. A bucket that keeps versions keeps this one, too."""
        for full in self._objects(key):
            with self._asking():
                self._s3.delete_object(Bucket=self._bucket, Key=full)

    def where(self, key: str) -> str:
        """What a person opens to see the object."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @property
    def _s3(self) -> Any:
        return self._clients.aws("s3")

    @cached_property
    def _has_locks(self) -> bool:
        from botocore.exceptions import ClientError

        with self._asking():
            try:
                answer = self._s3.get_object_lock_configuration(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) == "ObjectLockConfigurationNotFoundError":
                    return False
                raise
        return bool(answer["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled")

    def _get(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        with self._asking():
            try:
                found: dict[str, Any] = self._s3.get_object(
                    Bucket=self._bucket, Key=self._prefix + key
                )
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
        return found

    def _put(self, key: str, data: bytes, **condition: str) -> str:
        """Raises Moved when the condition does not hold, unless it was we who moved it."""
        from botocore.exceptions import ClientError

        token, full = uuid.uuid4().hex, self._prefix + key
        with self._asking():
            for attempt in range(_ATTEMPTS):
                try:
                    answer = self._s3.put_object(
                        Bucket=self._bucket,
                        Key=full,
                        Body=data,
                        Metadata={"written-as": token},
                        **condition,
                    )
                    return str(answer["ETag"])
                except ClientError as error:
                    if _code(error) in _AGAIN and attempt + 1 < _ATTEMPTS:
                        continue
                    if _code(error) not in _LOST | _ABSENT or not condition:
                        raise
                    return self._ours(full, token)
        raise AssertionError("the last attempt returns or raises")

    def _ours(self, full: str, token: str) -> str:
        """The version of an object that our own lost request has written. Raises Moved."""
        from botocore.exceptions import ClientError

        try:
            found = self._s3.head_object(Bucket=self._bucket, Key=full)
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise Moved(full) from None
            raise
        if found["Metadata"].get("written-as") != token:
            raise Moved(full)
        return str(found["ETag"])

    def _objects(self, key: str) -> list[str]:
        """Names in the bucket of an object, and of its lines."""
        full = self._prefix + key
        found = [
            each["Key"] for page in self._pages(Prefix=full) for each in page.get("Contents", ())
        ]
        return [name for name in found if _LINE.sub("", name) == full]

    def _lines(self, key: str) -> list[str]:
        found = [name for name in self._objects(key) if _LINE.search(name)]
        return sorted(found, key=_number)

    def _read_all(self, names: Sequence[str]) -> Iterable[bytes]:
        def read(name: str) -> bytes:
            with self._asking():
                body = self._s3.get_object(Bucket=self._bucket, Key=name)["Body"]
                return bytes(body.read())

        return side_by_side(read, names)

    def _below(self, prefix: str) -> str:
        return f"{self._prefix}{prefix}/" if prefix else self._prefix

    def _pages(self, **wanted: str) -> Iterator[dict[str, Any]]:
        with self._asking():
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, **wanted
            )
            yield from pages

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate what S3 and the way to it may say."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, NotReachable) as error:
            raise RecordUnavailable(
                f"The record at {self.where('')} does not answer: {error}",
                next="See that the bucket is there and yours to write, then run it again.",
            ) from error


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].removesuffix(".line"))


def _code(error: Any) -> str:
    return str(error.response["Error"]["Code"])
