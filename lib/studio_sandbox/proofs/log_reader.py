"""A search by the library, as a program of its own: so that it is weighed as others are.

python -m studio_sandbox.proofs.log_reader ENVIRONMENT.yaml START_MS END_MS PATTERN SERVICE…
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from runbook import settings
from runbook.clients import Clients
from runbook.studio import logs

_TOGETHER = 1000  # lines that are written at once: each write lets other threads in


def main(file: str, start_ms: str, end_ms: str, pattern: str, *services: str) -> None:
    """Print the lines of these services as they come: service, milliseconds and text."""
    environment = settings.load_file(Path(file))
    groups = {name: environment.logs.groups[name] for name in services}
    start, end = (datetime.fromtimestamp(int(ms) / 1000, UTC) for ms in (start_ms, end_ms))
    found = logs.search(
        Clients(environment).aws("logs"),
        environment.logs,
        groups=groups,
        window=logs.Window(start, end),
        pattern=pattern,
    )
    while lines := [f"{e.service}\t{e.time_ms}\t{e.text}\n" for e in islice(found, _TOGETHER)]:
        sys.stdout.writelines(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
