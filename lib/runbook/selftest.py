"""`./runbook test`: style, types, then every test, the committed outputs of notebooks first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from runbook.settings import checkout

_NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with=tests/notebooks/sanitize.cfg"]


def run_all(arguments: Sequence[str]) -> int:
    """Run the tests from the checkout's root; returns the first exit code that is not 0.

    With `arguments`, pytest alone runs, with these.
    """
    python = [sys.executable, "-P", "-m"]
    if arguments:
        return _run([*python, "pytest", *_NBVAL, *arguments])
    for step in (
        [*python, "ruff", "check"],
        [*python, "ruff", "format", "--check"],
        [*python, "mypy"],
        [*python, "pytest", *_NBVAL, *_side_by_side(), "notebooks", "tests"],
    ):
        if code := _run(step):
            return code
    return 0


def _side_by_side() -> list[str]:
    """Files side by side in so many processes as RUNBOOK_TEST_PROCESSES says; 1: one by one.

    Two unless told otherwise, where there are two cores: much of the time is waiting.
    """
    cores = os.cpu_count() or 1
    processes = os.environ.get("RUNBOOK_TEST_PROCESSES") or str(min(2, cores))
    if processes == "1":
        return []
    return ["-n", processes, "--dist", "loadfile", "--no-loadscope-reorder"]


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, cwd=checkout(), check=False).returncode
