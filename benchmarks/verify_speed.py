"""How fast `verify` is beside `sha256sum` over the same files.

    .venv/bin/python benchmarks/verify_speed.py

Makes a record of runs such as a section leaves (an executed notebook of some 40 KB and three small
files each), seals them, and times both several times in turn; the page cache is warm for both.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rfc8785

from runbook.record.ledger import GENESIS
from runbook.record.store import FolderStore, digest_of
from runbook.record.verify import verify

_SIZES = {"journal.jsonl": 1800, "notebook.ipynb": 40_000, "plan.json": 2500, "run.json": 1400}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--times", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="runbook-benchmark-") as folder:
        store = FolderStore(Path(folder))
        make(store, asked.runs)
        ours, theirs = [], []
        for _ in range(asked.times):
            theirs.append(seconds(lambda: sha256sum(folder)))
            ours.append(seconds(lambda: must_hold(store)))
    slow, fast = statistics.median(theirs), statistics.median(ours)
    print(f"{asked.runs:,} runs, {asked.runs * len(_SIZES):,} files, {os.cpu_count()} processors")
    print(f"sha256sum   {slow:.2f} s   ({', '.join(f'{each:.2f}' for each in theirs)})")
    print(f"verify      {fast:.2f} s   ({', '.join(f'{each:.2f}' for each in ours)})")
    print(f"verify is {slow / fast:.2f} times as fast as sha256sum")


def make(store: FolderStore, runs: int) -> None:
    """Write the record straight to the disk: sealing each run would sync it 10,000 times."""
    draw, previous = random.Random(7), GENESIS  # noqa: S311
    (store.root / "ledger").mkdir(parents=True)
    for number in range(1, runs + 1):
        run = f"20261124T084512Z-a-section-{number:06x}"
        folder = store.root / "runs" / run
        folder.mkdir(parents=True)
        files = {}
        for name, size in _SIZES.items():
            data = draw.randbytes(int(size * draw.uniform(0.5, 1.5)))
            (folder / name).write_bytes(data)
            digest = digest_of([data])
            files[name] = {"bytes": digest.size, "sha256": digest.sha256}
        entry = rfc8785.dumps(
            {
                "at": "2026-11-24T08:45:12+00:00",
                "files": files,
                "previous": previous,
                "run": run,
                "sequence": number,
            }
        )
        (store.root / f"ledger/{number:08d}.json").write_bytes(entry)
        previous = digest_of([entry]).sha256


def sha256sum(folder: str) -> None:
    """All files of all runs, by as few processes as xargs makes of them."""
    find = subprocess.Popen(
        ["find", f"{folder}/runs", "-type", "f", "-print0"], stdout=subprocess.PIPE
    )
    subprocess.run(
        ["xargs", "-0", "sha256sum"], stdin=find.stdout, stdout=subprocess.DEVNULL, check=True
    )
    find.wait()


def must_hold(store: FolderStore) -> None:
    found = verify(store)
    if not found.holds:
        raise SystemExit(f"the record does not hold: {found.findings[:3]}")


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
