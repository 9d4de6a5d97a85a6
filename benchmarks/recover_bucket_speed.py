"""How the time of recover-bucket grows with the number of objects: hidden ones, and destroyed ones.

    .venv/bin/python benchmarks/recover_bucket_speed.py [COUNTS…]

Planning, and applying as the section does it, of so many objects of a kilobyte, in a sandbox of
its own, whose S3 answers one call at a time: the growth is the result, not the rate. In AWS each
copy takes some 50 ms and sixteen are under way.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook import settings
from runbook.change.kinds import Step, kind_of
from runbook.change.plan import Change, Json
from runbook.change.saved import RowFile
from runbook.clients import Clients
from runbook.procedure import recover_bucket
from runbook.record.journal import Intent
from studio_sandbox import box as sandbox

_COUNTS = (250, 500, 1000, 2000)
_BATCH = 500


class _NoJournal:
    """Steps that are not put on record: what is measured is S3."""

    @contextmanager
    def step(self, detail: Any) -> Iterator[Step]:
        yield Step(Intent("", 0, "", "", detail), {})

    def progress(self, done: int, total: int) -> None:
        pass


def main() -> None:
    """Measure, and print a table."""
    counts = [int(text) for text in sys.argv[1:]] or _COUNTS
    home = Path(tempfile.mkdtemp(prefix="runbook-speed-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    os.environ["RUNBOOK_HOME"] = str(home)
    print(f"{'objects':>8}{'lost by':>12}{'plan s':>9}{'apply s':>9}{'a second':>10}")
    try:
        sandbox.up(still=True, tied=True)
        for count in counts:
            for how in ("hidden", "destroyed"):
                plan_s, apply_s = _measure(count, how)
                rate = f"{count / apply_s:,.0f}"
                print(f"{count:>8,}{how:>12}{plan_s:>9.2f}{apply_s:>9.2f}{rate:>10}", flush=True)
            sandbox.reset()
    finally:
        sandbox.down()
        shutil.rmtree(home)


def _measure(count: int, how: str) -> tuple[float, float]:
    """Seconds to plan and to apply."""
    clients = Clients(settings.load("sandbox"))
    _lose(clients, count, how)
    started = time.monotonic()
    found = recover_bucket.read(clients, bucket="", since="", overwritten=False, unlisted=True)
    (change,) = found.plan().changes
    planned = time.monotonic()
    _apply(clients, change)
    return planned - started, time.monotonic() - planned


def _lose(clients: Clients, count: int, how: str) -> None:
    """Put objects into the bucket and its copy, and lose them in the bucket."""
    wanted, regions = clients.environment.promises, clients.environment.regions
    here = clients.aws("s3", region=regions.primary)
    there = clients.aws("s3", region=regions.backup)
    keys = [f"measured/{how}/{count}/{n}" for n in range(count)]

    def put(key: str) -> None:
        body = key.ljust(1024).encode()
        there.put_object(Bucket=wanted.files_copy, Key=key, Body=body)
        if how == "hidden":
            here.put_object(Bucket=wanted.files_bucket, Key=key, Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, keys))
    for first in range(0, count, _BATCH) if how == "hidden" else ():
        batch = [{"Key": key} for key in keys[first : first + _BATCH]]
        here.delete_objects(Bucket=wanted.files_bucket, Delete={"Objects": batch, "Quiet": True})


def _apply(clients: Clients, change: Change) -> Json:
    apply = kind_of(change).apply_pieces
    if apply is None or change.rows is None:
        raise TypeError("objects are changed in pieces")
    return apply(clients, change, RowFile(change.rows.data, swapped=False), _NoJournal())


if __name__ == "__main__":
    main()
