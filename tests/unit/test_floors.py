"""The house's rules: imports go down only, one factory of clients, no sandbox in the library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.settings import checkout

LIBRARY = checkout() / "lib" / "runbook"
FLOORS = {
    "errors": 1, "settings": 1, "wait": 1, "secret": 1, "clients": 1, "picture": 1, "bootstrap": 1,
    "headline": 1, "table": 1, "reach": 1,
    "record": 2,
    "change": 3,
    "studio": 4,
    "procedure": 5,
    "run": 6, "incident": 6, "lab": 6, "lab_server": 6, "selftest": 6,
    "notebook": 7, "cli": 7, "incident_commands": 7, "console": 7, "__main__": 7, "__init__": 7,
}  # fmt: skip
MODULES = sorted(LIBRARY.rglob("*.py"))
# Kinds register themselves when their modules are imported: the door asks for that, once, by name.
UPWARDS = {("change/kinds.py", "studio")}


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_go_down_and_never_into_the_sandbox(path: Path) -> None:
    mine = str(path.relative_to(LIBRARY))
    for name in imported(path):
        assert not name.startswith("studio_sandbox"), name
        parts = name.split(".")
        if parts[0] != "runbook" or len(parts) < 2 or parts[1] not in FLOORS:
            continue
        if (mine, parts[1]) not in UPWARDS and room(path) != "__init__":
            assert FLOORS[parts[1]] <= FLOORS[room(path)], f"{mine} imports {name}"


def test_only_the_factory_makes_clients() -> None:
    makers = {"boto3", "redis", "psycopg2"}
    for path in MODULES:
        found = {
            node.func.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in makers
            and node.func.attr in ("client", "resource", "Session", "Redis", "connect", "from_url")
        }
        assert not found or path.name == "clients.py", path


def test_no_product_name_is_written_in_the_library() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for name in ("ai-studio-", "AI_STUDIO_", "eu-central-1", "123456789012"):
            assert name not in text, f"{name} in {path}"
