"""A request and its answer, whether they came over a socket or were made up in process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

_JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request. Names of headers are in small letters."""

    method: str
    path: str
    host: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    source_ip: str = "127.0.0.1"

    def pairs(self) -> list[tuple[str, str]]:
        """Keys and values of the query."""
        return parse_qsl(self.query, keep_blank_values=True)

    def data(self) -> dict[str, Any]:
        """The body's JSON object. Raises ValueError when it is none."""
        found = json.loads(self.body or b"{}")
        if not isinstance(found, dict):
            raise ValueError("the body is no JSON object")
        return found


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    body: bytes = field(default=b"", repr=False)
    kind: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)


def answer(status: int, content: Any, **headers: str) -> Response:
    """JSON. Names of headers are written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json.dumps(content, ensure_ascii=False).encode(), headers=named)


def page(status: int, title: str, text: str = "") -> Response:
    """A small HTML page."""
    body = (
        f"<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n{text}\n</body>\n"
    )
    return Response(status, f"{body}</html>\n".encode(), "text/html; charset=utf-8")
