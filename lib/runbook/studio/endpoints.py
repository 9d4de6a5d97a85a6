"""Endpoints: what the Studio answers its callers, by host name and by the load balancer's path.

Asked from outside, as a caller asks: all at once, each once, no redirect followed. What an answer
is worth (fresh, slow, healthy) is judged by the environment's figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from ssl import cert_time_to_seconds
from typing import Any

from runbook.clients import Clients
from runbook.headline import Status
from runbook.settings import Endpoints

HOST, ALB = "host", "ALB path"
_MOST_BYTES = 200_000
_AT_ONCE = 8


@dataclass(frozen=True)
class Question:
    """One request: to which host, under which name, for what. `what` is `health` or `docs`."""

    service: str
    by: str
    what: str
    connect_to: str
    certificate_of: str
    path: str
    tells_health: bool = False

    @property
    def url(self) -> str:
        """As a caller writes it."""
        return f"https://{self.connect_to}{self.path}"


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is None when nothing did, and `error` says why."""

    question: Question
    at: datetime  # aware, UTC
    status: int | None = None
    took_ms: float = 0.0
    body: bytes = b""
    error: str = ""
    certificate_until: datetime | None = None  # of the one that TLS was spoken with

    @property
    def took_words(self) -> str:
        """For a table; empty when nothing came."""
        return f"{self.took_ms:.0f} ms" if self.status else ""

    @property
    def says(self) -> Mapping[str, Any]:
        """The body's JSON object; empty when it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def age_s(self) -> float | None:
        """How old the time in a health answer is; None when there is none that can be read."""
        try:
            told = datetime.fromisoformat(str(self.says.get("timestamp")))
        except ValueError:
            return None
        # without a zone it is UTC, as everything that the Studio writes
        return (self.at - (told if told.tzinfo else told.replace(tzinfo=UTC))).total_seconds()


def questions(settings: Endpoints, *, alb_name: str, what: Iterable[str]) -> list[Question]:
    """All that is asked of the environment's services, `health` or `docs` or both. Pure.

    `alb_name` is the load balancer's DNS name; by that name the certificate is still that of the
    service's host.
    """
    found = []
    for service, wanted in settings.services.items():
        for one in what:
            tail, tells = (
                (wanted.health, wanted.tells_health) if one == "health" else (wanted.docs, False)
            )
            # the docs are the application's own, above the version that its API has
            base = wanted.path if one == "health" else ""
            found += [
                Question(service, HOST, one, wanted.host, wanted.host, base + tail, tells),
                Question(service, ALB, one, alb_name, wanted.host, wanted.alb_path + tail, tells),
            ]
    return found


def ask(clients: Clients, asked: Iterable[Question]) -> list[Answer]:
    """Ask all of them side by side; an answer for each, in their order, whatever came of it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda question: _ask(clients, question), asked))


def judge(answer: Answer, settings: Endpoints) -> tuple[Status, str]:
    """Whether an answer is as it should be, and in a few words why not. Pure."""
    if answer.status is None:
        return "critical", answer.error
    said = answer.says.get("status")
    if answer.status != 200:
        told = f", it says {said}" if said else ""
        return "critical", f"answers {answer.status}{told}"
    if answer.question.tells_health:
        if said != "healthy":
            return "critical", f"says {said!r}, not 'healthy'" if said else "says no status"
        if answer.age_s is None:
            return "warning", "says no time"
        if abs(answer.age_s) > settings.fresh_s:
            when = "old" if answer.age_s > 0 else "in the future"
            return "warning", f"its time is {abs(answer.age_s):,.0f} s {when}"
    if answer.took_ms > settings.slow_ms:
        return "warning", f"slow, over {settings.slow_ms:,.0f} ms"
    return "ok", "healthy" if answer.question.tells_health else "answers"


def _ask(clients: Clients, question: Question) -> Answer:
    connection = clients.http(question.connect_to, certificate_of=question.certificate_of)
    began, at = time.monotonic(), datetime.now(UTC)
    try:
        headers = {"Host": question.connect_to, "User-Agent": f"runbook/{clients.run_id}"}
        connection.request("GET", question.path, headers=headers)
        until = _certificate_until(connection)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
    except (OSError, HTTPException) as error:
        return Answer(question, at, error=_in_words(error))
    finally:
        connection.close()
    took_ms = 1000 * (time.monotonic() - began)
    return Answer(question, at, answer.status, took_ms, body, certificate_until=until)


def _certificate_until(connection: HTTPConnection) -> datetime | None:
    """Until when the certificate holds that this connection was made with; None without TLS."""
    certificate: dict[str, Any] = getattr(connection.sock, "getpeercert", dict)()
    if not certificate:
        return None
    return datetime.fromtimestamp(cert_time_to_seconds(certificate["notAfter"]), UTC)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections"
    return f"cannot be asked: {' '.join(str(error).split()) or type(error).__name__}"
