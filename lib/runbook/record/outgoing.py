"""The kernel's one way out: what it sends is masked, and cut when there is too much of it.

Streams, results, displays, errors, replies and widgets all pass `session.send`. There each text is
masked; the end of a stream that may be the beginning of a secret is held back until the next chunk
or the end of the cell tells; and of what one cell shows, MOST characters are kept and the rest is
counted. So nothing that leaves the kernel, to a runner or to a browser, has to be trusted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook.record import redaction

MOST = 2_000_000  # characters that one cell shows
_ERROR_MOST = 100_000  # of a traceback, which is never left out
_SHOWN = ("stream", "display_data", "update_display_data", "execute_result", "error")
Listener = Callable[[str, Mapping[str, Any], str], None]  # type, content, the cell's message id


def guard(session: Any) -> Outgoing:
    """Let everything that a kernel's session sends pass the guard; once, however often asked."""
    found: Outgoing | None = getattr(session, "runbook_outgoing", None)
    if found is None:
        found = session.runbook_outgoing = Outgoing(session)
    return found


@dataclass
class _Cell:
    """What one cell has shown so far."""

    left: int = MOST
    dropped: int = 0
    held: dict[str, str] = field(default_factory=dict)  # by stream: the end that is not sent yet
    streams: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # how the last chunk was sent


class Outgoing:
    """Stands in front of `session.send`. Safe between the kernel's threads."""

    def __init__(self, session: Any) -> None:
        self._send = session.send
        self._cells: dict[str, _Cell] = {}
        self._lock = threading.RLock()
        self.listeners: list[Listener] = []
        session.send = self.send

    def send(self, stream: Any, message: Any, content: Any = None, *rest: Any, **more: Any) -> Any:
        """Send as the session would, what may be seen of it."""
        kind, parent = _kind(message), _parent(message, rest, more)
        given = message["content"] if isinstance(message, dict) else content
        with self._lock:
            if kind == "stream" and isinstance(given, dict):
                self._cell(parent).streams[given["name"]] = (stream, message, rest, more)
                given = self._of_stream(parent, given)
                if given is None:
                    return None
            elif kind in _SHOWN:
                given = self._of_display(parent, kind, redaction.mask_all(given))
            else:
                if kind == "status" and given.get("execution_state") == "idle":
                    self._end(parent)
                given = redaction.mask_all(given)
            return self._out(kind, parent, stream, message, given, rest, more)

    def _out(
        self, kind: str, parent: str, stream: Any, message: Any, content: Any, rest: Any, more: Any
    ) -> Any:
        for listener in self.listeners:
            listener(kind, content, parent)
        if isinstance(message, dict):
            return self._send(stream, {**message, "content": content}, None, *rest, **more)
        return self._send(stream, message, content, *rest, **more)

    def _cell(self, parent: str) -> _Cell:
        return self._cells.setdefault(parent, _Cell())

    def _of_stream(self, parent: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """The part of a chunk that can be sent now; None when there is nothing to send."""
        cell, name = self._cell(parent), content["name"]
        text, beyond = content["text"], 0
        if (
            len(text) > 2 * cell.left + _ERROR_MOST
        ):  # masking all of it would take long, for nothing
            keep = cell.left + _ERROR_MOST
            text, beyond = text[:keep], len(text) - keep
        text = redaction.mask(cell.held.pop(name, "") + text)
        wait = redaction.unfinished(text)
        if wait and not beyond:
            cell.held[name] = text[-wait:]
        text = text[:-wait] if wait else text
        cell.dropped += beyond
        text = self._within(cell, text)
        return {**content, "text": text} if text else None

    def _of_display(self, parent: str, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """A result or an error, or a note in its place when there is too much of it."""
        if kind == "error":
            return {key: _cut(value, _ERROR_MOST) for key, value in content.items()}
        cell, size = self._cell(parent), _size(content["data"])
        if size <= cell.left:
            cell.left -= size
            return content
        note = f"[{size:,} characters of output were not kept: more than a cell may show]"
        return {**content, "data": {"text/plain": note}}

    def _within(self, cell: _Cell, text: str) -> str:
        kept = text[: max(0, cell.left)]
        cell.dropped += len(text) - len(kept)
        if len(kept) < len(text):  # a value that is cut short would not be found
            wait = redaction.unfinished(kept)
            kept = kept[:-wait] if wait else kept
        cell.left -= len(kept)
        return kept

    def _end(self, parent: str) -> None:
        """A cell has ended: what was held back is sent, and how much was left out is said."""
        cell = self._cells.pop(parent, None)
        if cell is None:
            return
        for name, (stream, message, rest, more) in cell.streams.items():
            text = cell.held.get(name, "")[: max(0, cell.left)]
            if cell.dropped:
                text += f"\n[{cell.dropped:,} more characters of output were not kept]\n"
                cell.dropped = 0
            if text:
                content = {"name": name, "text": text}
                self._out("stream", parent, stream, _another(message), content, rest, more)


def _kind(message: Any) -> str:
    if isinstance(message, dict):
        return str(message.get("header", {}).get("msg_type", ""))
    return str(message)


def _another(message: Any) -> Any:
    """A message like this one, for the same cell, with an id of its own."""
    if not isinstance(message, dict):
        return message
    made = uuid.uuid4().hex
    return {**message, "msg_id": made, "header": {**message["header"], "msg_id": made}}


def _parent(message: Any, rest: tuple[Any, ...], more: Mapping[str, Any]) -> str:
    """The id of the message that is answered: one for each cell that is executed."""
    given = message.get("parent_header") if isinstance(message, dict) else None
    parent: Any = given or more.get("parent") or (rest[0] if rest else None) or {}
    return str(parent.get("header", parent).get("msg_id", ""))


def _size(data: Any) -> int:
    if isinstance(data, dict):
        return sum(map(_size, data.values()))
    if isinstance(data, list | tuple):
        return sum(map(_size, data))
    return len(data) if isinstance(data, str | bytes) else 8


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]}… [{len(value) - most:,} more characters]"
    if isinstance(value, list):
        return [_cut(each, most) for each in value]
    return value
