"""The kernel that a section runs in: this Python, guarded, over sockets in a private folder.

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

from runbook.run.confided import VARIABLE, Confided


class SectionKernel(AsyncKernelManager):  # type: ignore[misc]  # jupyter_client has no types
    """Starts our kernel with the Python that runs us, whatever kernels are installed.

    `confided` has what the kernel says of its secrets.
    """

    def __init__(self, **settings: Any) -> None:
        self.confided = Confided()
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
        launcher = [sys.executable, "-P", "-m", "runbook.run.section_kernel"]
        return KernelSpec(
            argv=[*launcher, "-f", "{connection_file}", "--HistoryManager.enabled=False"],
            display_name="Python 3",
            language="python",
        )

    async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: Any) -> None:
        end = self.confided.kernels_end
        settings["env"] = {**settings["env"], VARIABLE: str(end)}
        await super()._async_launch_kernel(kernel_cmd, pass_fds=(end,), **settings)
        self.confided.started()

    _launch_kernel = _async_launch_kernel

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            self.confided.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources
