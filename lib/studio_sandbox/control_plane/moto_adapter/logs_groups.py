"""Log groups as requests name them, patterns as requests give them, and what is wrong with both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studio_sandbox.control_plane import logs_filter
from studio_sandbox.control_plane.aws_error import SandboxError


def group_named(backend: Any, identifier: str) -> Any:
    """A log group by its name or its ARN."""
    name = identifier.split(":log-group:")[-1].removesuffix(":*")
    if name not in backend.groups:
        raise SandboxError(
            "The specified log group does not exist.", code="ResourceNotFoundException", status=400
        )
    return backend.groups[name]


def compiled(pattern: str | None) -> Callable[[str], bool]:
    """The predicate of a filter pattern; all messages fit none."""
    try:
        return logs_filter.compile_pattern(pattern or "")
    except logs_filter.BadPattern as error:
        raise invalid(f"Invalid filter pattern: {error}") from error


def invalid(message: str) -> SandboxError:
    """The error for what a request should not have asked."""
    return SandboxError(message, code="InvalidParameterException", status=400)
