"""Faults on order: the next n calls of an operation fail as AWS would word it."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.request import AwsRequest


@dataclass
class Fault:
    """`times` calls of `service` and `action` (`*` is any) answer with `code`."""

    service: str
    action: str
    times: int
    code: str
    status: int
    message: str


class Faults:
    """The faults still to come, oldest first. Safe between threads."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def order(self, wanted: list[dict[str, Any]]) -> None:
        """Add faults; each names service, action, times, code and status."""
        faults = [
            Fault(
                service=one["service"],
                action=one["action"],
                times=int(one.get("times", 1)),
                code=one["code"],
                status=int(one.get("status", 400)),
                message=one.get("message", "Injected by the sandbox."),
            )
            for one in wanted
        ]
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[dict[str, Any]]:
        """What is still to come, as data."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def raise_if_ordered(self, request: AwsRequest) -> None:
        """Raise the first fault that was ordered for this call, and use it up once."""
        with self._lock:
            for fault in self._faults:
                if fault.service in ("*", request.service) and fault.action in (
                    "*",
                    request.action,
                ):
                    fault.times -= 1
                    self._faults = [one for one in self._faults if one.times > 0]
                    raise SandboxError(fault.message, code=fault.code, status=fault.status)
