"""The kernel that a section runs in: this Python, guarded, over sockets in a private folder.

A kernel's TCP ports can be taken by others between being chosen and being bound, so it talks over
IPC; a history file would keep parameters in the home of whoever runs this.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from runbook.run.confided import VARIABLE, Confided
from runbook.run.waiting import KernelInWaiting

_LAUNCHER = ("-P", "-m", "runbook.run.section_kernel")


class SectionKernel(AsyncKernelManager):  # type: ignore[misc]  # jupyter_client has no types
    """Starts our kernel with the Python that runs us, whatever kernels are installed.

    `confided` has what the kernel says of its secrets. `waiting`: the process that has loaded its
    libraries by now, and becomes the kernel; without one it is launched when it is asked for.
    """

    def __init__(self, **settings: Any) -> None:
        self.confided = Confided()
        self.waiting: KernelInWaiting | None = None
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
        return KernelSpec(
            argv=[
                sys.executable,
                *_LAUNCHER,
                "-f",
                "{connection_file}",
                "--HistoryManager.enabled=False",
            ],
            display_name="Python 3",
            language="python",
        )

    async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: Any) -> None:
        end = self.confided.kernels_end
        if not self._take_what_waits(kernel_cmd, settings):
            settings["env"] = {**settings["env"], VARIABLE: str(end)}
            await super()._async_launch_kernel(kernel_cmd, pass_fds=(end,), **settings)
        self.confided.started()

    _launch_kernel = _async_launch_kernel

    def _take_what_waits(self, command: list[str], settings: dict[str, Any]) -> bool:
        """Let the process that waits be the kernel, once; False where none does any more."""
        waiting, self.waiting = self.waiting, None
        if waiting is None:
            return False
        arguments = command[1 + len(_LAUNCHER) :]
        try:
            waiting.become(
                [_LAUNCHER[-1], *arguments],
                settings["env"],
                settings.get("cwd"),
                self.confided.kernels_end,
            )
        except OSError:
            return False
        self.provisioner.process = waiting
        self.provisioner.pid = self.provisioner.pgid = waiting.pid
        self.provisioner.cwd = settings.get("cwd") or os.getcwd()
        return True

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            self.confided.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources
