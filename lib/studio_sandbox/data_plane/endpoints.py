"""One HTTP server on loopback: the load balancer, and what the Studio talks to.

By host name, or by path as at the load balancer's own name:

    http://127.0.0.1:PORT/          what the rules of the ALB make of it
    …/openai/v1/models, …/status    a provider's API, and its status page; anthropic and google too
    …/slack/services/…              an incoming webhook; …/slack/messages has what it was told
    …/github/repos/OWNER/NAME/…     the workflow, its runs, ACTIVITY.md
    …/hyperpay/v1/payments          what was paid, and whether its webhook was delivered
    …/hyperpay/v1/webhooks          where webhooks go to, to read and to put
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.plane import DataPlane
from studio_sandbox.data_plane.providers import PROVIDERS

_LOOPBACK = ("127.0.0.1", "localhost")
_LONGEST_S = 1.0  # that a caller waits, however long the answer took in the Studio
StartResponse = Callable[..., Any]


class Endpoints:
    """The WSGI application. It speaks HTTP where the real one has TLS in front of it."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        request = _read(environ)
        try:
            found = self._respond(request)
        except NotInSandbox as missing:
            found = answer(501, {"error": str(missing)})
        except ValueError as wrong:  # a body that is no JSON, a value of the wrong kind
            found = answer(400, {"error": str(wrong)})
        except Exception as crash:
            traceback.print_exc(file=sys.stderr)
            found = answer(500, {"error": f"failed in the sandbox itself: {crash!r}"})
        body = b"" if request.method == "HEAD" else found.body
        headers = {"Content-Type": found.kind, "Content-Length": str(len(body)), **found.headers}
        start(f"{found.status} {_phrase(found.status)}", list(headers.items()))
        return [body]

    def _respond(self, request: Request) -> Response:
        if found := self._outside(request):
            return found
        served = self._plane.serve(self._plane.picture(), request)
        time.sleep(min(served.seconds, _LONGEST_S))
        self._plane.finish(served)
        return served.response

    def _outside(self, request: Request) -> Response | None:
        """What is no part of the Studio: reached by path, where no host of the Studio is named."""
        if request.host not in _LOOPBACK:
            return None
        name, _, rest = request.path.lstrip("/").partition("/")
        if name in PROVIDERS:
            return self._plane.providers.respond(name, f"/{rest}", request)
        match name:
            case "hyperpay":
                return self._plane.hyperpay.respond(f"/{rest}", request)
            case "slack":
                return self._plane.slack.respond(f"/{rest}", request)
            case "github":
                return self._plane.github.respond(f"/{rest}", request)
        return None


def _read(environ: dict[str, Any]) -> Request:
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    size = -1 if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        host=headers.get("host", "").partition(":")[0],
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        body=environ["wsgi.input"].read(size),
        source_ip=environ.get("REMOTE_ADDR", "127.0.0.1"),
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
