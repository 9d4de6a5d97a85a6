"""GitHub: the workflow that deploys, its runs, and the file that says what was deployed.

    plan = github.plan_dispatch(latest, settings, sha="…", services=(…))
    github.note(rb.clients, "- 2026-…", mark="run 2026…")

Dispatching answers nothing, so the run is looked up: the newest one that was dispatched for the
commit. Kinds of change: `github-run` (the workflow is dispatched; target
`workflow:OWNER/NAME/FILE@COMMIT/SERVICES`) and `ecs-awaited` (a service is brought to an image by
that run; on the way back it is deployed here).

Source: https://docs.github.com/en/rest/actions/workflows and …/rest/repos/contents
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable
from runbook.record.journal import Intent
from runbook.settings import GitHub
from runbook.studio import definitions, deployments, ecs
from runbook.studio.ecs import Service
from runbook.wait import Wait

RUN, AWAITED = "github-run", "ecs-awaited"
_SHORT = 7  # signs of a commit in a run's title
_RUN_S, _APPEARS_S = 3600.0, 60.0
_TRIES = 3  # of a commit to a file that others write to as well
_LISTED = 50  # runs that are looked at


@dataclass(frozen=True)
class Run:
    """One run of the workflow. `conclusion` is empty until it is completed."""

    id: str
    commit: str
    title: str
    status: str
    conclusion: str
    url: str
    created_at: datetime

    def is_for(self, sha: str) -> bool:
        """Whether it deploys that commit: GitHub keeps no inputs, so its title has to say so."""
        return self.commit == sha or sha[:_SHORT] in self.title


def wanted(clients: Clients) -> GitHub:
    """The environment's repository. Raises BadInput when it names none."""
    found = clients.environment.github
    if found is None:
        raise BadInput(f"{clients.environment.name} names no repository (github: …).")
    return found


def read_runs(clients: Clients) -> tuple[Run, ...]:
    """The last runs of the workflow that somebody dispatched, newest first.

    Raises NotReachable: GitHub does not answer, or refuses.
    """
    path = f"actions/workflows/{wanted(clients).workflow}/runs"
    answer = _ask(clients, f"{path}?event=workflow_dispatch&per_page={_LISTED}")
    return tuple(_run(one) for one in answer["workflow_runs"])


def newest_for(runs: Sequence[Run], sha: str) -> Run | None:
    """The newest of these runs that deploys a commit. Pure."""
    return next((one for one in runs if one.is_for(sha)), None)


def plan_dispatch(
    runs: Sequence[Run], settings: GitHub, *, sha: str, services: Sequence[str]
) -> Change:
    """The change that dispatches the workflow for a commit. Pure."""
    latest = newest_for(runs, sha)
    return Change(
        RUN,
        f"workflow:{settings.repository}/{settings.workflow}@{sha}/{','.join(services)}",
        before={"run": latest.id if latest else ""},
        after={"run": KNOWN_AFTER_APPLY},
    )


def plan_awaited(service: Service, now: definitions.Definition, *, image: str) -> Change:
    """The change that waits for the run to bring a service to an image. Pure."""
    return Change(
        AWAITED,
        service.target,
        before={"task_definition": service.task_definition, "image": now.image},
        after={"task_definition": KNOWN_AFTER_APPLY, "image": image},
    )


def note(clients: Clients, line: str, *, mark: str) -> bool:
    """Append a line to the file that says what was deployed, as a commit of its own.

    Gives False when a line with `mark` is there already. Raises NotReachable: GitHub does not
    answer or refuses, and BadInput when the environment names no such file.
    """
    settings = wanted(clients)
    if not settings.activity:
        raise BadInput(f"{clients.environment.name} keeps no file of deployments.")
    for _ in range(_TRIES):
        found = _ask(clients, f"contents/{settings.activity}?ref={settings.branch}")
        content = base64.b64decode(found["content"]).decode("utf-8")
        if mark in content:
            return False
        whole = f"{content}{'' if content.endswith(chr(10)) else chr(10)}{line}\n"
        body = {
            "message": f"{settings.activity}: {mark}",
            "content": base64.b64encode(whole.encode()).decode(),
            "sha": found["sha"],
            "branch": settings.branch,
        }
        if _ask(clients, f"contents/{settings.activity}", "PUT", body, lost=409) is not None:
            return True
    raise NotReachable(f"{settings.activity} was changed by others {_TRIES} times in between.")


def read_activity(clients: Clients) -> str:
    """What the file of deployments says. Raises NotReachable."""
    settings = wanted(clients)
    found = _ask(clients, f"contents/{settings.activity}?ref={settings.branch}")
    return base64.b64decode(found["content"]).decode("utf-8")


def _ask(
    clients: Clients,
    path: str,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
    *,
    lost: int = 0,
) -> Any:
    """Ask the API of the repository; None for the status `lost`, which a caller expects.

    Raises NotReachable for every other refusal, with GitHub's own words.
    """
    settings = wanted(clients)
    token = clients.kept(settings.token, "GITHUB_TOKEN").reveal()
    status, text = clients.ask(
        f"{settings.api}/repos/{settings.repository}/{path}",
        method=method,
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
        body=json.dumps(body).encode() if body is not None else None,
        timeout_s=settings.timeout_s,
    )
    if status == lost:
        return None
    try:
        answer = json.loads(text) if text else {}
    except ValueError:
        answer = {}
    if not 200 <= status < 300:
        said = str(answer.get("message", ""))[:200]
        raise NotReachable(f"GitHub answers {status} to {method} {path.partition('?')[0]}: {said}")
    return answer


def _run(found: Mapping[str, Any]) -> Run:
    return Run(
        id=str(found["id"]),
        commit=found["head_sha"],
        title=found.get("display_title", ""),
        status=found["status"],
        conclusion=found.get("conclusion") or "",
        url=found.get("html_url", ""),
        created_at=datetime.fromisoformat(found["created_at"]),
    )


# the kinds of change


def _named(target: str) -> tuple[str, str]:
    """Commit and services of a target."""
    sha, _, services = target.rpartition("@")[2].partition("/")
    return sha, services


def _read_run(clients: Clients, target: str) -> Json:
    sha, _ = _named(target)
    found = newest_for(read_runs(clients), sha)
    return {"run": found.id if found else ""}


def _dispatch(clients: Clients, change: Change, intent: Intent) -> None:
    """Dispatch it, and wait until its run is to be seen."""
    sha, services = _named(change.target)
    settings = wanted(clients)
    body = {"ref": settings.branch, "inputs": {"sha": sha, "services": services}}
    _ask(clients, f"actions/workflows/{settings.workflow}/dispatches", "POST", body)
    Wait(_APPEARS_S, factor=clients.environment.waits.factor).until(
        lambda: _read_run(clients, change.target) != change.before,
        what=f"the run of {settings.workflow} to be seen",
    )


def _judge_awaited(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do even where the run was faster: what it has brought belongs to this change."""
    found = definitions.read_deployed(clients, change.target)
    if matches(change.before, found) or matches(change.after, found):
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def _await(clients: Clients, change: Change, intent: Intent) -> None:
    """Wait for the run to bring the service there; on the way back deploy it here."""
    revision = change.after["task_definition"]
    if revision != KNOWN_AFTER_APPLY:
        definitions.bring(clients, change.target, revision)
        return
    image, seen = change.after["image"], set[str]()
    Wait(_RUN_S, factor=clients.environment.waits.factor).until(
        lambda: _has_come(clients, change.target, image, seen),
        what=f"the workflow to bring {ecs.named(change.target)[1]} to {image}",
    )


def _has_come(clients: Clients, target: str, image: str, seen: set[str]) -> bool:
    """Whether the service runs the image. Raises Failed when the run ended otherwise."""
    run = None
    with suppress(NotReachable):  # the services tell as well how far it has come
        run = newest_for(read_runs(clients), image.rpartition(":")[2])
    found = definitions.read_deployed(clients, target)
    if run:
        _tell(seen, f"run {run.id}: {run.conclusion or run.status}")
    if found["image"] == image and found["completed"]:
        return True
    if run and run.status == "completed" and (run.conclusion != "success" or found["completed"]):
        cluster, name = ecs.named(target)
        service = ecs.read_service(clients.aws("ecs"), cluster=cluster, service=name)
        reasons = deployments.why_image(clients, service, image=image)
        raise Failed(
            f"The run {run.id} ended in {run.conclusion} ({run.title}), and {name} runs "
            f"{found['image'].rpartition('/')[2]}. {reasons}".strip(),
            next=f"Read its log: {run.url}",
        )
    return False


def _tell(seen: set[str], line: str) -> None:
    if line not in seen:
        seen.add(line)
        print(line, flush=True)


register(
    RUN,
    read=_read_run,
    apply=_dispatch,
    take_back=lambda change, rows, done: None,  # what it deployed is taken back service by service
)
register(AWAITED, read=definitions.read_deployed, apply=_await, judge=_judge_awaited)
