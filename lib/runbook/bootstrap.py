"""Makes a virtual environment from its lock, once per lock, and hands over to the command line.

Standard library only: the launcher starts this file by its path, before anything is installed.
`lab.py` imports it for JupyterLab's own environment. docs/adr/0002 tells why there are several.

    ensure(SECTIONS)      .venv is there and current, or is made now, by one process at a time
    CannotPrepare         why it could not be made, and the remedy, in one sentence

An environment is current when `made-from/` in it holds exact copies of what it is made from. That
folder is written last and removed first, so a build that was killed at any moment is made anew.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: something that is needed is not there
ROOT = Path(__file__).resolve().parents[2]
UV_LOCK = ROOT / "requirements-uv.lock"

# Exactly what a lock names: every file by its hash, nothing resolved, nothing compiled.
EXACTLY = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r")

# pip's settings under uv's names: uv reads no pip.conf, and that is where a mirror is named.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
}


class CannotPrepare(Exception):
    """One sentence: what was needed, what was found, and the remedy."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of this checkout, and what it is made from."""

    name: str
    lock: str
    holds_project: bool = False

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def made_from(self) -> Path:
        return self.folder / "made-from"

    def inputs(self) -> dict[str, bytes]:
        """What the environment is made from; the launcher compares the same, but for `python`."""
        files = [ROOT / self.lock, Path(__file__).resolve()]
        if self.holds_project:
            files.append(ROOT / "pyproject.toml")
        facts = {
            "checkout": f"{ROOT}\n",
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}\n",
        }
        return {name: os.fsencode(fact) for name, fact in facts.items()} | {
            file.name: file.read_bytes() for file in files
        }

    def changed(self) -> set[str]:
        """The inputs that differ from those it was made from: all of them before it is made."""
        inputs = self.inputs()
        if not self.python.exists():
            return set(inputs)
        return {name for name, now in inputs.items() if _read(self.made_from / name) != now}

    def remember(self, inputs: dict[str, bytes]) -> None:
        """Written beside and renamed: `made-from` is there whole, or not at all."""
        draft = self.folder / "made-from.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for name, content in inputs.items():
            (draft / name).write_bytes(content)
        draft.rename(self.made_from)


SECTIONS = Environment(".venv", "requirements.lock", holds_project=True)
LAB = Environment(".venv-lab", "requirements-lab.lock")
BROWSER = Environment(".venv-browser", "requirements-browser.lock")


def ensure(environment: Environment) -> Path:
    """Make the environment if it is not current; returns its Python."""
    try:
        if environment.changed():
            with _alone(environment) as lock_fd:
                # whoever held the lock before us may have made it
                if changed := environment.changed():
                    _make(environment, changed, lock_fd)
    except OSError as problem:
        raise CannotPrepare(_about(problem, environment)) from problem
    return environment.python


def _make(environment: Environment, changed: set[str], lock_fd: int) -> None:
    inputs = environment.inputs()  # as they are now: a pull may change them while we install
    only_the_project = changed == {"pyproject.toml"}  # a new ruff rule needs no new packages
    build = _Build(environment, lock_fd)
    with _progress(environment):
        try:
            build.forget_inputs()
            if not only_the_project:
                build.install_lock()
            if environment.holds_project:
                build.install_project()
                build.name_kernel_python()
            build.drop_uv()
            environment.remember(inputs)
        except BaseException:
            build.clear_but_log()
            raise


class _Build:
    """One build of an environment. What its tools say is kept, and shown only when it fails."""

    def __init__(self, environment: Environment, lock_fd: int) -> None:
        self.environment = environment
        self.lock_fd = lock_fd
        self.log: list[str] = []
        self.uv = self._uv_on_path()

    def forget_inputs(self) -> None:
        if self.environment.made_from.exists():
            shutil.rmtree(self.environment.made_from)

    def install_lock(self) -> None:
        """An empty environment, and what the lock names in it: by uv if it can be had, else pip."""
        self._make_folder()
        self.uv = self.uv or self._fetch_uv()
        lock = str(ROOT / self.environment.lock)
        if self.uv and self._uv_install(*EXACTLY, lock):
            return
        if not self._pip_install(*EXACTLY, lock):
            raise CannotPrepare(_why(self.log, self.environment))

    def install_project(self) -> None:
        """lib/ itself, editable: built by the setuptools of the lock, so without a network."""
        here = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        if self.uv and self._uv_install("--offline", *here):
            return
        if not self._pip_install("--no-index", *here):
            raise CannotPrepare(_why(self.log, self.environment))

    def name_kernel_python(self) -> None:
        """Name this Python in full in the kernel's spec.

        It says `python` as installed, which JupyterLab in another environment takes for its own.
        """
        spec_file = self.environment.folder / "share/jupyter/kernels/python3/kernel.json"
        if not spec_file.exists():
            return
        spec = json.loads(spec_file.read_text())
        spec["argv"][0] = str(self.environment.python)
        draft = spec_file.with_suffix(".draft")
        draft.write_text(json.dumps(spec, indent=1) + "\n")
        draft.replace(spec_file)  # never in place: uv shares its files with its cache by hard links

    def drop_uv(self) -> None:
        shutil.rmtree(self._uv_folder, ignore_errors=True)

    def clear_but_log(self) -> None:
        """A failed build gives the disk back; only what the tools said is kept."""
        folder = self.environment.folder
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            (folder / "build.log").write_text("\n".join(self.log))

    @property
    def _uv_folder(self) -> Path:
        return self.environment.folder / "uv"

    def _make_folder(self) -> None:
        folder = self.environment.folder
        if folder.exists():
            shutil.rmtree(folder)
        # The real path: behind python3 there may be a newer Python some day, with other packages.
        base = os.path.realpath(sys.executable)
        if self.uv and self._run(self.uv, "venv", "--no-project", "--python", base, str(folder)):
            return
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise CannotPrepare(
                f"{base} has no venv module with pip in it, and uv is not on PATH; "
                "install it (Debian, Ubuntu: apt-get install -y python3-venv) and run this again."
            )
        if not self._run(base, "-I", "-m", "venv", str(folder)):
            raise CannotPrepare(_why(self.log, self.environment))

    def _uv_on_path(self) -> str | None:
        found = None if os.environ.get("RUNBOOK_NO_UV") else shutil.which("uv")
        return found if found and self._run(found, "--version") else None

    def _fetch_uv(self) -> str | None:
        """uv for this build alone: it installs in seconds what takes pip half a minute."""
        if os.environ.get("RUNBOOK_NO_UV"):
            return None
        target = ("--target", str(self._uv_folder))
        uv = str(self._uv_folder / "bin" / "uv")
        fetched = self._pip_install(*target, *EXACTLY, str(UV_LOCK)) and self._run(uv, "--version")
        return uv if fetched else None

    def _uv_install(self, *arguments: str) -> bool:
        assert self.uv is not None  # noqa: S101  (for mypy: the callers ask first)
        python = ("--python", str(self.environment.python))
        # pip looks at all indexes and so does the lock; a file from the wrong one fails its hash
        strategy = ("--index-strategy", "unsafe-best-match")
        command = (self.uv, "pip", "install", "--quiet", *python, *strategy, *arguments)
        return self._run(*command, settings=self._uv_settings())

    def _pip_install(self, *arguments: str) -> bool:
        python = str(self.environment.python)
        if not self._has_pip() and not self._run(python, "-I", "-m", "ensurepip"):
            return False
        pip_install = (python, "-I", "-m", "pip", "install", "--quiet", "--no-compile")
        return self._run(*pip_install, *arguments)

    def _has_pip(self) -> bool:
        return any(self.environment.folder.glob("lib/python*/site-packages/pip"))

    def _uv_settings(self) -> dict[str, str]:
        """pip's settings for uv; one that was made for uv itself is left as it is."""
        python = str(self.environment.python) if self._has_pip() else sys.executable
        command = (python, "-I", "-m", "pip", "config", "list")
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        settings = pip_settings_for_uv(listed.stdout)
        return {name: value for name, value in settings.items() if not os.environ.get(name)}

    def _run(self, *command: str, settings: dict[str, str] | None = None) -> bool:
        """Run a tool. It inherits the file lock, and so keeps it should we be killed."""
        self.log.append("$ " + " ".join(command))
        defaults = {"PIP_RETRIES": "2", "UV_HTTP_RETRIES": "2"}
        always = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        try:
            done = subprocess.run(
                command,
                env=defaults | dict(os.environ) | always | (settings or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(self.lock_fd,),
                check=False,
            )
        except OSError as problem:  # no such program, or a file system that lets none run
            self.log.append(str(problem))
            return False
        self.log.append(done.stdout)
        return done.returncode == 0


def pip_settings_for_uv(listed: str) -> dict[str, str]:
    """The output of `pip config list` as uv's variables; later sections win, as they do in pip."""
    found: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            uv_name = UV_NAMES.get(name.removeprefix(section)) if name.startswith(section) else None
            if uv_name:
                separator = "," if uv_name == "UV_FIND_LINKS" else " "
                found[uv_name] = separator.join(str(ast.literal_eval(value)).split())
    return found


def _why(log: list[str], environment: Environment) -> str:
    """The likeliest cause in what the tools said, with its remedy."""
    again = f"and run this again (details: {environment.name}/build.log)."
    said = "\n".join(part for part in log if not part.startswith("$ ")).lower()
    if "no space left" in said or "disk quota" in said:
        return _about(OSError(errno.ENOSPC, ""), environment)
    if "do not match the hashes" in said or "hash mismatch" in said:
        return (
            f"a file from the package registry is not the one that {environment.lock} names by its "
            f"hash, so nothing was installed; find out who changed it, {again}"
        )
    if "certificate" in said:
        return (
            "the package registry's certificate is not trusted here; name the file of the "
            f"authority that signed it in pip's cert setting, {again}"
        )
    if any(sign in said for sign in ("connect", "timed out", "dns error", "name resolution")):
        return (
            f"no package registry answers, and {environment.name} has to be filled from one; go "
            f"online, or name one that this machine reaches in pip's index-url, {again}"
        )
    if "no matching distribution" in said or "no wheels" in said:
        return (
            f"the package registry has no binary file of some package in {environment.lock} for "
            f"this machine and Python {sys.version_info[0]}.{sys.version_info[1]}; name another "
            f"Python in RUNBOOK_PYTHON, or use conda and environment.yml, {again}"
        )
    return f"{environment.name} could not be made from {environment.lock}; see why, {again}"


def _about(problem: OSError, environment: Environment) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {environment.name} needs about 1 GB; free it and run this again."
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"cannot write to {problem.filename or ROOT}: {environment.name} is made inside the "
            "checkout; make that writable for you, or clone the repository to a place of your own."
        )
    return f"cannot prepare {environment.name}: {problem}; mend that and run this again."


@contextlib.contextmanager
def _alone(environment: Environment) -> Iterator[int]:
    """Hold the environment's file lock, waiting for another process if there is one."""
    # read-only is enough to lock, and works where another user made the file
    lock_fd = os.open(ROOT / f"{environment.name}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another process is preparing {environment.name}; waiting for it …")
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield lock_fd
    finally:
        os.close(lock_fd)


@contextlib.contextmanager
def _progress(environment: Environment) -> Iterator[None]:
    """One line that counts the seconds on a terminal; a first and a last line in a log."""
    started = time.monotonic()
    title = f"preparing {environment.name} (once per lock) …"
    live = sys.stderr.isatty()
    finished = threading.Event()

    def count() -> None:
        while not finished.wait(1):
            _say(f"{title} {time.monotonic() - started:.0f} s", start="\r", end="")

    counter = threading.Thread(target=count, daemon=True)
    _say(title, end="" if live else "\n")
    if live:
        counter.start()
    try:
        yield
    finally:
        finished.set()
        if live:
            counter.join()
            print(file=sys.stderr)
    _say(f"{environment.name} is ready after {time.monotonic() - started:.0f} s")


def _say(text: str, *, start: str = "", end: str = "\n") -> None:
    print(f"{start}runbook: {text}", end=end, file=sys.stderr, flush=True)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def main(arguments: list[str]) -> int:
    """Make `.venv` if need be, then become the command line in it."""
    # as an exception, so that a build that is told to stop ends its tools and clears up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        python = str(ensure(SECTIONS))
    except CannotPrepare as problem:
        _say(str(problem))
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    # -P: a file in the current folder must never be imported in place of a library's module
    os.execv(python, [python, "-P", "-m", "runbook", *arguments])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
