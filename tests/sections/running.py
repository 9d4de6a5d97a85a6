"""Sections as a shell runs them, against a Studio that moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Protocol

from tests.moving_studio import MovingStudio

from runbook.run import warm
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names
from studio_sandbox.process import power_cut


class Boxed(Protocol):
    """Whatever knows its sandbox: the Studio that moves, or a still one."""

    @property
    def box(self) -> Box: ...


def runbook(studio: Boxed, *arguments: str) -> Any:
    """What a command prints with `--json`, whatever its exit code."""
    done = _ran(studio, *arguments, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def cut_off(
    studio: MovingStudio, slug: str, *, apply: str, when: Callable[[], Any], what: str
) -> None:
    """Apply a plan, and kill whoever does as soon as something is so."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "runbook", "run", slug, "--apply", apply],
        env={**os.environ, "RUNBOOK_HOME": str(studio.box.folder.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        studio.until(when, what)
    finally:
        power_cut(process)


def intents(studio: Boxed, slug: str) -> int:
    """How many intents the runs of a section have on record."""
    journals = (studio.box.folder.parent / "record").glob(f"**/*-{slug}-*/journal.jsonl")
    lines = [line for one in journals for line in one.read_text().splitlines()]
    return sum('"entry":"intent"' in line.replace(": ", ":") for line in lines)


def resume(studio: MovingStudio, slug: str, digest: str, *, within_s: float = 240) -> Any:
    """Apply a plan that was cut off once more, as soon as it is known what became of it.

    What is still under way (a cluster that is being made) is not known yet, and refused.
    """

    def goes_on() -> Any:
        runbook(studio, "reconcile")
        told = run(studio, slug, apply=digest)
        return told if told["verdict"] != "refused" else None

    return studio.until(goes_on, f"{slug} can be taken up again", within_s=within_s)


def _ran(studio: Boxed, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.command(
        *arguments, within_s=600, variables={"RUNBOOK_HOME": str(studio.box.folder.parent)}
    )


def run(studio: Boxed, slug: str, *, apply: str = "", **parameters: Any) -> dict[str, Any]:
    """`./runbook run SLUG`, planning, or applying the plan of a digest."""
    given = [part for name, value in parameters.items() for part in ("-p", name, _typed(value))]
    done: dict[str, Any] = runbook(
        studio, "run", slug, *given, *(["--apply", apply] if apply else [])
    )
    return done


def approve(studio: Boxed, digest: str) -> None:
    """Approve a plan as the sandbox's second identity."""
    done = _ran(studio, "approve", digest, "--profile", "approver")
    assert done.returncode == 0, done.stderr


def undo(studio: Boxed, run_id: str) -> dict[str, Any]:
    """Plan the way back of a run, have it approved, and apply it."""
    digest = runbook(studio, "undo", run_id)["plan"]["digest"]
    approve(studio, digest)
    done: dict[str, Any] = runbook(studio, "undo", run_id, "--apply", digest)
    return done


def plan_and_apply(studio: MovingStudio, slug: str, **parameters: Any) -> dict[str, Any]:
    """Plan, have it approved, and apply exactly it."""
    planned = run(studio, slug, **parameters)
    assert planned["verdict"] == "planned", planned["error"]
    approve(studio, planned["plan"]["digest"])
    return run(studio, slug, apply=planned["plan"]["digest"])


def services(studio: MovingStudio) -> dict[str, dict[str, Any]]:
    """Every service by name, as another client reads it."""
    found = studio.client("ecs").describe_services(
        cluster=names.CLUSTER, services=list(names.SERVICES)
    )["services"]
    return {one["serviceName"]: one for one in found}


def _typed(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
