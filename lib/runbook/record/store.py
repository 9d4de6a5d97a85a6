"""Where the record is kept: small objects under keys, written whole or appended, never half.

Order and races are settled here, by `create` (only if absent) and `replace` (only if unmoved),
so that plans, approvals, locks and runs need no other arbiter.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

from runbook.errors import RecordUnavailable

_PIECE = 1 << 18  # bytes that are hashed at once
_THREADS = 16  # one waits for the network or the disk while another hashes
_BATCH = 64

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class AlreadyThere(Exception):
    """`create` found the key taken."""


class Moved(Exception):
    """`replace` found another version than the caller had read."""


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the version that `replace` wants to hear again."""

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Digest:
    """An object's size and hash, and the hashes of its beginnings that were asked for."""

    size: int
    sha256: str
    beginnings: tuple[str, ...] = ()


class Store(Protocol):
    """What the record asks of a place. Keys are relative paths with `/`."""

    def read(self, key: str) -> Stored | None: ...
    def digest(self, key: str, *, beginnings: Sequence[int] = ()) -> Digest | None: ...
    def create(self, key: str, data: bytes) -> str: ...
    def replace(self, key: str, data: bytes, *, version: str) -> str: ...
    def write(self, key: str, data: bytes) -> None: ...
    def append(self, key: str, line: bytes) -> None: ...
    def keep(self, key: str) -> None: ...
    def keys(self, prefix: str) -> Iterator[str]: ...
    def names(self, prefix: str) -> list[str]: ...
    def remove(self, key: str) -> None: ...
    def where(self, key: str) -> str: ...


class FolderStore:
    """A record in a folder of this machine. Every write is on the disk before it returns.

    Raises RecordUnavailable from every write that the disk refuses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Stored | None:
        """The object, or None when there is none."""
        try:
            data = (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(data, _version(data))

    def digest(self, key: str, *, beginnings: Sequence[int] = ()) -> Digest | None:
        """Size and hash of the object, read piece by piece; None when there is none."""
        try:
            descriptor = os.open(f"{self.root}/{key}", os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return digest_of(iter(lambda: os.read(descriptor, _PIECE), b""), beginnings)
        finally:
            os.close(descriptor)

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its version. Raises AlreadyThere."""
        with self._writing(key) as path, _temporary(path, data) as temporary:
            try:
                os.link(temporary, path)  # atomic, and fails when the name is taken
            except FileExistsError:
                raise AlreadyThere(key) from None
            _sync_folder(path.parent)
            return _version(data)

    def replace(self, key: str, data: bytes, *, version: str) -> str:
        """Write over the version that was read, and return the new one. Raises Moved."""
        with self._writing(key) as path, exclusive(self.root):
            current = self.read(key)
            if current is None or current.version != version:
                raise Moved(key)
            self._put(path, data)
            return _version(data)

    def write(self, key: str, data: bytes) -> None:
        """Write the object whole, whatever was there."""
        with self._writing(key) as path:
            self._put(path, data)

    def append(self, key: str, line: bytes) -> None:
        """Add one line; it is on the disk, with its folder, when this returns.

        A line that an earlier writer left torn is closed first: it stays unreadable by itself
        and takes nothing with it.
        """
        with self._writing(key) as path:
            new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                _write_all(descriptor, (b"\n" if torn else b"") + line + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                _sync_folder(path.parent)

    def keep(self, key: str) -> None:
        """Nothing: a folder cannot hold on to what its owner removes."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects below a folder, sorted."""
        for name, is_folder in self._entries(prefix):
            below = f"{prefix}/{name}" if prefix else name
            if is_folder:
                yield from self.keys(below)
            else:
                yield below

    def names(self, prefix: str) -> list[str]:
        """Names of all folders directly below one, sorted."""
        return [name for name, is_folder in self._entries(prefix) if is_folder]

    def remove(self, key: str) -> None:
        """Remove the object, if it is there."""
        with self._writing(key) as path:
            path.unlink(missing_ok=True)

    def where(self, key: str) -> str:
        """What a person opens to see the object."""
        return str(self.root / key)

    def _entries(self, prefix: str) -> list[tuple[str, bool]]:
        """What a folder holds, sorted. A name with a leading dot is a write that is under way."""
        try:
            with os.scandir(f"{self.root}/{prefix}") as found:
                return sorted(
                    (each.name, each.is_dir()) for each in found if not each.name.startswith(".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _put(self, path: Path, data: bytes) -> None:
        with _temporary(path, data) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        path = self.root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        except OSError as error:
            raise RecordUnavailable(
                f"The record cannot be written: {error.strerror} ({path.parent}).",
                next="Make room or permission there, then run the same command again.",
            ) from error


def digest_of(pieces: Iterable[bytes], beginnings: Sequence[int] = ()) -> Digest:
    """Size and hash of all pieces together, and of those beginnings (bytes) that they reach."""
    whole, size = hashlib.sha256(), 0
    if not beginnings:
        for piece in pieces:
            whole.update(piece)
            size += len(piece)
        return Digest(size, whole.hexdigest())
    found = []
    wanted = sorted(beginnings)
    for piece in chain((b"",), pieces):  # what begins with nothing is there before all pieces
        while wanted and wanted[0] <= size + len(piece):
            beginning = whole.copy()
            beginning.update(piece[: wanted.pop(0) - size])
            found.append(beginning.hexdigest())
        whole.update(piece)
        size += len(piece)
    return Digest(size, whole.hexdigest(), tuple(found))


def batches(items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items in pieces for `side_by_side`: small work is not worth a thread's waking each."""
    size = max(1, min(_BATCH, len(items) // (4 * _THREADS)))
    return [items[start : start + size] for start in range(0, len(items), size)]


def side_by_side(work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """What `work` makes of each item, in their order; many at a time, and never far ahead."""
    if len(items) < 2:
        yield from map(work, items)
        return
    ahead = 4 * _THREADS
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(items), ahead):
            yield from pool.map(work, items[start : start + ahead])


@contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[str]:
    """The data in a file beside `path`, on the disk; it is gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        try:
            os.fchmod(descriptor, 0o644)
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the lock of a record in a folder: of all processes of this machine one does."""
    with open(root / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
