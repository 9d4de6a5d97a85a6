"""A rehearsed incident goes on until it is over, by what assess says and by nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from studio_sandbox.drills import whole


class Studio:
    """Sections that only say what they found: `causes` in the order in which they show.

    `alarmed`: whether the watch minds what is not mended, and health does not.
    """

    def __init__(self, *causes: str, alarmed: bool = False, slow: int = 0) -> None:
        self.causes, self.alarmed, self.slow = list(causes), alarmed, slow
        self.ran: list[str] = []
        self.written: list[tuple[str, str]] = []

    def run(self, slug: str, **given: Any) -> dict[str, Any]:
        self.ran.append(slug)
        return {"plan": None, "result": self._found(slug)}

    def _found(self, slug: str) -> dict[str, Any]:
        if slug == "assess":
            mends = [{"section": one, "parameters": {}} for one in self.causes[:1]]
            found = [{"weight": 0.9, "mend": mend} for mend in mends]
            return {"status": "critical" if found else "ok", "suspects": found}
        if slug == "check-health":
            return {"status": "critical" if self.causes and not self.alarmed else "ok"}
        if slug == "resolve":
            return {"resolved": not self.causes}
        if slug in self.causes:
            if self.slow:
                self.slow -= 1
            else:
                self.causes.remove(slug)
        return {"status": "ok"}

    def answer(self) -> None:
        room: Any = SimpleNamespace(id="INC-1", write=lambda *about: self.written.append(about))
        whole._until_it_is_over(self.run, {}, room)


def test_what_is_mended_one_by_one_is_assessed_after_each() -> None:
    studio = Studio("roll-back", "end-query")
    studio.answer()
    assert studio.ran == ["assess", "roll-back", "check-health", "assess", "end-query",
                          "check-health", "resolve"]  # fmt: skip
    assert studio.written == [("mitigated", "end-query was applied")]


def test_what_only_the_watch_notices_is_assessed_again() -> None:
    studio = Studio("end-query", "rotate-api-key", alarmed=True)
    studio.answer()
    assert studio.ran == ["assess", "end-query", "check-health", "resolve",
                          "assess", "rotate-api-key", "check-health", "resolve"]  # fmt: skip


def test_what_was_done_already_is_not_done_again_while_it_takes_its_time() -> None:
    studio = Studio("restore-mail", slow=99)
    studio.answer()
    assert studio.ran.count("restore-mail") == 1
    assert studio.written == []
    assert studio.ran[-1] == "resolve"


def test_where_nothing_is_suspected_nothing_is_changed() -> None:
    studio = Studio()
    studio.answer()
    assert set(studio.ran) == {"assess", "resolve"}
    assert studio.written == []
