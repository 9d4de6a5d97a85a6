"""Deploying one commit: which image, which revisions, in which order, and who is told.

    found = deploy.read(rb.clients, sha="", services="", by="directly")
    found.table(), found.differences()      what runs, what is to come, and what differs
    found.plan()
    found.note(rb.clients, applied=True)    a line in the product's file of deployments

Directly: revisions like those that run, with another image, are registered, and the services are
brought to them one after the other; the first that fails keeps the rest from being begun. By the
workflow: GitHub's run does the same, and is followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Headline
from runbook.procedure import rollout
from runbook.settings import Ecs, GitHub
from runbook.studio import definitions, ecs, github, images, migrations, stopped
from runbook.studio.definitions import Definition
from runbook.studio.ecs import Service
from runbook.studio.github import Run
from runbook.studio.images import Image
from runbook.studio.migrations import Head
from runbook.studio.promises import unanswered
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

DIRECTLY, WORKFLOW = "directly", "workflow"
_SHOWN = 12  # signs of a commit
_LEAST = 7  # signs of a commit that are enough to name it
_WHOLE = 40
_NEAR = 5  # commits that a refusal names


@dataclass(frozen=True)
class Deploy:
    """Services in the order in which they are deployed, with what each runs and could run.

    `known` are revisions that have the wanted content already, `failed` the number of tasks of
    the wanted image that failed within the hour; both by service.
    """

    services: tuple[Service, ...]
    now: Mapping[str, Definition]
    images: Mapping[str, tuple[Image, ...]]
    head: Head
    settings: Ecs
    moment: datetime
    by: str
    sha: str
    github: GitHub | None = None
    runs: tuple[Run, ...] = ()
    known: Mapping[str, str] | None = None
    failed: Mapping[str, int] | None = None

    def choose(self) -> str:
        """The whole commit to deploy. Pure.

        Raises BadInput: it is not in ECR for every service, with the nearest ones that are.
        """
        pushed = {name: [one.tag for one in found] for name, found in self.images.items()}
        everywhere = [
            tag
            for tag in next(iter(pushed.values()), [])
            if all(tag in tags for tags in pushed.values())
        ]
        if not self.sha:
            if everywhere:
                return everywhere[0]
            raise BadInput("No commit has an image for each of these services.")
        tags = list(dict.fromkeys(tag for found in pushed.values() for tag in found))
        fitting = [tag for tag in tags if tag.startswith(self.sha)]
        if self.by == WORKFLOW and not fitting and len(self.sha) == _WHOLE:
            return self.sha  # the run builds it
        if len(self.sha) < _LEAST or len(fitting) != 1:
            raise BadInput(
                f"sha: {self.sha!r} is {len(fitting)} of the commits that have an image in ECR, "
                f"from {_LEAST} signs on.",
                next=f"The nearest: {', '.join(self._near(tags))}",
            )
        if lacking := [name for name, found in pushed.items() if fitting[0] not in found]:
            raise BadInput(
                f"{fitting[0][:_SHOWN]} has no image for {', '.join(lacking)}.",
                next=f"Those that all have: {', '.join(one[:_SHOWN] for one in everywhere[:_NEAR])}"
                "; or name the services that it is for.",
            )
        return fitting[0]

    def then(self, service: str) -> Definition:
        """What a service is to run: as now, with the chosen commit. Pure."""
        sha, now = self.choose(), self.now[service]
        told = self.settings.commit_setting
        settings = {told: sha} if told in now.settings else {}
        return now.with_image(tag=sha).with_settings(settings)

    def plan(self) -> Plan:
        """The plan that deploys it; without changes where it runs already. Pure."""
        moving = [one for one in self.services if self._moves(one)]
        names = ", ".join(one.name for one in moving)
        was = ", ".join(one.task_definition for one in moving)
        changes = self._by_workflow(moving) if self.by == WORKFLOW else self._directly(moving)
        sha = self.choose()[:_SHOWN]
        return Plan(
            title=f"Deploy {sha} to {names}" if moving else f"{sha} runs already",
            risk="high",
            changes=changes,
            way_back=f"undo deploys {was} again: one more rolling deployment of each.",
            warnings=tuple(self._warnings(moving)),
        )

    def again(self, clients: Clients) -> Deploy:
        """The same services as they are now."""
        services, now = _read_running(clients, ",".join(one.name for one in self.services))
        return replace(self, services=services, now=now)

    def table(self) -> Table:
        """What each service runs, and what it is to run, to be read."""
        import pandas as pd

        sha = self.choose()
        rows = [
            {
                "service": one.name,
                "runs": one.task_definition,
                "commit": self.now[one.name].tag[:_SHOWN],
                "pushed_days_ago": self._age_days(one.name, self.now[one.name].tag),
                "then": self._becomes(one),
                "its commit": sha[:_SHOWN],
                "its pushed_days_ago": self._age_days(one.name, sha),
            }
            for one in self.services
        ]
        return Table(pd.DataFrame(rows))

    def differences(self) -> Table:
        """Each service's task definition now and then, side by side: what differs, in full; what
        does not, in short."""
        import pandas as pd

        rows = []
        for service in self.services:
            now, then = self.now[service.name], self.then(service.name)
            edits, mine = now.edits_to(then), now.flat()
            rows += [
                {"service": service.name, "what": key, "now": mine.get(key, ""), "then": value}
                for key, value in edits.items()
            ]
            same = _in_short({key: mine[key] for key in mine if key not in edits})
            rows.append({"service": service.name, "what": "same", "now": same, "then": same})
        return Table(pd.DataFrame(rows))

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        commits = {one.name: self.now[one.name].tag for one in self.services}
        told = ", ".join(f"{name} {tag[:_LEAST]}" for name, tag in commits.items())
        whole = rollout.completed(self.services)
        together = len(set(commits.values())) == 1
        says = (
            f"All {len(commits)} services run {next(iter(commits.values()))[:_SHOWN]}."
            if whole and together
            else f"What runs: {told}{'' if whole else '; not all as they should'}."
        )
        return {
            "status": "ok" if whole and together else "warning",
            "says": says,
            "commits": commits,
            "revisions": {one.name: one.task_definition for one in self.services},
            "chosen": self.choose(),
        }

    def note(self, clients: Clients, *, applied: bool) -> Headline:
        """Tell the product's file of deployments, and say how that went: the deployment counts
        either way. A record and no change: it is a line more, once for a run."""
        if not applied:
            return Headline("ok", "Nothing was deployed, so nothing is told.")
        if self.github is None or not self.github.activity:
            return Headline("warning", "Nobody is told: the environment names no file for it.")
        sha, file = self.choose(), self.github.activity
        names = ", ".join(one.name for one in self.services)
        line = (
            f"- {SYSTEM_CLOCK.now():%Y-%m-%dT%H:%M:%SZ} deployed `{sha}` to {names} "
            f"(runbook {clients.run_id})"
        )
        try:
            if self.by == WORKFLOW:
                there = sha in github.read_activity(clients)
            else:
                github.note(clients, line, mark=f"runbook {clients.run_id}")
                there = True
        except unanswered() as error:
            return Headline(
                "warning",
                f"The deployment counts, and {file} does not tell of it: {error} "
                f"Add by hand: {line}",
            )
        if not there:
            return Headline("warning", f"The run has not told {file}. Add by hand: {line}")
        return Headline("ok", f"{file} tells of it.")

    # the changes

    def _moves(self, service: Service) -> bool:
        now = self.now[service.name]
        if self.by == WORKFLOW:
            return now.tag != self.choose()
        return bool(now.edits_to(self.then(service.name)))

    def _directly(self, moving: list[Service]) -> tuple[Change, ...]:
        """All revisions first: what cannot be registered keeps everything as it is."""
        changes = [
            change
            for one in moving
            for change in definitions.plan_deploy(
                one, self.now[one.name], self.then(one.name), known=self._known(one)
            ).changes
        ]
        return tuple(sorted(changes, key=lambda one: one.kind != definitions.REVISION))

    def _by_workflow(self, moving: list[Service]) -> tuple[Change, ...]:
        if not moving or self.github is None:
            return ()
        sha, names = self.choose(), [one.name for one in moving]
        run = github.plan_dispatch(self.runs, self.github, sha=sha, services=names)
        awaited = (
            github.plan_awaited(
                one, self.now[one.name], image=definitions.image(self.now[one.name].repository, sha)
            )
            for one in moving
        )
        return (run, *awaited)

    # what is said

    def _warnings(self, moving: list[Service]) -> Iterable[str]:
        if not moving:
            return
        yield "One after the other; the first that fails keeps the rest as it is."
        if self.head.revisions:
            told = ", ".join(self.head.revisions)
            yield f"The database stays at migration {told}: does this code want a newer one?"
        else:
            yield f"At which migration the database is, is not known ({self.head.why})."
        sha = self.choose()
        for one in moving:
            pushed, mine = (
                self._pushed(one.name, sha),
                self._pushed(one.name, self.now[one.name].tag),
            )
            if pushed and mine and pushed < mine:
                yield f"{one.name}: {sha[:_SHOWN]} is older than what runs."
            if failed := (self.failed or {}).get(one.name):
                yield f"{one.name}: {failed} tasks of this image failed within the last hour."
            if one.deployment and one.deployment.rollout_state == "IN_PROGRESS":
                yield f"{one.name}: {one.deployment.id} is under way; this replaces it."
        if self.by == DIRECTLY and self.github and self.github.activity:
            yield f"{self.github.activity} of {self.github.repository} gets a line afterwards."

    def _becomes(self, service: Service) -> str:
        if not self._moves(service):
            return "the same"
        return self._known(service) or ("by the run" if self.by == WORKFLOW else "a new revision")

    def _known(self, service: Service) -> str:
        return (self.known or {}).get(service.name, "")

    def _pushed(self, service: str, tag: str) -> datetime | None:
        return next((one.pushed_at for one in self.images[service] if one.tag == tag), None)

    def _age_days(self, service: str, tag: str) -> int | None:
        pushed = self._pushed(service, tag)
        return (self.moment - pushed).days if pushed else None

    def _near(self, tags: list[str]) -> list[str]:
        """Those that are spelled nearly so, then the newest."""
        heads = {tag[: max(len(self.sha), _LEAST)]: tag for tag in tags}
        close = [heads[one] for one in get_close_matches(self.sha, heads, n=2, cutoff=0.5)]
        return [one[:_SHOWN] for one in dict.fromkeys([*close, *tags])][:_NEAR]


def read(clients: Clients, *, sha: str, services: str, by: str) -> Deploy:
    """The services, what they run, and what could be deployed to them.

    `services` are names with commas between; empty: all. Raises BadInput for one that is not
    there, and for a commit without an image.
    """
    if by not in (DIRECTLY, WORKFLOW):
        raise BadInput(f"by: expected {DIRECTLY} or {WORKFLOW}, found {by!r}.")
    chosen, now = _read_running(clients, services)
    found = Deploy(
        chosen,
        now,
        {name: _read_images(clients, one) for name, one in now.items()},
        migrations.read_head(clients),
        clients.environment.ecs,
        SYSTEM_CLOCK.now(),
        by,
        sha.strip(),
        clients.environment.github,
    )
    found.choose()
    client = clients.aws("ecs")
    if by == WORKFLOW:
        github.wanted(clients)
        return replace(found, runs=github.read_runs(clients))
    thens = {one.name: found.then(one.name) for one in chosen}
    known = {name: definitions.find(client, then) for name, then in thens.items()}
    failed = {
        one.name: sum(
            task.revision == known[one.name]
            for task in stopped.read_failed(client, cluster=one.cluster, service=one.name)
        )
        for one in chosen
    }
    return replace(found, known=known, failed=failed)


def _read_running(
    clients: Clients, names: str
) -> tuple[tuple[Service, ...], dict[str, Definition]]:
    client, settings = clients.aws("ecs"), clients.environment.ecs
    found = ecs.read_named(client, cluster=settings.cluster, names=names, order=settings.order)
    return found, {one.name: definitions.read(client, one.task_definition) for one in found}


def _read_images(clients: Clients, definition: Definition) -> tuple[Image, ...]:
    """The images of a service's repository, asked for where the repository is."""
    region = definition.repository.split(".")[3] if ".ecr." in definition.repository else ""
    return images.read(clients.aws("ecr", region=region), definition.repository)


def _in_short(same: Mapping[str, str]) -> str:
    """What is the same: `cpu 512, memory 1024, 9 settings, 4 secrets, and all else`."""
    sizes = [f"{key} {same[key]}" for key in ("cpu", "memory") if key in same]
    settings = sum(" setting " in key for key in same)
    secrets = sum(" secret " in key for key in same)
    return ", ".join([*sizes, f"{settings} settings", f"{secrets} secrets", "and all else"])
