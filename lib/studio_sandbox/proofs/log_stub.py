"""A CloudWatch Logs of a million lines, with the API's page, latency and quota.

    python -m studio_sandbox.proofs.log_stub        prints its port, and answers until stdin closes

Lines are made when they are asked for, from their number alone, so that a million cost no memory.
They are uneven in time: the densest minute has some ten times the lines of the thinnest.

What AWS documents: a page of 10,000 events or 1 MB; 5 requests a second of an account in
eu-central-1, above that ThrottlingException. What it does not document is assumed, and is the same
for every client: how long a request takes, and how much it looks through before it answers with
a token.
"""

from __future__ import annotations

import array
import bisect
import json
import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GROUPS = tuple(f"/ecs/proof-{name}" for name in ("frontend", "backend", "gateway", "worker"))
START_MS, LENGTH_MS = 1_770_000_000_000, 4 * 3_600_000
LINES = 1_000_000  # of all groups
ACCOUNT = "123456789012"
ERROR_EVERY = 211  # lines

_MOST_EVENTS, _MOST_BYTES, _OVERHEAD = 10_000, 2**20, 26  # of a page; bytes that AWS adds to each
_QUOTA = 5  # requests in any second
# assumed
_MOST_SCANNED = 10 * 2**20  # bytes that one request looks through
_LATENCY_S, _SCAN_S_PER_MB, _SEND_S_PER_MB = 0.2, 0.05, 0.45

_WAVES = 6  # of the density, over the whole time
_STREAMS = 4


class LogGroup:
    """The lines of one group, by number."""

    def __init__(self, name: str, lines: int, *, page_bytes: int = _MOST_BYTES) -> None:
        self.name = name
        self._page_bytes = page_bytes
        self._times = array.array("q", (START_MS + _at(n / lines) for n in range(lines)))

    def between(self, start_ms: int, end_ms: int) -> range:
        """Numbers of the lines of that time, both ends in."""
        first = bisect.bisect_left(self._times, start_ms)
        return range(first, bisect.bisect_right(self._times, end_ms))

    def line(self, number: int) -> str:
        """What line `number` says: as long as the product's are."""
        level = "ERROR" if number % ERROR_EVERY == 0 else "INFO"
        status = 502 if level == "ERROR" else 200
        return (
            f'{{"timestamp": "{self._times[number]}", "level": "{level}", '
            f'"message": "POST /v1/chat/complete {status}", '
            f'"trace_id": "1-{number:08x}-{number * 7919:024x}", '
            f'"user_id": "{number % 40_000:08x}-0000-4000-a000-000000000000", "method": "POST", '
            f'"path": "/v1/chat/complete", "status": {status}, "latency_ms": {number % 2_900}, '
            f'"model": "gpt-4o-mini", "note": "مرحبا"}}'
        )

    def event(self, number: int, text: str) -> dict[str, Any]:
        """The line as FilterLogEvents gives it."""
        return {
            "eventId": f"{self._times[number]:020}{number:036}",
            "ingestionTime": self._times[number] + 900,
            "logStreamName": f"ecs/app/{number % _STREAMS:032x}",
            "message": text,
            "timestamp": self._times[number],
        }

    def page(self, asked: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """FilterLogEvents, and how many seconds it takes."""
        wanted = self.between(
            asked.get("startTime", START_MS), asked.get("endTime", START_MS + LENGTH_MS)
        )
        after = int(asked["nextToken"]) if "nextToken" in asked else wanted.start
        found: list[dict[str, Any]] = []
        size, scanned, token = 0, 0, ""
        for number in range(after, wanted.stop):
            text = self.line(number)
            length = len(text.encode()) + _OVERHEAD
            matches = self._matches(number, asked.get("filterPattern", ""))
            full = len(found) == _MOST_EVENTS or size + length > self._page_bytes
            if scanned + length > _MOST_SCANNED or (matches and full):
                token = str(number)
                break
            scanned += length
            if matches:
                size += length
                found.append(self.event(number, text))
        seconds = _LATENCY_S + (scanned * _SCAN_S_PER_MB + size * _SEND_S_PER_MB) / 2**20
        answer = {"events": found, "searchedLogStreams": []}
        return {**answer, **({"nextToken": token} if token else {})}, seconds

    def _matches(self, number: int, pattern: str) -> bool:
        if pattern not in ("", "ERROR"):
            raise ValueError(pattern)
        return not pattern or number % ERROR_EVERY == 0


def _at(share: float) -> int:
    """When the line at this share of all was written: never before the line that it follows."""
    turn = 2 * math.pi * _WAVES
    return int(LENGTH_MS * (share - 0.82 * math.sin(turn * share) / turn))


class Account:
    """The groups, and who asked how often."""

    def __init__(self, lines: int, page_bytes: int) -> None:
        each = lines // len(GROUPS)
        self.groups = {name: LogGroup(name, each, page_bytes=page_bytes) for name in GROUPS}
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()

    def throttled(self) -> bool:
        """Whether a request comes too soon after the others."""
        with self._lock:
            now = time.monotonic()
            while self._recent and now - self._recent[0] >= 1:
                self._recent.popleft()
            too_many = len(self._recent) >= _QUOTA
            if not too_many:
                self._recent.append(now)
            self.asked["throttled" if too_many else "requests"] += 1
            return too_many


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    account: Account

    def do_GET(self) -> None:
        """How often was asked since the last time, and of how many lines."""
        self._answer(200, dict(self.account.asked))
        self.account.asked.clear()

    def do_POST(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
        if b"Action=GetCallerIdentity" in body:
            self._answer_identity()
        elif action != "FilterLogEvents":
            self._answer(400, {"__type": "NotInTheStub", "message": action})
        elif self.account.throttled():
            self._answer(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
        else:
            asked = json.loads(body)
            answer, seconds = self.account.groups[asked["logGroupName"]].page(asked)
            data = json.dumps(answer, ensure_ascii=False).encode()
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            self._send(200, data, "application/x-amz-json-1.1")

    def _answer_identity(self) -> None:
        arn = f"arn:aws:iam::{ACCOUNT}:user/oncall"
        text = (
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<GetCallerIdentityResult><Arn>{arn}</Arn><UserId>A</UserId>"
            f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        )
        self._send(200, text.encode(), "text/xml")

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/x-amz-json-1.1")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads along."""


def serve(lines: int = LINES, *, page_bytes: int = _MOST_BYTES) -> ThreadingHTTPServer:
    """A server on a free port of loopback, in a thread of its own."""
    handler = type("Handler", (_Handler,), {"account": Account(lines, page_bytes)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def expected(lines: int, group: str, start_ms: int, end_ms: int, pattern: str) -> Iterator[str]:
    """Each line of a search as `milliseconds<tab>text`, as a client should print it."""
    found = LogGroup(group, lines // len(GROUPS))
    for number in found.between(start_ms, end_ms):
        if not pattern or number % ERROR_EVERY == 0:
            text = found.line(number)
            yield f"{found.event(number, text)['timestamp']}\t{text}"


def main() -> None:
    server = serve(int(sys.argv[1]) if len(sys.argv) > 1 else LINES)
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
