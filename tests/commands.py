"""The runbook's commands as tests give them: begun warm, each in a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

from runbook.run import warm

_WITHIN_S = 600.0


def command(
    *arguments: str, variables: Mapping[str, str] = {}, given: str = ""
) -> CompletedProcess[str]:
    """What a command prints, and its exit code; `variables` are set for it, `given` is its input.

    Fails when it takes longer than ten minutes.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-command-") as place:
        files = [Path(place, name) for name in ("in", "out", "err")]
        for file, text in zip(files, (given, "", ""), strict=True):
            file.write_text(text, encoding="utf-8")
        process = warm.begin(_command, arguments, dict(variables), [str(file) for file in files])
        code = warm.ended(process, within_s=_WITHIN_S)
        if code is None:
            process.kill()
            warm.ended(process)
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in files[1:])
        assert code is not None, f"not within {_WITHIN_S} s: {arguments}: {err}"
        return CompletedProcess(arguments, code, out, err)


def _command(arguments: tuple[str, ...], variables: dict[str, str], files: list[str]) -> None:
    from runbook.cli import main

    os.environ.update(variables)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  multiprocessing closed it
    sys.argv = ["runbook", *arguments]
    main()
