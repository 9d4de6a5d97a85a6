"""The outputs that committed notebooks show: made on a still Studio, the same for everybody.

A notebook's metadata says what has happened before (`runbook.shown_with`, commands of ours, such
as `drill start stuck-jobs --seed 1`). The same is done before its outputs are compared.

    python -m studio_sandbox.shown notebooks/2-operations/clear-stuck-jobs.ipynb …
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runbook.errors import Failed
from runbook.run import warm
from runbook.settings import home
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.drills.studio import Studio


def prepare(metadata: Mapping[str, Any]) -> None:
    """Put the running still Studio, and its record, into the state that a notebook is shown with.

    Raises Failed when one of the commands fails, or there is no first backup.
    """
    _await_restorable(sandbox.reset())
    # what the notebooks before have left there is none of this one's
    shutil.rmtree(home() / "record", ignore_errors=True)
    for command in metadata.get("runbook", {}).get("shown_with", ()):
        done = warm.command(*shlex.split(command))
        if done.returncode:
            raise Failed(f"{command}: exit {done.returncode}: {done.stderr[-500:]}")


def _await_restorable(box: Box) -> None:
    """Until the first backup is whole, a moment after a start: what can be restored is shown."""
    studio = Studio(box)
    rds = studio.aws("rds")
    studio.until(
        lambda: "LatestRestorableTime" in rds.describe_db_clusters()["DBClusters"][0],
        "the sandbox's first backup",
    )


def write_outputs(path: Path) -> None:
    """Execute a notebook on the running still Studio and write its outputs into it."""
    import nbformat
    from nbclient import NotebookClient

    from runbook.run.kernel import SectionKernel

    notebook = nbformat.read(path, as_version=4)
    prepare(notebook.metadata)
    NotebookClient(
        notebook,
        kernel_manager_class=SectionKernel,
        record_timing=False,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def main(paths: Sequence[str]) -> None:
    """Write the outputs of these notebooks, in a Studio and a record of their own."""
    with tempfile.TemporaryDirectory(prefix="runbook-shown-") as home:
        Path(home).chmod(0o711)  # root's servers run as another user, who has to pass through
        os.environ["RUNBOOK_HOME"] = home
        sandbox.up(still=True, tied=True)
        try:
            for path in paths:
                write_outputs(Path(path))
        finally:
            sandbox.down()


if __name__ == "__main__":
    main(sys.argv[1:])
