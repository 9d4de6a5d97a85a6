"""One still sandbox for the whole session, in a state folder of the session's own.

It is started before anything is collected: the cells of notebooks see no fixtures. Only paths
that need none (below), `--no-sandbox` or `RUNBOOK_TEST_NO_SANDBOX` do without. It is tied to this
process: even a pytest that is killed leaves no server behind.

With `-n 2 --dist loadfile` files are tested side by side, each process with a sandbox of its own,
and with one more that moves.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from runbook.errors import RunbookError
from studio_sandbox import box as sandbox
from studio_sandbox import shown
from studio_sandbox.box import Box

TESTS = Path(__file__).resolve().parent / "tests"
MOVING = "tests.moving_studio"  # what a file imports whose tests want one that is not still
NEED_NO_SANDBOX = (TESTS / "unit", TESTS / "integration" / "test_launcher.py")
_HOME = pytest.StashKey[Path]()
_SHOWN = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-sandbox", action="store_true", help="start no sandbox; what needs one fails"
    )
    parser.addoption("--long", action="store_true", help="also what takes very long (marked long)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked long, and say how many that were, unless it is asked for.

    Side by side, what moves comes first, since it takes longest.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not _moves(item.path))
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Set RUNBOOK_HOME for us and for all that we start, and start the sandbox there."""
    config = session.config
    if config.getoption("numprocesses") and not hasattr(config, "workerinput"):
        return  # it tests nothing itself
    home = config.stash[_HOME] = Path(tempfile.mkdtemp(prefix="runbook-tests-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    os.environ["RUNBOOK_HOME"] = str(home)
    if _wants_sandbox(config):
        try:
            sandbox.up(still=True, tied=True)
        except RunbookError as error:
            pytest.exit(f"the sandbox did not start: {error}", returncode=1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the sandbox and remove the state folder."""
    home = session.config.stash.get(_HOME, None)
    if home is not None:
        sandbox.down(home / "sandbox")
        shutil.rmtree(home, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the first cell of a notebook: the Studio as its committed outputs show it."""
    if item.path.suffix == ".ipynb" and item.config.stash.get(_SHOWN, None) != item.path:
        item.config.stash[_SHOWN] = item.path
        shown.prepare(json.loads(item.path.read_text(encoding="utf-8"))["metadata"])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last notebook: nothing of what it was shown with is left for others.

    One that another follows leaves it to that one's preparation, which begins with a reset.
    """
    if item.path.suffix == ".ipynb" and (nextitem is None or nextitem.path.suffix != ".ipynb"):
        sandbox.reset()


@cache
def _moves(file: Path) -> bool:
    """Whether a file's tests want the sandbox that is not still."""
    return file.suffix == ".py" and MOVING in file.read_text(encoding="utf-8")


def _wants_sandbox(config: pytest.Config) -> bool:
    options = config.option
    unwanted = options.no_sandbox or options.collectonly
    if unwanted or os.environ.get("RUNBOOK_TEST_NO_SANDBOX"):
        return False
    paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    return not all(any(path.is_relative_to(one) for one in NEED_NO_SANDBOX) for path in paths)


@pytest.fixture
def box() -> Box:
    """The session's sandbox, as other tests may have left it."""
    found = sandbox.status()
    if found is None:
        pytest.fail("this needs the sandbox; run it without --no-sandbox")
    return found


@pytest.fixture
def fresh_box(box: Box) -> Iterator[Box]:
    """The session's sandbox for a test that changes it: put back afterwards."""
    yield box
    sandbox.reset()
