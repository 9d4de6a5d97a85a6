"""The launcher, from a checkout that has nothing to an environment that is used as it is.

The real `runbook` and bootstrap.py work on a small checkout of their own, in a folder with a space
and with a lock that names setuptools alone: what the project needs to be installed, and no more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL_PYTHON = os.path.realpath(sys.executable)
TAKEN_OVER = ["runbook", "pyproject.toml", "requirements-uv.lock", "lib/runbook/bootstrap.py"]
ECHO = "import sys; print('handed over to', sys.prefix, sys.argv[1:])\n"
CLOSED = "http://127.0.0.1:9/simple"  # the discard port: nothing listens there
NO_REGISTRY = {
    "PIP_INDEX_URL": CLOSED,
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "1",
    "RUNBOOK_NO_UV": "1",
}


def copy_checkout(folder: Path) -> Path:
    """A checkout with the real launcher, a command line that echoes, and the lock of setuptools."""
    for name in TAKEN_OVER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "README.md").touch()
    (folder / "lib/runbook/__init__.py").touch()
    (folder / "lib/runbook/__main__.py").write_text(ECHO)
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    small = [entry for entry in entries if entry.startswith("setuptools==")]
    (folder / "requirements.lock").write_text("\n".join(small) + "\n")
    return folder


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def start(checkout: Path, *arguments: str, path: Path, **more: str) -> subprocess.Popen[str]:
    """Start the launcher with nothing on PATH but `path`, from another folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNBOOK_", "UV_"))}
    return subprocess.Popen(
        [str(checkout / "runbook"), *arguments],
        env=kept | {"PATH": str(path)} | more,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(
    checkout: Path, *arguments: str, path: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    process = start(checkout, *arguments, path=path, **more)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def one_sentence(err: str) -> str:
    """The last line said, which has to be the only one after the progress."""
    lines = [line for line in err.splitlines() if "preparing" not in line]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


@pytest.fixture(scope="module")
def no_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with the tools that every POSIX system has, and no Python."""
    folder = tmp_path_factory.mktemp("tools")
    for tool in ("sh", "cmp", "readlink"):
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    return folder


@pytest.fixture(scope="module")
def one_python(no_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH where the first Python is a shim that fails, as pyenv's may, and the next works."""
    folder = tmp_path_factory.mktemp("python")
    for tool in no_python.iterdir():
        (folder / tool.name).symlink_to(tool.resolve())
    program(folder / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    program(folder / "python3", f'exec "{REAL_PYTHON}" "$@"')
    return folder


@pytest.fixture(scope="module")
def twins(
    one_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """A checkout where two launchers were started at once, and what each of them said."""
    checkout = copy_checkout(tmp_path_factory.mktemp("made") / "a check out")
    processes = [start(checkout, "list", "a b", path=one_python) for _ in range(2)]
    ended = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        ended.append(subprocess.CompletedProcess([], process.returncode, out, err))
    if any("no package registry answers" in twin.stderr for twin in ended):
        pytest.skip("not run: no package registry answers")
    return checkout, ended


@pytest.fixture
def made(twins: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> Path:
    return twins[0]


def test_without_a_python_it_says_which_to_install(tmp_path: Path, no_python: Path) -> None:
    ended = launch(copy_checkout(tmp_path / "x y"), "list", path=no_python)
    assert ended.returncode == 69
    assert "no Python 3.11 to 3.14 found" in one_sentence(ended.stderr)
    assert "apt-get install" in ended.stderr


def test_a_python_asked_for_by_name_is_never_replaced_by_another(
    tmp_path: Path, one_python: Path
) -> None:
    named = str(one_python / "python3.13")
    ended = launch(copy_checkout(tmp_path / "x y"), path=one_python, RUNBOOK_PYTHON=named)
    assert ended.returncode == 69
    assert f"RUNBOOK_PYTHON={named}" in one_sentence(ended.stderr)


def test_without_ensurepip_it_names_the_package_to_install(tmp_path: Path, no_python: Path) -> None:
    as_debian = (
        "import runpy, sys; sys.modules['ensurepip'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    program(
        tmp_path / "python3",
        f'[ "$1" = -I ] || exec "{REAL_PYTHON}" "$@"\n'
        f'shift; exec "{REAL_PYTHON}" -I -c "{as_debian}" "$@"',
    )
    ended = launch(
        copy_checkout(tmp_path / "x y"),
        path=no_python,
        RUNBOOK_PYTHON=str(tmp_path / "python3"),
    )
    assert ended.returncode == 69
    assert "apt-get install -y python3-venv" in one_sentence(ended.stderr)


def test_without_a_registry_it_says_so_and_leaves_only_the_log(
    tmp_path: Path, one_python: Path
) -> None:
    checkout = copy_checkout(tmp_path / "x y")
    ended = launch(checkout, "list", path=one_python, **NO_REGISTRY)
    assert ended.returncode == 69
    assert "no package registry answers" in one_sentence(ended.stderr)
    assert [file.name for file in (checkout / ".venv").iterdir()] == ["build.log"]


def test_a_file_that_does_not_match_its_hash_is_not_installed(
    tmp_path: Path, one_python: Path, made: Path
) -> None:
    checkout = copy_checkout(tmp_path / "x y")
    lock = checkout / "requirements.lock"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    ended = launch(checkout, "list", path=one_python, RUNBOOK_NO_UV="1")
    assert ended.returncode == 69
    assert "by its hash, so nothing was installed" in one_sentence(ended.stderr)


def test_of_two_at_once_one_builds_and_the_other_waits_and_says_so(
    twins: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    checkout, ended = twins
    assert [twin.returncode for twin in ended] == [0, 0], ended
    handed_over = f"handed over to {checkout / '.venv'} ['list', 'a b']\n"
    assert [twin.stdout for twin in ended] == [handed_over, handed_over]
    said = "".join(twin.stderr for twin in ended)
    assert said.count("preparing .venv (once per lock)") == 1
    assert said.count("another process is preparing .venv; waiting") == 1


def test_an_environment_that_is_current_is_used_without_another_python(
    made: Path, no_python: Path
) -> None:
    ended = launch(made, path=no_python)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_link_to_the_launcher_means_the_checkout_it_lies_in(
    made: Path, no_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "runbook").symlink_to(made / "runbook")
    assert launch(tmp_path, path=no_python).stdout.startswith(f"handed over to {made}")


def test_the_project_is_installed_editable_and_leaves_nothing_in_lib(made: Path) -> None:
    assert (made / ".venv/bin/runbook").exists()
    assert [path.name for path in (made / "lib").iterdir()] == ["runbook"]


def append_a_line(file: str) -> Callable[[Path], Path]:
    def change(checkout: Path) -> Path:
        with (checkout / file).open("a") as text:
            text.write("\n# changed\n")
        return checkout

    return change


def move_away(checkout: Path) -> Path:
    return checkout.rename(checkout.with_name("moved"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(append_a_line("requirements.lock"), id="the lock"),
        pytest.param(append_a_line("pyproject.toml"), id="the project file"),
        pytest.param(append_a_line("lib/runbook/bootstrap.py"), id="the way it is made"),
        pytest.param(move_away, id="the place of the checkout"),
    ],
)
def test_a_change_makes_the_environment_stale(
    change: Callable[[Path], Path], made: Path, no_python: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy, symlinks=True)
    (copy / ".venv/made-from/checkout").write_text(f"{copy}\n")
    assert launch(copy, path=no_python).returncode == 0
    ended = launch(change(copy), path=no_python)
    # it looks for a Python to make the environment anew, and finds none on this PATH
    assert (ended.returncode, "no Python" in ended.stderr) == (69, True)


def test_a_change_of_the_project_file_alone_needs_no_registry(made: Path, one_python: Path) -> None:
    witness = made / ".venv/witness"
    witness.touch()
    append_a_line("pyproject.toml")(made)
    ended = launch(made, path=one_python, **NO_REGISTRY)
    assert ended.returncode == 0, ended.stderr
    assert witness.exists()


def test_a_build_that_was_cut_off_is_made_anew(made: Path, one_python: Path) -> None:
    shutil.rmtree(made / ".venv/made-from")  # it is removed first and written last
    witness = made / ".venv/witness"
    witness.touch()
    ended = launch(made, path=one_python, RUNBOOK_NO_UV="1")
    assert ended.returncode == 0, ended.stderr
    assert not witness.exists()
