"""Slack, played: an incoming webhook that keeps what it was told, to be read again."""

from __future__ import annotations

from collections import deque
from typing import Any

from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.served import now

_MOST = 500


class Slack:
    """The messages of one workspace, the latest of them."""

    def __init__(self) -> None:
        self._messages: deque[dict[str, Any]] = deque(maxlen=_MOST)

    def begin(self) -> None:
        """Nothing was said yet."""
        self._messages.clear()

    def respond(self, path: str, request: Request) -> Response:
        """`POST …/services/…` as Slack has it, `GET …/messages` to read what came."""
        match (request.method, path.strip("/").split("/")):
            case ("GET", ["messages"]):
                return answer(200, {"messages": list(self._messages)})
            case ("POST", ["services", *_]):
                return self._take(path, request)
        return Response(404, b"no_service", "text/plain")

    def _take(self, path: str, request: Request) -> Response:
        try:
            told = request.data()
        except ValueError:
            return Response(400, b"invalid_payload", "text/plain")
        if not (told.get("text") or told.get("blocks") or told.get("attachments")):
            return Response(400, b"no_text", "text/plain")
        self._messages.append({"received_at": now(), "webhook": path, **told})
        return Response(200, b"ok", "text/plain")
