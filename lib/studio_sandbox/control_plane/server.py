"""What stands between a request and moto: caller, faults, overlay, call log, control."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane import aws_error, config, names, overlay, request
from studio_sandbox.control_plane.aws_error import NotInSandbox, SandboxError
from studio_sandbox.control_plane.behaviours import Behaviours
from studio_sandbox.control_plane.cache import Cache
from studio_sandbox.control_plane.call_log import CallLog
from studio_sandbox.control_plane.faults import Cut, Faults
from studio_sandbox.control_plane.misfortunes import Misfortunes
from studio_sandbox.control_plane.moto_adapter import core, iam
from studio_sandbox.control_plane.request import AwsRequest
from studio_sandbox.control_plane.scheduler import Scheduler
from studio_sandbox.control_plane.seed import releases
from studio_sandbox.control_plane.seed.releases import Release
from studio_sandbox.control_plane.seed.world import World
from studio_sandbox.control_plane.studio import SEED, Studio
from studio_sandbox.control_plane.vitals import Vitals
from studio_sandbox.data_plane.plane import DataPlane

# What the Studio runs on. moto has more, and would answer for it with a believable nothing.
_SERVICES = {
    "acm",
    "application-autoscaling",
    "cloudtrail",
    "ec2",
    "ecr",
    "ecs",
    "elasticache",
    "elasticloadbalancing",
    "iam",
    "kms",
    "logs",
    "monitoring",
    "rds",
    "route53",
    "s3",
    "secretsmanager",
    "ses",
    "sns",
    "sts",
    "tagging",
}
# Operations that moto answers with an empty list where AWS would have something to tell.
_BELIEVABLE_NOTHING = {
    ("rds", "DescribeEvents"): "moto keeps no events of clusters; CloudTrail has the calls",
}
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 500: "Error"}
_CODE = re.compile(rb"<Code>([^<]+)<|__type\W+(?:[\w.]+#)?(\w+)")
StartResponse = Callable[..., Any]


class ControlPlane:
    """The WSGI application: `/sandbox/…` is ours, everything else is AWS's."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.calls = CallLog()
        self.faults = Faults()
        self.behaviours = Behaviours()
        regions = (studio.config.region, studio.config.backup_region)
        vitals = Vitals()
        self.scheduler = Scheduler(studio.account, regions, self.behaviours, vitals)
        cache = Cache(studio.config)
        self.misfortunes = Misfortunes(studio.account, regions[0], cache, studio.databases)
        self.data_plane = DataPlane(
            studio.account,
            regions,
            lost_region=lambda: self.misfortunes.lost_region,
            scheduler=self.scheduler,
            behaviours=self.behaviours,
            vitals=vitals,
            note_call=self._note_workflow,
            releases=self._releases(),
        )
        self._moto = core.application()

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        # read whole, whatever becomes of it: an answer before the end would reset the connection
        chunked = environ.get("wsgi.input_terminated")
        size = -1 if chunked else int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"].startswith("/sandbox/"):
            return self._control(environ, body, start)
        asked = request.read(environ, body)
        if asked is None:
            return self._unsigned(environ, start)
        try:
            return self._aws(environ, asked, start)
        except Cut:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise  # which tells the server that nobody is there any more

    # AWS

    def _aws(
        self, environ: dict[str, Any], asked: AwsRequest, start: StartResponse
    ) -> Iterable[bytes]:
        request_id = str(uuid.uuid4())
        caller, fault = iam.Caller(name="", arn=""), None
        error, status = "", 0
        chunks: Iterable[bytes] = []

        def remember(status_line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = int(status_line.split(" ", 1)[0])
            return start(status_line, headers, *rest)

        try:
            with core.LOCK:  # nobody is unknown while a reset is under way
                caller = iam.caller(self.studio.account, asked.access_key, protocol=asked.protocol)
            if asked.region == self.misfortunes.lost_region:
                raise Cut
            fault = self.faults.take(asked)
            if fault:
                fault.before(asked, caller.arn)
            chunks = self._answer(environ, asked, remember)
            error = _error_code(b"".join(chunks)) if status >= 400 else ""
            if asked.service == "ecs" and not asked.read_only:
                self.scheduler.wake()
        except SandboxError as raised:
            status, error = raised.status, raised.code
            chunks = _send(start, *aws_error.answer(raised, asked, request_id))
        self._record(asked, caller, request_id, status, error)
        if fault:
            fault.after()
        return chunks

    def _answer(
        self, environ: dict[str, Any], asked: AwsRequest, start: StartResponse
    ) -> Iterable[bytes]:
        if asked.service not in _SERVICES:
            raise NotInSandbox(f"{asked.service} {asked.action}; the Studio has no such service")
        if reason := _BELIEVABLE_NOTHING.get((asked.service, asked.action)):
            raise NotInSandbox(f"{asked.action}: {reason}")
        if operation := overlay.find(asked):
            context = overlay.Context(self.studio.account, self.calls)
            return _give(start, operation(asked, context))
        answer = _Answer()
        try:
            with core.LOCK:
                chunks = list(self._moto(environ, answer))
        except NotImplementedError as missing:
            raise NotInSandbox(f"{asked.service} {asked.action}") from missing
        except SandboxError:
            raise
        except Exception as crash:
            # moto raises bare exceptions where AWS has an error of its own
            traceback.print_exc(file=sys.stderr)
            raise NotInSandbox(
                f"{asked.service} {asked.action} failed inside moto: {crash!r}"
            ) from crash
        if answer.is_page_not_found(chunks):
            raise NotInSandbox(f"{asked.service} {asked.action}")
        start(answer.status, answer.headers)
        return chunks

    def _record(
        self, asked: AwsRequest, caller: iam.Caller, request_id: str, status: int, error: str
    ) -> None:
        self.calls.record(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            source=f"{asked.service}.amazonaws.com",
            action=asked.action,
            region=asked.region,
            read_only=asked.read_only,
            user=caller.name,
            arn=caller.arn,
            access_key=asked.access_key,
            user_agent=asked.user_agent,
            source_ip=asked.source_ip,
            request_id=request_id,
            status=status,
            error=error,
            parameters=asked.parameters,
        )

    def _releases(self) -> list[Release]:
        """What went out before the anchor."""
        world = World(self.studio.config, self.studio.anchor, SEED)
        return releases.of_service(world, names.BACKEND)

    def _note_workflow(self, action: str, parameters: dict[str, Any]) -> None:
        """A call of the deployment workflow, which is played in process."""
        role = f"arn:aws:sts::{self.studio.account}:assumed-role/{names.DEPLOY_ROLE}/GitHubActions"
        self.calls.record(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            source="ecs.amazonaws.com",
            action=action,
            region=self.studio.config.region,
            read_only=False,
            user="GitHubActions",
            arn=role,
            access_key="",
            user_agent="aws-actions/amazon-ecs-deploy-task-definition",
            source_ip="127.0.0.1",
            request_id=str(uuid.uuid4()),
            status=200,
            error="",
            parameters=parameters,
        )

    def _unsigned(self, environ: dict[str, Any], start: StartResponse) -> list[bytes]:
        text = f"{environ['PATH_INFO']}: this is the Studio's sandbox; AWS requests are signed.\n"
        return _send(start, 403, [("Content-Type", "text/plain")], text.encode())

    # control

    def _control(self, environ: dict[str, Any], body: bytes, start: StartResponse) -> list[bytes]:
        route = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        try:
            status, answer = self._route(route, environ.get("QUERY_STRING", ""), body)
        except (ValueError, KeyError, TypeError) as wrong:
            status, answer = 400, {"error": f"{type(wrong).__name__}: {wrong}"}
        headers = [("Content-Type", "application/json")]
        return _send(start, status, headers, json.dumps(answer).encode())

    def _route(self, route: tuple[str, str], query: str, body: bytes) -> tuple[int, Any]:
        match route:
            case ("GET", "/sandbox/health"):
                return 200, {"healthy": True, "anchor": self.studio.anchor.isoformat()}
            case ("GET", "/sandbox/calls"):
                return 200, self.calls.since(int(query.removeprefix("since=") or 0))
            case ("GET", "/sandbox/faults"):
                return 200, self._ordered()
            case ("POST", "/sandbox/faults"):
                given = json.loads(body)
                self._order(given if isinstance(given, list) else [given])
                return 200, self._ordered()
            case ("DELETE", "/sandbox/faults"):
                self._clear_orders(query.removeprefix("image="))
                return 200, self._ordered()
            case ("GET", "/sandbox/data-plane"):
                return 200, self.data_plane.told()
            case ("POST", "/sandbox/data-plane"):
                given = json.loads(body)
                self.data_plane.order(given if isinstance(given, list) else [given])
                return 200, self.data_plane.told()
            case ("DELETE", "/sandbox/data-plane"):
                self.data_plane.orders.clear(query.removeprefix("order="))
                return 200, self.data_plane.told()
            case ("POST", "/sandbox/misfortunes"):
                return 200, {"happened": self.misfortunes.happen(json.loads(body)["misfortune"])}
            case ("DELETE", "/sandbox/misfortunes"):
                return 200, {"happened": self.misfortunes.undo(query.removeprefix("misfortune="))}
            case ("POST", "/sandbox/hold"):
                self.data_plane.hold()
                self.misfortunes.undo()  # what is replaced has to be reached
                return 200, {"held": True}
            case ("POST", "/sandbox/reset"):
                return 200, self._reset(config.parse_anchor(json.loads(body)["anchor"]))
        return 404, {"error": f"{' '.join(route)} is not here"}

    def begin(self) -> None:
        """The servers are filled: history begins, and things happen where they shall."""
        self.studio.begin_history()
        if not self.studio.config.still:
            self.data_plane.begin()

    def _reset(self, anchor: datetime) -> dict[str, Any]:
        self.data_plane.hold()
        with core.LOCK:
            self.studio.seed(anchor)
            self._clear_orders()
            self.data_plane.go(self._releases())
        self.studio.begin_history()
        self.calls.clear()
        return {"reset": True, "anchor": anchor.isoformat()}

    def _ordered(self) -> dict[str, Any]:
        return {"faults": self.faults.pending(), "behaviours": self.behaviours.ordered()}

    def _order(self, given: list[dict[str, Any]]) -> None:
        """Faults of calls, and behaviours of revisions: these have a key of that name."""
        self.behaviours.order([one for one in given if "behaviour" in one])
        self.faults.order([one for one in given if "behaviour" not in one])
        self.scheduler.wake()

    def _clear_orders(self, image: str = "") -> None:
        """All of them, or the behaviours of one image alone."""
        if not image:
            self.faults.clear()
        self.behaviours.clear(image)
        self.scheduler.wake()


class _Answer:
    """What moto began to answer, kept until it is known to be AWS's kind of answer."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], *_rest: Any) -> None:
        self.status, self.headers = status, headers

    def is_page_not_found(self, chunks: list[bytes]) -> bool:
        """Flask's own page: no operation of moto's has this path."""
        return self.status.startswith("404") and b"".join(chunks).startswith(b"<!doctype html>")


def _error_code(body: bytes) -> str:
    """The code in an error of moto's, in XML, JSON or CBOR; an answer to HEAD has none."""
    found = _CODE.search(body)
    return (found[1] or found[2]).decode() if found else "Error"


def _send(
    start: StartResponse, status: int, headers: list[tuple[str, str]], body: bytes
) -> list[bytes]:
    start(
        f"{status} {_REASONS.get(status, 'Error')}",
        [*headers, ("Content-Length", str(len(body)))],
    )
    return [body]


def _give(start: StartResponse, answer: dict[str, Any] | overlay.Stream) -> Iterable[bytes]:
    if isinstance(answer, overlay.Stream):
        start("200 OK", [("Content-Type", answer.content_type)])
        return answer.events
    headers = [("Content-Type", "application/json")]
    return _send(start, 200, headers, json.dumps(answer).encode())
