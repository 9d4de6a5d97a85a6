"""A value that must never be seen, and the list of all that this process has held.

Whoever obtains a secret wraps it here at once. It masks itself wherever a value usually leaks
(repr, str, format, JSON, pickle); `reveal()` is the one way to the value, so that a search for
it finds every use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


class Secret:
    """A masked string. `name` is what may be shown: the secret's id, never its value."""

    __slots__ = ("_value", "name")

    def __init__(self, value: str, *, name: str) -> None:
        self._value = value
        self.name = name
        remember(value, name=name)

    def reveal(self) -> str:
        """The value itself: hand it to a client at once, never to a variable that is shown."""
        return self._value

    def __repr__(self) -> str:
        return f"[secret {self.name}]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled or copied into a file")


_known: dict[str, str] = {}
_listeners: list[Callable[[str, str], None]] = []


def remember(value: str, *, name: str) -> None:
    """Add a value to those that are masked everywhere; `name` is shown in its place."""
    if value and value not in _known:
        _known[value] = name
        for listener in _listeners:
            listener(value, name)


def known() -> dict[str, str]:
    """Every value that this process has held, with its name."""
    return dict(_known)


def listen(listener: Callable[[str, str], None]) -> None:
    """Call `listener(value, name)` for each secret from now on, and for those known already."""
    _listeners.append(listener)
    for value, name in _known.items():
        listener(value, name)
