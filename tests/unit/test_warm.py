"""What is begun warm is a process of its own, in the place of whoever began it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from runbook.run import warm
from runbook.run.waiting import KernelInWaiting
from runbook.wait import Wait


def _look(into: str) -> None:
    loaded = sorted({"boto3", "papermill", "pandas"} & sys.modules.keys())
    seen = {"said": os.environ.get("SAID"), "folder": os.getcwd(), "loaded": loaded}
    Path(into).write_text(json.dumps({**seen, "pid": os.getpid()}))
    sys.exit(4)


def _sleep() -> None:
    time.sleep(60)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_has_our_variables_our_folder_and_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("first", "second"):
        monkeypatch.setenv("SAID", word)
        monkeypatch.chdir(tmp_path)
        process = warm.begin(_look, str(tmp_path / "seen"))
        assert warm.ended(process) == 4
        seen = json.loads((tmp_path / "seen").read_text())
        assert (seen["said"], seen["folder"]) == (word, str(tmp_path))
        assert seen["loaded"] == ["boto3", "pandas", "papermill"]
        assert seen["pid"] == process.pid != os.getpid()


def test_one_that_dies_takes_nobody_along() -> None:
    lives, dies = warm.begin(_sleep), warm.begin(_die)
    assert warm.ended(dies) == -signal.SIGKILL
    assert warm.ended(lives, within_s=0.1) is None
    lives.terminate()
    assert warm.ended(lives) == -signal.SIGTERM


def test_a_section_that_is_refused_is_told_as_run_does() -> None:
    told = warm.section("check-health", environment="sandbox", typed={"no_such": "1"})
    assert (told["verdict"], told["exit_code"], told["run_id"]) == ("refused", 2, None)
    assert "no_such" in told["error"]["message"]


def test_a_run_that_ends_without_a_word_is_unknown_with_its_last_complaint() -> None:
    told = warm._unknown("check-health", "starting\nKilled\n")
    assert (told["section"], told["verdict"], told["exit_code"]) == ("check-health", "unknown", 3)
    assert told["error"]["message"] == "Killed"


def _waits(into: str) -> None:
    waiting = KernelInWaiting.begin()
    Path(into).write_text("a kernel waits" if waiting else "it would be cold")
    if waiting:
        waiting.dismiss()


def test_what_is_begun_warm_has_one_thread_so_that_its_kernel_waits_already(tmp_path: Path) -> None:
    assert warm.ended(warm.begin(_waits, str(tmp_path / "said"))) == 0
    assert (tmp_path / "said").read_text() == "a kernel waits"


def test_no_kernel_is_forked_from_a_process_with_threads() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert KernelInWaiting.begin() is None
    finally:
        stop.set()
        thread.join()


def test_a_kernel_that_is_not_wanted_ends_and_so_does_one_whose_runner_is_gone(
    tmp_path: Path,
) -> None:
    process = warm.begin(_not_wanted, str(tmp_path / "codes"))
    assert warm.ended(process) == 0
    dismissed, left = json.loads((tmp_path / "codes").read_text())
    assert dismissed == -signal.SIGKILL
    Wait(timeout_s=30, interval_s=0.05).until(lambda: _is_gone(left), what="its end")


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # it waits to be counted
    except psutil.NoSuchProcess:
        return True


def _not_wanted(into: str) -> None:
    dismissed, left = KernelInWaiting(), KernelInWaiting()
    dismissed.dismiss()
    Path(into).write_text(json.dumps([dismissed.poll(), left.pid]))
    os._exit(0)  # as one that is killed: it takes leave of nobody
