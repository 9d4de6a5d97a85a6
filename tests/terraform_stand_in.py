"""A program that speaks as Terraform does: show -json, state pull, apply of a saved plan.

Its state is a file (TERRAFORM_STAND_IN), a saved plan is JSON with the serial that it is for. A
plan for another serial is refused, as Terraform refuses a stale one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

STALE = "Error: Saved plan is stale"


def install(folder: Path) -> tuple[Path, Path]:
    """Put a `terraform` into a folder; gives that program and its state's file."""
    program, state = folder / "terraform", folder / "state.json"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    state.write_text(json.dumps({"serial": 7, "applied": []}))
    return program, state


def saved_plan(path: Path, *, serial: int = 7, **actions: list[str]) -> Path:
    """A saved plan: addresses (with `__` for a dot) and what becomes of them."""
    changes = [
        {
            "address": name.replace("__", "."),
            "change": {"actions": wanted, "after": {"key": "s3cr3t"}},
        }
        for name, wanted in actions.items()
    ]
    path.write_text(json.dumps({"serial": serial, "changes": changes}))
    return path


def main(arguments: list[str]) -> int:
    state = Path(os.environ["TERRAFORM_STAND_IN"])
    match arguments:
        case ["show", "-json", file]:
            plan = json.loads(Path(file).read_text())
            print(json.dumps({"format_version": "1.2", "resource_changes": plan["changes"]}))
        case ["state", "pull"]:
            print(state.read_text())
        case ["apply", "-input=false", "-no-color", file]:
            plan, now = json.loads(Path(file).read_text()), json.loads(state.read_text())
            if plan["serial"] != now["serial"]:
                print(STALE, file=sys.stderr)
                return 1
            applied = [one["address"] for one in plan["changes"]]
            state.write_text(json.dumps({"serial": now["serial"] + 1, "applied": applied}))
            print(f"Apply complete! Resources: {len(applied)} changed.")
        case _:
            print(f"Error: unknown arguments {arguments}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
