"""Switching a family of models to another provider: who is in trouble, who takes over, the plan.

    found = switch_provider.read(rb.clients, away_from="", families="", to="", minutes=15)
    found.provider_table(), found.family_table()
    found.plan()
    switch_provider.plot(rb.clients, …)

Trouble is that a provider refuses our key, what its status page says, or what the requests to it
came to: too many have failed, or they took so many times as long as in the hour before. Who
answers for a family is a setting of the service's task definition; its fallback becomes the one
that is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.picture import Picture
from runbook.procedure import rollout
from runbook.settings import Providers
from runbook.studio import definitions, ecs, logs, outside, providers
from runbook.studio.definitions import Definition
from runbook.studio.ecs import Service
from runbook.studio.logs import Window
from runbook.studio.outside import Said
from runbook.studio.providers import Rate
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK, DeadlinePassed, Wait

if TYPE_CHECKING:
    import pandas as pd

_KEY = {True: "accepted", False: "refused", None: "no answer"}
_HALF = 50.0  # per cent of requests that failed: who fails more is no way out
_BEFORE_MINUTES = 60  # that the last minutes are compared with


@dataclass(frozen=True)
class Switch:
    """The service that asks providers, what it is set to, and how each of them answers.

    `lately` and `before` are rates by provider; `away_from`, `families` and `to` are what was
    asked for, empty: whoever is in trouble, all that prefer it, each family's fallback.
    """

    service: Service
    now: Definition
    settings: Providers
    lately: Mapping[str, Rate]
    before: Mapping[str, Rate]
    pages: Mapping[str, Said]
    accepted: Mapping[str, bool | None]  # our key, now
    minutes: int
    away_from: str = ""
    families: tuple[str, ...] = ()
    to: str = ""
    known: str = ""  # a revision that has these settings already

    @property
    def sick(self) -> dict[str, str]:
        """Providers in trouble, and what tells of it."""
        return {name: why for name in self.settings.known if (why := self._why_sick(name))}

    @property
    def to_leave(self) -> list[str]:
        """Of those in trouble the ones that are so by a sign of now; without any, all of them:
        figures may be of before."""
        now = [
            name for name in self.sick if self.pages[name].troubled or self.accepted[name] is False
        ]
        return now or list(self.sick)

    def moves(self) -> dict[str, str]:
        """The families that change hands, and whose they become. Pure.

        Raises BadInput: nobody else can take one over, or what is asked for is not there.
        """
        leaving = [self.away_from] if self.away_from else self.to_leave
        chosen = self.families or tuple(self.settings.families)
        if self.families and not self.away_from:
            leaving = [self._answers(name) for name in self.families]
        return {name: self._taker(name) for name in chosen if self._answers(name) in leaving}

    def then(self) -> Definition:
        """The task definition with these settings. Who is left becomes the fallback. Pure."""
        wanted = {}
        for name, taker in self.moves().items():
            family = self.settings.families[name]
            wanted[family.setting] = taker
            if self.now.settings.get(family.fallback) == taker:
                wanted[family.fallback] = self._answers(name)
        return self.now.with_settings(wanted)

    def plan(self) -> Plan:
        """The plan that deploys these settings; without changes where nothing moves. Pure."""
        moves = self.moves()
        plan = definitions.plan_deploy(self.service, self.now, self.then(), known=self.known)
        told = ", ".join(f"{name} to {taker}" for name, taker in moves.items())
        return replace(
            plan,
            title=f"Switch {told}" if moves else "Nothing to switch",
            warnings=tuple(self._warnings(moves)),
        )

    def after(self, clients: Clients) -> Switch:
        """How providers answer since the service's last deployment, and did in as many minutes
        before it. Waits a while for the first requests."""
        cluster, client = self.service.cluster, clients.aws("ecs")
        service = ecs.read_service(client, cluster=cluster, service=self.service.name)
        began = service.deployment.created_at if service.deployment else None
        since = began or SYSTEM_CLOCK.now()
        takers = set(self.moves().values())
        return replace(
            self,
            service=service,
            now=definitions.read(client, service.task_definition),
            lately=_wait_for_requests(clients, since, takers),
            before=providers.read_rates(clients, _before(since, self.minutes)),
            pages=_read_pages(clients),
            accepted=_try_keys(clients),
        )

    def provider_table(self) -> Table:
        """How each provider answers, lately and in the hour before, and what it says itself."""
        import pandas as pd

        rows = [
            {
                "provider": name,
                "status page": self.pages[name].says,
                "our key": _KEY[self.accepted[name]],
                "requests": _about(self.lately[name].requests),
                "failed %": _about(self.lately[name].failed_percent, digits=1),
                "average ms": _about(self.lately[name].average_ms),
                "before: requests": _about(self.before[name].requests),
                "before: failed %": _about(self.before[name].failed_percent, digits=1),
                "before: average ms": _about(self.before[name].average_ms),
                "in trouble": self.sick.get(name, ""),
            }
            for name in self.settings.known
        ]
        return Table(pd.DataFrame(rows))

    def family_table(self) -> Table:
        """Who answers for each family, who is to, and who else could."""
        import pandas as pd

        moves = self._moves_if_any()
        rows = [
            {
                "family": name,
                "setting": family.setting,
                "now": self._answers(name),
                "fallback": self.now.settings.get(family.fallback, ""),
                "then": moves.get(name, ""),
                "could": ", ".join(family.providers),
            }
            for name, family in self.settings.families.items()
        ]
        return Table(pd.DataFrame(rows))

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        used = {name: self._answers(name) for name in self.settings.families}
        hit = [name for name in self.sick if name in used.values()]
        told = "; ".join(f"{name}: {why}" for name, why in self.sick.items())
        answering = ", ".join(f"{name} by {one}" for name, one in used.items())
        whole = rollout.completed([self.service])
        status: Status = "critical" if hit else "warning" if self.sick or not whole else "ok"
        return {
            "status": status,
            "says": f"{told or 'No provider is in trouble'}. Answered are {answering}"
            f"{'' if whole else f'; {self.service.name} is not whole'}.",
            "sick": sorted(self.sick),
            "to_leave": self.to_leave,
            "answered_by": used,
            "revision": self.service.task_definition,
            "failed_percent": {
                name: round(rate.failed_percent, 2) for name, rate in self.lately.items()
            },
            "average_ms": {name: round(rate.average_ms) for name, rate in self.lately.items()},
        }

    def _why_sick(self, name: str) -> str:
        lately, before, found = self.lately[name], self.before[name], []
        if self.accepted[name] is False:
            found.append("it refuses our key")
        if self.pages[name].troubled:
            found.append(f"its status page says {self.pages[name].says!r}")
        enough = lately.requests >= self.settings.least_requests
        if enough and lately.failed_percent > self.settings.errors_percent.critical:
            found.append(f"{lately.failed_percent:.0f} % of its requests failed")
        compared = enough and before.requests >= self.settings.least_requests
        if compared and lately.average_ms > self.settings.slower_times * before.average_ms:
            found.append(f"{lately.average_ms / before.average_ms:.1f} times as slow as before")
        return ", ".join(found)

    def _is_well(self, name: str) -> bool:
        return name not in self.sick

    def _may_be_well_again(self, name: str) -> bool:
        """By its own word, and it accepts our key now. Its figures may be of before: whoever is
        asked no more shows no recovery in them. The plan says what they are."""
        most = self.lately[name].failed_percent < _HALF
        return most and not self.pages[name].troubled and bool(self.accepted[name])

    def _answers(self, family: str) -> str:
        return self.now.settings.get(self.settings.families[family].setting, "")

    def _taker(self, name: str) -> str:
        """Who takes a family over: the one asked for, else its fallback, else anybody who can."""
        family, mine = self.settings.families[name], self._answers(name)
        if self.to:
            if self.to not in family.providers:
                raise BadInput(
                    f"to: {self.to!r} has no models for {name}.",
                    next=f"Those that have: {', '.join(family.providers)}.",
                )
            return self.to
        could = [self.now.settings.get(family.fallback, ""), *family.providers]
        able = [one for one in could if one in family.providers and one != mine]
        for allowed in (self._is_well, self._may_be_well_again):
            if found := next(filter(allowed, able), None):
                return found
        raise BadInput(
            f"Nobody who is well can take {name} over from {mine}.",
            next="Name one by the parameter to, or wait for the provider.",
        )

    def _moves_if_any(self) -> Mapping[str, str]:
        """What moves; nothing where the plan will be refused: it says why."""
        try:
            return self.moves()
        except BadInput:
            return {}

    def _warnings(self, moves: Mapping[str, str]) -> Iterator[str]:
        for name, taker in moves.items():
            yield f"{name}: from {self._answers(name)} to {taker}; prices and answers differ."
            if taker in self.sick:
                yield f"{taker} is in trouble itself: {self.sick[taker]}."
        if not moves and self.sick:
            yield f"{', '.join(self.sick)} in trouble, and no family is set to it."
        if moves:
            yield "The next deployment keeps these settings; a Terraform run may put them back."


def read(clients: Clients, *, away_from: str, families: str, to: str, minutes: int) -> Switch:
    """How providers answer, and what the service is set to. `minutes` are looked back.

    Raises BadInput: the environment names no providers, or not those that are asked for.
    """
    settings, client = clients.environment.providers, clients.aws("ecs")
    if not settings.known:
        raise BadInput(f"{clients.environment.name} names no providers (providers: …).")
    _refuse_unknown("away_from", ecs.named_in(away_from), settings.known)
    _refuse_unknown("to", ecs.named_in(to), settings.known)
    _refuse_unknown("families", ecs.named_in(families), settings.families)
    lately = logs.window(minutes=minutes)
    before = _before(lately.start, _BEFORE_MINUTES)
    cluster = clients.environment.ecs.cluster
    service = ecs.read_service(client, cluster=cluster, service=settings.service)
    found = Switch(
        service,
        definitions.read(client, service.task_definition),
        settings,
        providers.read_rates(clients, lately),
        providers.read_rates(clients, before),
        _read_pages(clients),
        _try_keys(clients),
        minutes,
        away_from.strip(),
        ecs.named_in(families),
        to.strip(),
    )
    then = found.then() if found._moves_if_any() else found.now
    return replace(found, known=definitions.find(client, then))


def _about(value: float, *, digits: int = 0) -> str:
    """A number of the moment: a minute later it is another."""
    return f"≈ {value:,.{digits}f}"


def _before(moment: datetime, minutes: int) -> Window:
    return Window(moment - timedelta(minutes=minutes), moment)


def _read_pages(clients: Clients) -> dict[str, Said]:
    """What each provider's status page says; of one without a page that none is known."""
    said = {one.provider: one for one in outside.read_status(clients)}
    known = clients.environment.providers.known
    return {name: said.get(name) or Said(name, "", "no status page is known") for name in known}


def _try_keys(clients: Clients) -> dict[str, bool | None]:
    known = clients.environment.providers.known
    return {name: providers.accepts(clients, one) for name, one in known.items()}


def _wait_for_requests(clients: Clients, since: datetime, takers: set[str]) -> Mapping[str, Rate]:
    """Rates since a moment, once each of these was asked a few times, or that takes long."""
    settings = clients.environment.providers
    found: list[Mapping[str, Rate]] = []

    def enough() -> bool:
        found[:] = [providers.read_rates(clients, Window(since, SYSTEM_CLOCK.now()))]
        return all(found[0][one].requests >= settings.least_requests for one in takers)

    with suppress(DeadlinePassed):
        Wait(settings.watch_s, interval_s=10, factor=clients.environment.waits.factor).until(
            enough, what="the first requests"
        )
    return found[0]


def plot(clients: Clients, *, minutes: int) -> Picture:
    """Failures and latency by provider and minute, with the hour before."""
    window = logs.window(minutes=minutes + _BEFORE_MINUTES)
    frame = providers.read_minutes(clients, window)
    settings = clients.environment.providers
    figure, axes = picture.strips(2, columns=2, height_inches=2.2)
    for name in settings.known:
        series = _by_minute(frame, name)
        axes[0].plot(series.index, series.failed_percent, label=name)
        axes[1].plot(series.index, series.average_ms / 1000, label=name)
    axes[0].set_title("failed, % of requests", fontsize="small")
    axes[1].set_title("average, seconds", fontsize="small")
    axes[0].legend(frameon=False, fontsize="x-small")
    for one in axes:
        picture.clock_axis(one, labels=4)
    return Picture(figure, says="failures and latency of each provider by minute")


def _by_minute(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    import pandas as pd

    if not len(frame):
        return pd.DataFrame({"failed_percent": [], "average_ms": []})
    mine = frame[frame.provider == name]
    spent = mine.assign(
        spent=mine.average_ms * mine.requests, bad=mine.requests.where(mine.status >= 500, 0)
    )
    found = spent.groupby("minute")[["requests", "spent", "bad"]].sum()
    return pd.DataFrame(
        {
            "failed_percent": 100 * found.bad / found.requests,
            "average_ms": found.spent / found.requests,
        }
    )


def _refuse_unknown(parameter: str, named: tuple[str, ...], known: Mapping[str, Any]) -> None:
    if unknown := [one for one in named if one not in known]:
        raise BadInput(
            f"{parameter}: there is no {', '.join(unknown)}.", next=f"There is {', '.join(known)}."
        )
