"""JupyterLab in a real browser: the notebook's kernel is the sections' own, and nothing is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook import bootstrap, settings
from runbook.record.runs import runs, store_of
from studio_sandbox.box import Box
from studio_sandbox.drills import drill as drills

HERE = Path(__file__).parent
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@dataclass(frozen=True)
class Browser:
    chromium: str
    python: Path

    def run_all_cells(self, url: str, screenshot: Path, answer: str = "") -> dict[str, Any]:
        command = [str(self.python), str(HERE / "run_all_cells.py"), self.chromium, url]
        done = subprocess.run(
            [*command, str(screenshot), answer],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\nsee {screenshot}"
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen


@dataclass(frozen=True)
class Lab:
    process: subprocess.Popen[str]
    home: Path
    url: str

    def address(self, notebook: str) -> str:
        return self.url.replace("/lab?", f"/lab/tree/{notebook}?")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Browser:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("not run: no Chromium on PATH (Debian: apt-get install -y chromium)")
    try:
        python = bootstrap.ensure(bootstrap.BROWSER)
    except bootstrap.CannotPrepare as problem:
        pytest.skip(f"not run: {problem}")
    driver = [str(python), "-m", "playwright", "--version"]
    started = subprocess.run(driver, capture_output=True, text=True, check=False)
    if started.returncode != 0:
        pytest.skip(f"not run: Playwright's driver does not start: {started.stderr.strip()}")
    return Browser(chromium, python)


@pytest.fixture
def lab(browser: Browser, tmp_path: Path) -> Iterator[Lab]:
    """`runbook lab` in a home of its own."""
    with lab_in(tmp_path / "home") as one:
        yield one


@contextmanager
def lab_in(home: Path) -> Iterator[Lab]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "runbook", "lab"],
        env=os.environ | {"RUNBOOK_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # tests that run in the background are deaf to Ctrl-C, and their children would be, too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\S+", line):
                yield Lab(process, home, found[0])
                break
        else:
            pytest.fail("".join(said))
    finally:
        process.kill()
        process.wait()


def put_notebook(lab: Lab, name: str, *cells: str) -> None:
    notebook = new_notebook(
        cells=[new_code_cell(cell) for cell in cells], metadata={"kernelspec": KERNEL}
    )
    nbformat.write(notebook, lab.home / "lab" / "notebooks" / name)


def test_a_notebook_runs_on_the_sections_own_kernel_and_asks_no_other_host(
    lab: Lab, browser: Browser, tmp_path: Path
) -> None:
    put_notebook(
        lab,
        "where.ipynb",
        "import os, sys\nprint('prefix', sys.prefix)",
        "print('home', os.environ['RUNBOOK_HOME'])",
        "import runbook\nprint('library', runbook.__file__)",
    )
    seen = browser.run_all_cells(lab.address("where.ipynb"), tmp_path / "where.png")
    assert [text.split()[0] for text in seen["outputs"]] == ["prefix", "home", "library"]
    assert seen["outputs"][0].strip() == f"prefix {sys.prefix}"
    assert seen["outputs"][1].strip() == f"home {lab.home}"
    assert (seen["errors"], seen["elsewhere"]) == (0, [])


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("", "applied and verified", 0), ("nonsense", "Declined", None)],
)
def test_the_section_runs_cell_by_cell_and_applies_only_what_was_typed(
    fresh_box: Box, browser: Browser, tmp_path: Path, answer: str, status: str, left: int | None
) -> None:
    one = drills.start(fresh_box, "stuck-jobs", seed=2)
    stuck = len(one.details["victims"])
    with lab_in(settings.home()) as lab:
        address = lab.address("2-operations/clear-stuck-jobs.ipynb")
        seen = browser.run_all_cells(address, tmp_path / "section.png", answer)
        told = "\n".join(seen["outputs"])
        assert len(seen["asked"]) == 1
        assert f"Set {stuck} stuck jobs to pending" in told
        assert status in told
        assert seen["elsewhere"] == []
        assert lab.stop() == 0
    judged = drills.judge(fresh_box, one)
    assert judged.mended is (left == 0)
    about = next(runs(store_of(settings.load("sandbox"))))
    assert (about["mode"], about["section"]) == ("interactive", "clear-stuck-jobs")
    assert about["verdict"] == ("succeeded" if left == 0 else "planned")


def test_the_token_is_needed_and_in_no_list_of_processes(lab: Lab) -> None:
    page, _, token = lab.url.partition("/lab?token=")
    with pytest.raises(HTTPError, match="403"):
        urlopen(f"{page}/api/contents", timeout=10)  # noqa: S310
    family = [psutil.Process(lab.process.pid)]
    family += family[0].children(recursive=True)
    assert len(family) > 1
    assert not [one for one in family if token in " ".join(one.cmdline())]
    config = next((lab.home / "lab").glob("server-*/config.json"))
    assert oct(config.stat().st_mode & 0o777) == "0o600"


def test_ctrl_c_ends_the_server_and_its_kernels(lab: Lab, browser: Browser, tmp_path: Path) -> None:
    put_notebook(lab, "one.ipynb", "1 + 1")
    browser.run_all_cells(lab.address("one.ipynb"), tmp_path / "one.png")
    family = psutil.Process(lab.process.pid).children(recursive=True)
    assert any("ipykernel_launcher" in one.cmdline() for one in family)
    assert lab.stop() == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert not list((lab.home / "lab").glob("server-*"))


def test_killing_the_command_outright_leaves_no_server_behind(lab: Lab) -> None:
    family = psutil.Process(lab.process.pid).children(recursive=True)
    assert family
    lab.process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
