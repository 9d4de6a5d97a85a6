"""The kernel that a section runs in: this Python, over sockets in a private folder, no history.

A kernel's TCP ports can be taken by others between being chosen and being bound, so it talks over
IPC; a history file would keep parameters in the home of whoever runs this.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class SectionKernel(AsyncKernelManager):  # type: ignore[misc]  # jupyter_client has no types
    """Starts `ipykernel` with the Python that runs us, whatever kernels are installed."""

    def __init__(self, **settings: Any) -> None:
        # below the system's temporary folder: a socket's path must be shorter than 108 bytes
        self._folder = Path(tempfile.mkdtemp(prefix="runbook-kernel-"))
        super().__init__(
            transport="ipc",
            ip=str(self._folder / "ipc"),
            connection_file=str(self._folder / "connection.json"),
            **settings,
        )

    @property
    def kernel_spec(self) -> KernelSpec:
        """What is started."""
        launcher = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(
            argv=[*launcher, "--HistoryManager.enabled=False"],
            display_name="Python 3",
            language="python",
        )

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self._folder, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources
