"""Operations that moto has not: registered where their code is, found here by what is asked.

One that moto could dispatch and serialise (JSON, query, CBOR: a path that it knows) is better
added to moto's own class in `moto_adapter`. Here are those that it could not: paths that it has
not, answers that are streamed, and what the sandbox itself knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from studio_sandbox.control_plane.call_log import CallLog
from studio_sandbox.control_plane.request import AwsRequest


@dataclass(frozen=True)
class Context:
    """What an operation may know beside what it was asked."""

    account: str
    calls: CallLog


@dataclass(frozen=True)
class Stream:
    """An answer without an end of its own: events, framed as AWS frames them."""

    events: Iterator[bytes]
    content_type: str = "application/vnd.amazon.eventstream"


# It holds no lock when it is called: it takes moto's for as long as it looks at moto's state.
Operation = Callable[[AwsRequest, Context], dict[str, Any] | Stream]
_OPERATIONS: dict[tuple[str, str], Operation] = {}


def operation(service: str, action: str) -> Callable[[Operation], Operation]:
    """Register the function that answers `action`: with what becomes its JSON, or a stream.

    `service` is the name that requests are signed for: `ses` for `sesv2` as well.
    """

    def register(function: Operation) -> Operation:
        _OPERATIONS[service, action] = function
        return function

    return register


def find(asked: AwsRequest) -> Operation | None:
    """Who answers this here; None when moto does."""
    return _OPERATIONS.get((asked.service, asked.action))


@operation("cloudtrail", "LookupEvents")
def look_up(asked: AwsRequest, context: Context) -> dict[str, Any]:
    """Calls and who made them, from the call log."""
    return context.calls.look_up(asked.parameters)
