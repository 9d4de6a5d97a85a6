"""What a drill makes revisions do: end at their start, or answer so that checks fail."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

_KINDS = ("crash", "unhealthy")


@dataclass(frozen=True)
class Behaviour:
    """How the tasks of a revision behave.

    `revision` is `family:number` (or a family), `image` the end of an image's URI, its tag for
    one; what is empty fits all. `crash` ends the essential container with `exit_code` before it
    runs; `unhealthy` lets it run and answer health checks with `status`. `log` is written first.
    """

    behaviour: str
    revision: str = ""
    image: str = ""
    exit_code: int = 1
    status: int = 500
    log: list[str] = field(default_factory=list)

    def fits(self, revision: str, image: str) -> bool:
        """Whether it is about this revision."""
        named = self.revision in ("", revision, revision.partition(":")[0])
        return named and image.endswith(self.image)


class Behaviours:
    """All that was ordered, until it is cleared. Safe between threads."""

    def __init__(self) -> None:
        self._ordered: list[Behaviour] = []
        self._lock = threading.Lock()

    def order(self, wanted: list[dict[str, Any]]) -> None:
        """Add some. Raises ValueError or TypeError for what is none."""
        made = [Behaviour(**one) for one in wanted]
        for one in made:
            if one.behaviour not in _KINDS:
                raise ValueError(f"behaviour {one.behaviour!r}; there are {', '.join(_KINDS)}")
            if not (one.revision or one.image):
                raise ValueError("a behaviour names a revision or an image")
        with self._lock:
            self._ordered += made

    def clear(self, image: str = "") -> None:
        """Everything behaves again, or what was ordered of one image's end alone."""
        with self._lock:
            self._ordered = [one for one in self._ordered if image and one.image != image]

    def ordered(self) -> list[dict[str, Any]]:
        """All of them, as data."""
        with self._lock:
            return [asdict(one) for one in self._ordered]

    def of(self, kind: str, revision: str, image: str) -> Behaviour | None:
        """The latest behaviour of this kind that fits a revision."""
        with self._lock:
            fitting = [one for one in self._ordered if one.behaviour == kind]
        return next((one for one in reversed(fitting) if one.fits(revision, image)), None)
