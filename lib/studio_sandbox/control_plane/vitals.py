"""What tasks were found to be like by whoever asked them, kept by task."""

from __future__ import annotations

import threading

from studio_sandbox.control_plane.behaviours import Behaviour


class Vitals:
    """How each live task fails, as a behaviour; None where all is well. Safe between threads.

    As long as nobody watches, every task is well.
    """

    def __init__(self) -> None:
        self._found: dict[str, Behaviour | None] = {}
        self._watched = False
        self._lock = threading.Lock()

    def note(self, found: dict[str, Behaviour | None]) -> bool:
        """Replace all that is known; whether that is anything new."""
        with self._lock:
            new = found != self._found or not self._watched
            self._found, self._watched = found, True
            return new

    def clear(self) -> None:
        """Nobody watches any more."""
        with self._lock:
            self._found, self._watched = {}, False

    def unknown(self, task: str) -> bool:
        """Whether somebody watches who has not come round to this task yet."""
        with self._lock:
            return self._watched and task not in self._found

    def of(self, kind: str, task: str) -> Behaviour | None:
        """How a task fails in this way, if it does."""
        with self._lock:
            found = self._found.get(task)
        return found if found and found.behaviour == kind else None
