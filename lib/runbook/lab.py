"""JupyterLab on copies of the notebooks, in an environment of its own, with the kernel of `.venv`.

    serve()               JupyterLab on loopback with a token, until Ctrl-C
    refresh_copies()      bring the engineer's copies up to date, keeping what was worked on

Engineers never work on tracked files. The rule for a copy, and there is no other: it is replaced
when its original has changed and the copy is byte for byte what was once written here. A copy that
was edited or run is never overwritten: when its original changes it is kept beside, under a name
with the time in it, and the new version takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from runbook import bootstrap
from runbook.errors import Failed
from runbook.settings import checkout, home
from runbook.wait import Wait

STARTS_WITHIN = Wait(timeout_s=60, interval_s=0.1)
STOPS_WITHIN_S = 10


def serve(*, port: int = 0, open_browser: bool = False) -> int:
    """Make the lab's environment on first use, refresh the copies, and serve until Ctrl-C.

    With `port` 0 any free one is taken. A browser is opened only where there is a display.
    """
    try:
        python = _python_with_jupyterlab()
    except bootstrap.CannotPrepare as problem:
        _say(str(problem))
        return bootstrap.EXIT_UNAVAILABLE
    folder = home() / "lab"
    for note in refresh_copies(checkout() / "notebooks", folder / "notebooks"):
        _say(note)
    try:
        with _server(python, folder, port=port, open_browser=open_browser and _has_display()) as (
            process,
            runtime,
        ):
            url = _url(process, runtime)
            _say(f"JupyterLab is on, with copies of the notebooks in {folder / 'notebooks'}")
            _say(url)
            _say("Ctrl-C stops it and its kernels.")
            return process.wait()
    except KeyboardInterrupt:
        _say("JupyterLab and its kernels are stopped.")
        return 0


def _python_with_jupyterlab() -> Path:
    """Ours, where JupyterLab is beside the sections as for conda users; else `.venv-lab`'s."""
    if importlib.util.find_spec("jupyterlab"):
        return Path(sys.executable)
    return bootstrap.ensure(bootstrap.LAB)


def refresh_copies(originals: Path, copies: Path) -> list[str]:
    """Copy every notebook, without its outputs, and every other file; see the rule above.

    Returns a sentence for each copy that was kept beside.
    """
    written_file = copies.parent / "written.json"  # the hash of each copy as it was written here
    written: dict[str, str] = _read_json(written_file)
    notes = []
    for original in sorted(path for path in originals.rglob("*") if path.is_file()):
        name = original.relative_to(originals).as_posix()
        if ".ipynb_checkpoints" in name:
            continue
        fresh = _fresh(original)
        copy = copies / name
        found = _hash(copy.read_bytes()) if copy.exists() else None
        if found == _hash(fresh) or (found and written.get(name) == _hash(fresh)):
            continue  # the original is the one it was copied from
        if found and found != written.get(name):
            notes.append(_keep_beside(copy))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(fresh)
        written[name] = _hash(fresh)
        _replace(written_file, json.dumps(written, indent=1))
    copies.mkdir(parents=True, exist_ok=True)
    return notes


def _fresh(original: Path) -> bytes:
    """An original as its copy begins: a notebook without outputs, anything else as it is."""
    content = original.read_bytes()
    if original.suffix != ".ipynb":
        return content
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _keep_beside(copy: Path) -> str:
    kept = copy.with_name(f"{copy.stem}.kept-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{copy.suffix}")
    copy.rename(kept)
    return f"{copy.name} has a new version; yours, with what you changed or ran, is now {kept.name}"


@contextlib.contextmanager
def _server(
    python: Path, folder: Path, *, port: int, open_browser: bool
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """JupyterLab as a child, with a private runtime folder; stopped at the end, come what may.

    Its standard input is a pipe that only we hold: lab_server.py stops when that closes, so not
    even a kill -9 of ours leaves a server behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="server-", dir=folder) as private, _told_to_stop():
        runtime = Path(private)
        config = runtime / "config.json"
        config.touch(mode=0o600)  # the token is in it, and nowhere in a list of processes
        config.write_text(json.dumps(_config(folder, port=port, open_browser=open_browser)))
        _leave_out_announcements(folder / "config")
        program = Path(__file__).with_name("lab_server.py")
        process = subprocess.Popen(
            [str(python), "-I", str(program), f"--config={config}"],
            env=_variables(folder, runtime),
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us alone: we stop it in good order
        )
        try:
            yield process, runtime
        finally:
            process.terminate()
            try:
                process.wait(STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config(folder: Path, *, port: int, open_browser: bool) -> dict[str, Any]:
    return {
        "Application": {"log_level": "ERROR"},
        "IdentityProvider": {"token": secrets.token_urlsafe(32)},
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "root_dir": str(folder / "notebooks"),
            "open_browser": open_browser,
            "allow_root": True,
        },
        # the one kernel is the sections', found through JUPYTER_PATH, not the lab's own Python
        "KernelSpecManager": {"ensure_native_kernel": False, "allowed_kernelspecs": ["python3"]},
        "KernelManager": {"transport_encryption": "auto"},
        # nothing is asked of any other host: no news, no updates, no extensions
        "LabApp": {
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
        },
    }


def _leave_out_announcements(config: Path) -> None:
    """Without this JupyterLab asks, in a pop-up, whether it may fetch news after all."""
    page = config / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    announcements = "@jupyterlab/apputils-extension:announcements"
    _replace(page, json.dumps({"disabledExtensions": {announcements: True}}))


def _variables(folder: Path, runtime: Path) -> dict[str, str]:
    """The environment of the server and its kernels: this Studio's home, and no one's habits."""
    sections = Path(sys.prefix)
    ours = {
        "RUNBOOK_HOME": str(home()),
        "PATH": os.pathsep.join([str(sections / "bin"), os.environ.get("PATH", os.defpath)]),
        "JUPYTER_PATH": str(sections / "share" / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    inherited = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"}
    return inherited | ours


def _url(process: subprocess.Popen[bytes], runtime: Path) -> str:
    """The address with its token, as soon as the server says that it listens."""
    said = runtime / f"jpserver-{process.pid}.json"

    def read() -> dict[str, Any]:
        if process.poll() is not None:
            raise Failed(
                f"JupyterLab should be running, but it ended with exit code {process.returncode}.",
                next="Its own words are above.",
            )
        return _read_json(said)

    server = STARTS_WITHIN.until(read, what="JupyterLab to listen")
    return f"{server['url']}lab?token={server['token']}"


@contextlib.contextmanager
def _told_to_stop() -> Iterator[None]:
    """A closed terminal or a plain kill end the lab as Ctrl-C does."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_display() -> bool:
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    """Empty when there is none, or when it is being written just now."""
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _replace(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def _say(text: str) -> None:
    print(f"runbook: {text}", file=sys.stderr, flush=True)
