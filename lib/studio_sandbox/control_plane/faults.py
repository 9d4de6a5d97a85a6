"""Faults on order: what the next n calls of an operation meet instead of, or beside, an answer.

error   the answer is an error: with `name`, as the service asked would word it (throttled, denied,
        expired); else with the `code` and `status` given
lost    the call is executed, and its answer never arrives
cut     the connection ends before the call is executed
slow    the call waits `delay_s` seconds first; nobody else waits with it
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from studio_sandbox.control_plane.aws_error import SandboxError
from studio_sandbox.control_plane.request import AwsRequest

_KINDS = ("error", "lost", "cut", "slow")
# Name: message, and code and status by protocol; `*` is for all others.
_NAMED: dict[str, tuple[str, dict[str, tuple[str, int]]]] = {
    "throttled": (
        "Rate exceeded",
        {
            "json": ("ThrottlingException", 400),
            "rest-json": ("TooManyRequestsException", 429),
            "s3": ("SlowDown", 503),
            "ec2": ("RequestLimitExceeded", 503),
            "*": ("Throttling", 400),
        },
    ),
    "denied": (
        "User: {arn} is not authorized to perform: {service}:{action}",
        {
            "json": ("AccessDeniedException", 400),
            "rest-json": ("AccessDeniedException", 403),
            "ec2": ("UnauthorizedOperation", 403),
            "*": ("AccessDenied", 403),
        },
    ),
    "expired": (
        "The security token included in the request is expired",
        {
            "json": ("ExpiredTokenException", 400),
            "rest-json": ("ExpiredTokenException", 403),
            "s3": ("ExpiredToken", 400),
            "ec2": ("RequestExpired", 400),
            "*": ("ExpiredToken", 403),
        },
    ),
}
_IN_POLICIES = {"monitoring": "cloudwatch"}  # services that permissions call by another name


class Cut(ConnectionError):
    """The connection is to end here, without an answer."""


@dataclass
class Fault:
    """What `times` calls of `service` and `action` (`*` is any) meet."""

    service: str
    action: str
    times: int = 1
    kind: str = "error"
    name: str = ""
    code: str = ""
    status: int = 400
    message: str = "Injected by the sandbox."
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind {self.kind!r}; there are {', '.join(_KINDS)}")
        if self.name and self.name not in _NAMED:
            raise ValueError(f"name {self.name!r}; there are {', '.join(_NAMED)}")
        if self.kind == "error" and not (self.name or self.code):
            raise ValueError("an error has a name or a code")
        if self.kind == "slow" and not self.delay_s > 0:
            raise ValueError("a slow call has a delay_s")

    def fits(self, asked: AwsRequest) -> bool:
        """Whether it is about this call."""
        return self.service in ("*", asked.service) and self.action in ("*", asked.action)

    def before(self, asked: AwsRequest, arn: str) -> None:
        """What the call of `arn` meets before it is executed. Raises the error, or Cut."""
        if self.kind == "error":
            raise self._error(asked, arn)
        if self.kind == "cut":
            raise Cut
        if self.kind == "slow":
            time.sleep(self.delay_s)

    def after(self) -> None:
        """What its answer meets. Raises Cut."""
        if self.kind == "lost":
            raise Cut

    def _error(self, asked: AwsRequest, arn: str) -> SandboxError:
        if not self.name:
            return SandboxError(self.message, code=self.code, status=self.status)
        message, codes = _NAMED[self.name]
        code, status = codes.get(asked.protocol, codes["*"])
        service = _IN_POLICIES.get(asked.service, asked.service)
        told = message.format(arn=arn, service=service, action=asked.action)
        return SandboxError(told, code=code, status=status)


class Faults:
    """The faults still to come, oldest first. Safe between threads."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def order(self, wanted: list[dict[str, Any]]) -> None:
        """Add faults. Raises ValueError or TypeError for what is none."""
        faults = [Fault(**one) for one in wanted]
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

    def take(self, asked: AwsRequest) -> Fault | None:
        """The first fault that was ordered for this call, used up once."""
        with self._lock:
            found = next((fault for fault in self._faults if fault.fits(asked)), None)
            if found:
                found.times -= 1
                self._faults = [one for one in self._faults if one.times > 0]
            return found
