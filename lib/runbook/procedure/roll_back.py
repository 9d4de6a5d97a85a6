"""Rolling back: which revision each service goes back to, whether it can start, and the plan.

    found = roll_back.read(rb.clients, services="", to="", revisions=8)
    found.table()                   revisions with commit, age, author; what cannot start, and why
    found.plan()

Without services named, all go back to one commit: the newest before the newest that runs, that
each of them can start. A service that had no part in that commit goes back to what it ran then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.procedure import rollout
from runbook.studio import ecs, migrations, revisions
from runbook.studio.ecs import Service
from runbook.studio.migrations import Head
from runbook.studio.revisions import Revision
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_SHOWN = 12  # signs of a commit
_REMEMBERED = timedelta(hours=1)  # how long ECS knows of stopped tasks
_LEAST = 7  # signs of a commit that are enough to name it


@dataclass(frozen=True)
class Choice:
    """The revision that each service goes back to, and the sentence that says why that one."""

    to: Mapping[str, Revision]
    because: str


@dataclass(frozen=True)
class RollBack:
    """Services in the order in which they are deployed, with their revisions, newest first.

    `named` are the services to roll back, empty: whichever have to; `to` is a commit, a revision,
    or empty.
    """

    services: tuple[Service, ...]
    revisions: Mapping[str, tuple[Revision, ...]]
    head: Head
    now: datetime
    named: tuple[str, ...] = ()
    to: str = ""

    def choose(self) -> Choice:
        """What to go back to. Pure.

        Raises BadInput: what is asked for is not there, or cannot start, or nothing can.
        """
        if ":" in self.to:
            return self._to_revision()
        if self.to:
            return self._to_commit()
        if self.named:
            return self._one_earlier(self.named)
        running = {self._running(one).commit for one in self.services}
        if len(running) > 1:
            return self._before_newest(running)
        return self._one_earlier([one.name for one in self.services if self._is_sick(one)])

    def plan(self) -> Plan:
        """The plan that deploys what was chosen; without changes where it runs already. Pure."""
        choice = self.choose()
        plans = [
            ecs.plan_revision(one, task_definition=choice.to[one.name].name)
            for one in self.services
            if one.name in choice.to
        ]
        changes = tuple(change for plan in plans for change in plan.changes)
        moved = [change.target.rpartition("/")[2] for change in changes]
        was = ", ".join(change.before["task_definition"] for change in changes)
        return Plan(
            title=f"Roll back {', '.join(moved)}" if moved else "Nothing to roll back",
            risk="high",
            changes=changes,
            way_back=f"undo deploys {was} again: one more rolling deployment of each.",
            warnings=(
                choice.because,
                self._of_schema(),
                *(warning for plan in plans for warning in plan.warnings),
                *self._under_way(moved),
            ),
        )

    def again(self, clients: Clients) -> RollBack:
        """The same services as they are now."""
        cluster = clients.environment.ecs.cluster
        client = clients.aws("ecs")
        now = [ecs.read_service(client, cluster=cluster, service=o.name) for o in self.services]
        return replace(self, services=tuple(now))

    def table(self) -> Table:
        """Each service's revisions, and which is to come, to be read."""
        import pandas as pd

        chosen = self._chosen_if_any()
        rows = [
            {
                "service": service.name,
                "revision": one.name.rpartition(":")[2],
                "commit": one.commit[:_SHOWN],
                "age_days": (self.now - one.registered_at).days,
                "by": one.by,
                "now": self._stands(service, one),
                "then": "runs" if chosen.get(service.name) == one else "",
                "can start": "no: " + ", ".join(one.faults) if one.faults else "yes",
                "failed lately": "yes" if one.failed else "",
            }
            for service in self.services
            for one in self.revisions[service.name]
        ]
        return Table(pd.DataFrame(rows), empty="The cluster has no service.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        running = {one.name: self._running(one).commit for one in self.services}
        sick = [one.name for one in self.services if self._is_sick(one)]
        told = [f"{name} {commit[:_LEAST]}" for name, commit in running.items()]
        if sick:
            says = f"{', '.join(sick)} does not run as it should; commits: {', '.join(told)}."
        elif len(set(running.values())) > 1:
            says = f"The services run different commits: {', '.join(told)}."
        else:
            says = f"All {len(running)} services run {next(iter(running.values()))[:_SHOWN]}."
        together = not sick and len(set(running.values())) == 1
        return {
            "status": "critical" if sick else "ok" if together else "warning",
            "says": says,
            "commits": running,
            "revisions": {one.name: one.task_definition for one in self.services},
            "migration_head": list(self.head.revisions),
        }

    # which one

    def _to_revision(self) -> Choice:
        """The revision that was named, of the one service that has it."""
        for name, known in self.revisions.items():
            for one in known:
                if one.name == self.to and self.named in ((), (name,)):
                    self._refuse_unless_it_starts(one)
                    return Choice({name: one}, f"{one.name} was asked for.")
        raise BadInput(
            f"to: there is no active revision {self.to} of {', '.join(self.named) or 'a service'} "
            "among those looked at.",
            next="See the table of revisions; look further back by the parameter revisions.",
        )

    def _to_commit(self) -> Choice:
        """The commit that was named, by its first signs, for the services named, or all."""
        found = [commit for commit in self._commits() if commit.startswith(self.to)]
        if len(self.to) < _LEAST or len(found) != 1:
            raise BadInput(
                f"to: {self.to!r} is {len(found)} of the commits that the services have revisions "
                f"of, from {_LEAST} signs on.",
                next=f"There are: {', '.join(one[:_SHOWN] for one in self._commits())}",
            )
        chosen = self._at(found[0], self.named or tuple(self.revisions))
        for name, one in chosen.items():
            if one is None:
                raise BadInput(f"{name} has no revision as old as {found[0][:_SHOWN]}.")
            self._refuse_unless_it_starts(one)
        return Choice(_without_none(chosen), f"{found[0][:_SHOWN]} was asked for.")

    def _one_earlier(self, names: list[str] | tuple[str, ...]) -> Choice:
        """For each of these the newest revision before its own that can start."""
        chosen = {}
        for service in (one for one in self.services if one.name in names):
            mine = self._running(service)
            older = [one for one in self.revisions[service.name] if one.number < mine.number]
            good = next((one for one in older if self._is_good(one)), None)
            if good is None:
                raise BadInput(
                    f"None of the {len(older)} revisions of {service.name} before {mine.name} that "
                    "were looked at can start.",
                    next="Look further back by the parameter revisions, or mend what is missing.",
                )
            chosen[service.name] = good
        if not chosen:
            return Choice({}, "All services run one commit, and as they should; name those to roll "
                              "back, or the commit.")  # fmt: skip
        told = ", ".join(f"{one.name} ({one.commit[:_SHOWN]})" for one in chosen.values())
        return Choice(chosen, f"{told}: the newest before the present one that can start, and of "
                              "which no task failed within the hour.")  # fmt: skip

    def _before_newest(self, running: set[str]) -> Choice:
        """The newest commit older than the newest running one that every service can start."""
        commits = self._commits()
        newest = min(running, key=commits.index)
        names = tuple(self.revisions)
        for commit in commits[commits.index(newest) + 1 :]:
            chosen = self._at(commit, names)
            if all(one and self._is_good(one) for one in chosen.values()):
                runs = [one.name for one in self.services if self._running(one).commit == commit]
                still = f"; it still runs in {', '.join(runs)}" if runs else ""
                absent = [n for n, one in chosen.items() if one and one.commit != commit]
                part = f" What had no part in it gets what ran then: {', '.join(absent)}."
                return Choice(
                    _without_none(chosen),
                    f"{commit[:_SHOWN]} is the newest commit before {newest[:_SHOWN]} that every "
                    f"service can start{still}.{part if absent else ''}",
                )
        raise BadInput(
            f"No commit before {newest[:_SHOWN]} can be started by every service.",
            next="Name services to roll back each on its own, or look further back (revisions).",
        )

    def _commits(self) -> list[str]:
        """All commits that there are revisions of, the newest first: by their first revision."""
        first: dict[str, datetime] = {}
        for one in (each for known in self.revisions.values() for each in known):
            first[one.commit] = min(one.registered_at, first.get(one.commit, one.registered_at))
        return sorted(first, key=lambda commit: first[commit], reverse=True)

    def _at(self, commit: str, names: tuple[str, ...]) -> dict[str, Revision | None]:
        """What each service ran at a commit: its revision of it, else its newest from before."""
        order = self._commits()
        found: dict[str, Revision | None] = {}
        for service in (one for one in self.services if one.name in names):
            known, mine = self.revisions[service.name], self._running(service)
            if mine.commit == commit and self._is_good(mine):
                found[service.name] = mine
                continue
            until = [one for one in known if order.index(one.commit) >= order.index(commit)]
            exact = [one for one in until if one.commit == commit]
            startable = [one for one in exact if self._is_good(one)]
            found[service.name] = next(iter([*startable, *exact, *until]), None)
        return found

    def _is_good(self, revision: Revision) -> bool:
        """Whether it can start, and no failure of its tasks speaks against it.

        None does while it runs, or, unless it is new, while others run its commit: then its tasks
        failed by something else, such as a database that was away.
        """
        well = [self._running(one) for one in self.services if rollout.completed([one])]
        is_new = self.now - revision.registered_at < _REMEMBERED
        excused = revision in well or (
            not is_new and any(one.commit == revision.commit for one in well)
        )
        return not revision.faults and (excused or not revision.failed)

    def _running(self, service: Service) -> Revision:
        """The revision that ECS works towards."""
        for one in self.revisions[service.name]:
            if one.name == service.task_definition:
                return one
        raise BadInput(
            f"{service.task_definition}, which {service.name} runs, is not among its last "
            f"{len(self.revisions[service.name])} active revisions.",
            next="Look further back: the parameter revisions.",
        )

    def _is_sick(self, service: Service) -> bool:
        return not rollout.completed([service]) or bool(self._running(service).faults)

    def _refuse_unless_it_starts(self, revision: Revision) -> None:
        if revision.faults:
            raise BadInput(
                f"{revision.name} cannot start: {', '.join(revision.faults)}.",
                next="Choose another revision, or bring back what is missing.",
            )

    def _chosen_if_any(self) -> Mapping[str, Revision]:
        """What was chosen; nothing where the plan will be refused: the table tells why."""
        try:
            return self.choose().to
        except BadInput:
            return {}

    # what is said

    def _stands(self, service: Service, revision: Revision) -> str:
        mine = [one for one in service.deployments if one.task_definition == revision.name]
        return ", ".join(one.rollout_state for one in mine)

    def _of_schema(self) -> str:
        if not self.head.revisions:
            return f"At which migration the database is, is not known ({self.head.why})."
        told = ", ".join(self.head.revisions)
        return f"The database stays at migration {told}: older code has to work with it."

    def _under_way(self, names: list[str]) -> list[str]:
        return [
            f"{one.name}: {one.deployment.id} is still being rolled out; this replaces it."
            for one in self.services
            if one.name in names and one.deployment
            and one.deployment.rollout_state == "IN_PROGRESS"
        ]  # fmt: skip


def read(clients: Clients, *, services: str, to: str, revisions_each: int) -> RollBack:
    """The services, their last revisions, and where the schema is.

    `services` are names with commas between. Raises BadInput for one that is not there.
    """
    settings = clients.environment.ecs
    named = ecs.named_in(services)
    client, cluster = clients.aws("ecs"), settings.cluster
    ecs.read_named(client, cluster=cluster, names=services, order=settings.order)
    ordered = ecs.read_named(client, cluster=cluster, names="", order=settings.order)
    return RollBack(
        ordered,
        revisions.read(clients, ordered, most=revisions_each),
        migrations.read_head(clients),
        SYSTEM_CLOCK.now(),
        named,
        to.strip(),
    )


def _without_none(chosen: Mapping[str, Revision | None]) -> dict[str, Revision]:
    return {name: one for name, one in chosen.items() if one}
