"""The sweep: every read-only section marked for it, side by side, one table, worst first.

A section is marked by `runbook.sweep: true` in its notebook's metadata. Each runs in a process of
its own (`runbook.run.warm`): a notebook's kernel wants its own working folder, and one that dies
takes nobody along.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from runbook.errors import BadInput
from runbook.run import warm
from runbook.run.sections import Section, sections
from runbook.run.verdict import exit_code_for

_WORST_FIRST = ("unknown", "failed", "refused", "critical", "warning", "ok")
_EXITS_WORST_FIRST = (3, 1, 2, 4, 0)
_MOST_JOBS = 4  # by default: each is a kernel with its own libraries
Watch = Callable[[Mapping[str, Any]], None]


def marked() -> list[Section]:
    """The sections that a sweep runs. Raises BadInput for one that may change something."""
    found = [
        section
        for section in sections()
        if section.content["metadata"].get("runbook", {}).get("sweep")
    ]
    for section in found:
        if section.risk != "read":
            raise BadInput(f"{section.slug} is marked for the sweep, and its risk is not read.")
    return found


def sweep(
    environment: str,
    *,
    jobs: int = 0,
    fail_on: str = "",
    watch: Watch = lambda row: None,
    chosen: Iterable[Section] | None = None,
) -> list[dict[str, Any]]:
    """Run them, at most `jobs` at a time (0: one for each core, four at most); worst first.

    Rows: section, status, says, verdict, exit_code, run_id, notebook, result, seconds. `watch`
    sees each as it ends.
    """
    to_run = list(marked() if chosen is None else chosen)
    rows = []
    with ThreadPoolExecutor(jobs or min(os.cpu_count() or 1, _MOST_JOBS)) as pool:
        begun = [
            pool.submit(run_section, section.slug, environment, fail_on=fail_on)
            for section in to_run
        ]
        for done in as_completed(begun):
            rows.append(done.result())
            watch(rows[-1])
    return sorted(rows, key=lambda row: (rank(row), row["section"]))


def rank(row: Mapping[str, Any]) -> int:
    """How bad a row is, 0 for the worst: what did not end well, then what was found. Pure."""
    ended = row["verdict"] if row["verdict"] in _WORST_FIRST else row["status"]
    return _WORST_FIRST.index(ended) if ended in _WORST_FIRST else len(_WORST_FIRST)


def exit_code(rows: Iterable[Mapping[str, Any]]) -> int:
    """The worst of their exit codes: cut off, failed, refused, findings, fine. Pure."""
    codes = {row["exit_code"] for row in rows}
    return next((code for code in _EXITS_WORST_FIRST if code in codes), 0)


def run_section(
    slug: str,
    environment: str,
    *,
    fail_on: str = "",
    parameters: Mapping[str, Any] | None = None,
    incident: str = "",
) -> dict[str, Any]:
    """Run a section headless in a process of its own; what came of it, as a row of `sweep`."""
    began = time.monotonic()
    typed = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (parameters or {}).items()
    }
    told = warm.section(slug, environment=environment, typed=typed, incident=incident)
    return _row(told, fail_on) | {"seconds": round(time.monotonic() - began, 1)}


def _row(ended: Mapping[str, Any], fail_on: str) -> dict[str, Any]:
    """What came of one."""
    result, error = ended["result"] or {}, ended["error"] or {}
    return {
        "section": ended["section"],
        "status": result.get("status"),
        "says": error.get("message") or result.get("says", ""),
        "verdict": ended["verdict"],
        "exit_code": exit_code_for(ended, fail_on),
        "run_id": ended["run_id"],
        "notebook": ended["notebook"],
        "result": result,
    }
