"""GitHub, played: the workflow that deploys, its runs, and the file that it appends to.

A dispatched run is queued, builds, and then really deploys, when its inputs name a `sha` (and
`services`, by names with commas; all of them otherwise). It moves on whenever somebody looks.
Source: https://docs.github.com/en/rest/actions/workflows
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane import names, pace
from studio_sandbox.control_plane.seed.releases import Release
from studio_sandbox.data_plane.http import Request, Response, answer
from studio_sandbox.data_plane.orders import Orders, WorkflowFails
from studio_sandbox.data_plane.rollout import ORDER, Rollout

WORKFLOW, FILE = "app.yml", "ACTIVITY.md"
_QUEUED_S, _BUILD_S = 20, 100  # on AWS
_MOST_RUNS = 100
Begin = Callable[[list[str], str], Rollout]


@dataclass
class Run:
    """One run of the workflow. `since` is of a clock that never jumps."""

    id: int
    number: int
    sha: str
    created: datetime
    status: str = "completed"
    conclusion: str | None = "success"
    updated: datetime | None = None
    since: float = 0.0
    inputs: dict[str, Any] = field(default_factory=dict)
    event: str = "push"
    rollout: Rollout | None = None
    told: str = ""

    def move(self, status: str, conclusion: str | None = None) -> None:
        """Come into another status."""
        self.status, self.conclusion = status, conclusion
        self.since, self.updated = time.monotonic(), datetime.now(UTC)


class GitHub:
    """One repository. Safe between threads."""

    def __init__(self, orders: Orders, begin_rollout: Begin) -> None:
        self._orders, self._begin_rollout = orders, begin_rollout
        self._lock = threading.Lock()
        self._runs: list[Run] = []
        self._file = b""

    def begin(self, releases: list[Release]) -> None:
        """Start anew: a run, and a line of the file, for each release so far."""
        with self._lock:
            self._runs = [
                Run(9_100_000_000 + 7919 * n, n, one.sha, one.built, updated=one.registered)
                for n, one in enumerate(releases, start=1)
            ]
            lines = [_line(run.created, run, "all services") for run in self._runs]
            self._file = ("# Activity\n\n" + "".join(lines)).encode()

    def step(self) -> None:
        """Bring every run on as far as it has come by now."""
        with self._lock:
            for run in self._runs:
                if run.status != "completed":
                    self._move(run)

    def respond(self, path: str, request: Request) -> Response:
        """The REST API of one repository, whatever it is called."""
        self.step()
        parts = path.strip("/").split("/")
        if parts[:1] != ["repos"] or len(parts) < 4:
            return _not_found()
        if request.method != "GET" and not request.headers.get("authorization"):
            return answer(401, {"message": "Requires authentication"})
        repository, rest = "/".join(parts[1:3]), parts[3:]
        with self._lock:
            return self._respond(repository, rest, request)

    def _respond(self, repository: str, rest: list[str], request: Request) -> Response:
        match (request.method, rest):
            case ("POST", ["actions", "workflows", file, "dispatches"]) if file == WORKFLOW:
                return self._dispatch(request)
            case ("GET", ["actions", "workflows", file, "runs"]) if file == WORKFLOW:
                return self._list(repository, request)
            case ("GET", ["actions", "runs"]):
                return self._list(repository, request)
            case ("GET", ["actions", "runs", number]):
                found = [one for one in self._runs if str(one.id) == number]
                return answer(200, _described(repository, found[0])) if found else _not_found()
            case ("GET", ["contents", file]) if file == FILE:
                return answer(200, self._content())
            case ("PUT", ["contents", file]) if file == FILE:
                return self._put(request)
        return _not_found()

    def _dispatch(self, request: Request) -> Response:
        given = request.data()
        if not given.get("ref"):
            return answer(422, {"message": "Invalid request. 'ref' wasn't supplied."})
        inputs = dict(given.get("inputs") or {})
        unknown = set(_services(inputs)) - set(ORDER)
        if unknown:
            return answer(422, {"message": f"Unexpected inputs: {', '.join(sorted(unknown))}"})
        last = self._runs[-1]
        sha = str(inputs.get("sha") or last.sha)
        run = Run(last.id + 7919, last.number + 1, sha, datetime.now(UTC), inputs=inputs)
        run.event = "workflow_dispatch"
        run.move("queued")
        self._runs = [*self._runs, run][-_MOST_RUNS:]
        return Response(204)

    def _move(self, run: Run) -> None:
        passed = time.monotonic() - run.since
        if run.status == "queued":
            if passed >= pace.seconds(_QUEUED_S):
                run.move("in_progress")
        elif run.rollout is None:
            if passed >= pace.seconds(_BUILD_S):
                self._built(run)
        elif run.rollout.step():
            run.told = run.rollout.failed
            self._end(run, "failure" if run.told else "success")

    def _built(self, run: Run) -> None:
        if self._orders.first(WorkflowFails):
            run.told = "the build failed"
            self._end(run, "failure")
        elif run.inputs.get("sha"):
            run.rollout = self._begin_rollout(_services(run.inputs), run.sha)
        else:
            self._end(run, "success")

    def _end(self, run: Run, conclusion: str) -> None:
        run.move("completed", conclusion)
        if conclusion == "success" and run.rollout:
            services = ", ".join(map(names.container, _services(run.inputs)))
            self._file += _line(datetime.now(UTC), run, services).encode()

    def _list(self, repository: str, request: Request) -> Response:
        asked = dict(request.pairs())
        found = [
            run
            for run in reversed(self._runs)
            if asked.get("event", run.event) == run.event
            and asked.get("status", run.status) in (run.status, run.conclusion)
            and asked.get("head_sha", run.sha) == run.sha
        ]
        size, first = int(asked.get("per_page", 30)), int(asked.get("page", 1)) - 1
        shown = found[first * size : (first + 1) * size]
        runs = [_described(repository, run) for run in shown]
        return answer(200, {"total_count": len(found), "workflow_runs": runs})

    def _content(self) -> dict[str, Any]:
        return {
            "type": "file",
            "name": FILE,
            "path": FILE,
            "encoding": "base64",
            "size": len(self._file),
            "sha": _blob(self._file),
            "content": base64.encodebytes(self._file).decode(),
        }

    def _put(self, request: Request) -> Response:
        given = request.data()
        if "content" not in given or "message" not in given:
            return answer(422, {"message": "Invalid request. 'content' or 'message' is missing."})
        if given.get("sha") != _blob(self._file):
            return answer(409, {"message": f"{FILE} does not match {given.get('sha')}"})
        self._file = base64.b64decode(given["content"])
        commit = {"message": given["message"], "sha": _blob(self._file + b"commit")}
        return answer(200, {"content": self._content(), "commit": commit})


def _services(inputs: dict[str, Any]) -> list[str]:
    """The services that a run is for: `backend` and `ai-studio-backend` are the same."""
    named = [one.strip() for one in str(inputs.get("services") or "").split(",") if one.strip()]
    known = {names.container(service): service for service in ORDER}
    return [known.get(one, one) for one in named] or list(ORDER)


def _described(repository: str, run: Run) -> dict[str, Any]:
    url = f"https://github.com/{repository}/actions/runs/{run.id}"
    return {
        "id": run.id,
        "name": "Deploy",
        "path": f".github/workflows/{WORKFLOW}",
        "run_number": run.number,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "head_branch": "main",
        "head_sha": run.sha,
        "display_title": run.told or f"Deploy {run.sha[:7]}",
        "created_at": _time(run.created),
        "updated_at": _time(run.updated or run.created),
        "html_url": url,
    }


def _line(moment: datetime, run: Run, services: str) -> str:
    return f"- {_time(moment)} deployed `{run.sha}` to {services} (run {run.number})\n"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _blob(content: bytes) -> str:
    """The id that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


def _not_found() -> Response:
    return answer(404, {"message": "Not Found"})
