"""A run's journal: what was about to be done, then what came of it, each on disk at once.

`journal.jsonl` has one JSON object a line. An `intent` is durable before its mutation begins and
a `result` follows it; an intent without a result means that nobody knows, until `reconcile` has
read the world. Other lines (`plan`, `applied`, `refused`, `lock`, `approval`, `note` …) say what
led to it. If an intent cannot be written, RecordUnavailable is raised and nothing is mutated.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook.record import redaction
from runbook.record.store import Store
from runbook.wait import SYSTEM_CLOCK, Clock


@dataclass(frozen=True)
class Intent:
    """A mutation that is about to be made.

    `id` is unique and doubles as the client request token of APIs that take one; `detail` is
    whatever its kind needs to find out afterwards whether it happened.
    """

    id: str
    change: int  # position in the plan
    kind: str
    target: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The journal of one run in a store."""

    def __init__(self, store: Store, run_id: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._key = f"runs/{run_id}/journal.jsonl"
        self._clock = clock
        self._mutex = threading.Lock()  # work goes on side by side, lines come one after the other

    def write(self, entry: str, **fields: Any) -> None:
        """Add a line of the type `entry`; it is durable when this returns."""
        # only what is known to be a secret: an undo reads its before-images from here
        masked = redaction.mask_all(fields, redaction.mask_known)
        with self._mutex:
            line = {"entry": entry, "at": self._clock.now().isoformat(), **masked}
            self._store.append(self._key, json.dumps(line, ensure_ascii=False).encode())

    def intent(
        self, change: int, kind: str, target: str, detail: Mapping[str, Any] | None = None
    ) -> Intent:
        """Record a mutation before it is made. Raises RecordUnavailable: then do not make it."""
        made = Intent(str(uuid.uuid4()), change, kind, target, dict(detail or {}))
        self.write(
            "intent", id=made.id, change=change, kind=kind, target=target, detail=dict(made.detail)
        )
        return made

    def result(self, intent: Intent, outcome: str, detail: Any = None, *, by: str = "") -> None:
        """Record what came of an intent: `done`, `failed` (not done), `given up`, `unknown`.

        `by` names who found out, when it was not the run itself.
        """
        extra = {"by": by} if by else {}
        self.write("result", id=intent.id, outcome=outcome, detail=detail, **extra)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every line, oldest first; one torn by a crash was never acted on and is passed over."""
        stored = self._store.read(self._key)
        for line in stored.data.splitlines() if stored else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "entry" in entry:
                yield entry

    def unresolved(self) -> list[Intent]:
        """Intents that have no result, or one that says `unknown`."""
        open_intents: dict[str, Intent] = {}
        for entry in self.entries():
            if entry["entry"] == "intent":
                open_intents[entry["id"]] = _intent(entry)
            elif entry["entry"] == "result" and entry["outcome"] != "unknown":
                open_intents.pop(entry["id"], None)
        return list(open_intents.values())

    def done(self) -> list[tuple[Intent, Any]]:
        """Intents that were carried out, each with its result's detail, oldest first."""
        intents: dict[str, Intent] = {}
        finished: list[tuple[Intent, Any]] = []
        for entry in self.entries():
            if entry["entry"] == "intent":
                intents[entry["id"]] = _intent(entry)
            elif entry["entry"] == "result" and entry["outcome"] == "done":
                finished.append((intents[entry["id"]], entry["detail"]))
        return finished


def _intent(entry: Mapping[str, Any]) -> Intent:
    return Intent(entry["id"], entry["change"], entry["kind"], entry["target"], entry["detail"])
