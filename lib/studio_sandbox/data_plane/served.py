"""A request that was served: the answer, and everything that it leaves behind."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.data_plane.http import Request, Response
from studio_sandbox.data_plane.picture import Replica
from studio_sandbox.data_plane.usage import Used


@dataclass(frozen=True)
class Call:
    """One call of a provider, for the metrics."""

    provider: str
    failed: bool
    seconds: float


@dataclass
class Served:
    """`task` is None where the load balancer answered by itself; `seconds` is until the answer.

    `logged` says that it has a line of its own in the service's log, with `about` in it; `more`
    are further lines, as level, message and what else is in them.
    """

    request: Request
    response: Response
    task: Replica | None = None
    seconds: float = 0.0
    logged: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    more: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    call: Call | None = None
    used: Used | None = None

    def note(self, level: str, message: str, **about: Any) -> None:
        """One more line of the log."""
        self.more.append((level, message, about))

    def lines(self) -> list[str]:
        """All lines, as the service writes them."""
        asked, status = self.request, self.response.status
        common = {"trace_id": trace_of(asked), "user_id": user_of(asked) or None}
        found = []
        if self.logged:
            path = asked.path.removeprefix("/api").removeprefix("/gateway")
            level = "ERROR" if status >= 500 else "INFO"
            about = {
                "method": asked.method,
                "path": path,
                "status": status,
                "latency_ms": max(1, round(self.seconds * 1000)),
                **self.about,
            }
            found.append(line(level, f"{asked.method} {path} {status}", **common, **about))
        return found + [
            line(level, message, **common, **about) for level, message, about in self.more
        ]


def user_of(request: Request) -> str:
    """Who asks: the session's token is not played, its user is named in a header."""
    return request.headers.get("x-user-id", "")


def trace_of(request: Request) -> str | None:
    """X-Ray's trace id."""
    given = request.headers.get("x-amzn-trace-id", "")
    return given.rpartition("Root=")[2].partition(";")[0] or None


def new_trace(dice: random.Random) -> str:
    """A trace id that begins now."""
    return f"1-{int(time.time()):08x}-{dice.getrandbits(96):024x}"


def line(
    level: str,
    message: str,
    *,
    trace_id: str | None = None,
    user_id: str | None = None,
    **about: Any,
) -> str:
    """One line of JSON, as all services write it."""
    entry: dict[str, Any] = {"timestamp": now(), "level": level, "message": message}
    entry |= {"trace_id": trace_id, "user_id": user_id, **about}
    return json.dumps(entry, ensure_ascii=False)


def now() -> str:
    """The time, as the services write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
