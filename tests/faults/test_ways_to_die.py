"""However a run ends, its folder tells what happened; `prove ways-to-die` tries all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio_sandbox.proofs.ways_to_die import WAYS, die

IN_SHORT = (
    "a cell raises",
    "sys.exit(0)",
    "the kernel is killed between an intent and its result",
    "a cell takes too long",
    "SIGTERM",
    "SIGKILL of the runner",
)


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk is made by root")
def test_a_full_disk_leaves_a_verdict_and_a_notebook_that_can_be_read(tmp_path: Path) -> None:
    full = tuple(way for way in WAYS if way.full)
    assert [death.wrong for death in die(tmp_path, full, ("runbook run",))] == [""]


def test_however_a_run_ends_its_folder_tells_what_happened(tmp_path: Path) -> None:
    ways = tuple(way for way in WAYS if way.name in IN_SHORT)
    wrong = {death.way.name: death.wrong for death in die(tmp_path, ways, ("runbook run",))}
    assert wrong == dict.fromkeys(IN_SHORT, "")


def test_papermills_own_command_comes_to_the_same(tmp_path: Path) -> None:
    ways = tuple(way for way in WAYS if way.name in ("reaches its end", "a cell refuses"))
    deaths = die(tmp_path, ways, ("papermill",))
    assert [death.wrong for death in deaths] == ["", ""]
