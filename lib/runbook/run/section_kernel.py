"""The kernel's own process: an ipykernel whose messages are guarded before its first cell."""

from __future__ import annotations

from ipykernel.kernelapp import IPKernelApp

from runbook.record import outgoing
from runbook.run.confided import confide


class GuardedKernelApp(IPKernelApp):  # type: ignore[misc]  # ipykernel has no types
    """ipykernel's application, with our guard at its one way out."""

    def init_kernel(self) -> None:
        """Make the kernel; nothing that it sends passes by the guard."""
        super().init_kernel()
        outgoing.guard(self.kernel.session)
        confide()


if __name__ == "__main__":
    GuardedKernelApp.launch_instance()
