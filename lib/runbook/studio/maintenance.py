"""Maintenance mode: a page for everybody, by rules of the load balancer before all others.

    mode = maintenance.read(rb.clients)
    mode.plan(turn="on", minutes=30, now=now)

A rule of a load balancer has no "except", so what goes on working has rules of its own before the
page: the health endpoints, and, for addresses on the allow-list, every route that there is. They
are made before the page is, and removed after it: at no moment is anybody shut out who should not
be. They are known by their priorities, which the environment keeps for them, and by their shape.

The load balancer's own answer has no place for a header, so `Retry-After` is the page's (browsers
come back by it); where the environment names a target group that answers 503 with the header, the
rule leads there. Targets are checked by the load balancer itself, past all rules.

Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html
and https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.change.plan import Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.settings import Endpoint, Endpoints, Maintenance, checkout
from runbook.studio import alb, endpoints
from runbook.studio.alb import Rule
from runbook.studio.endpoints import Answer
from runbook.table import Table

_MOST_VALUES = 5  # of all conditions of a rule, by AWS
_LONGEST_PAGE = 1024  # characters of a fixed response, by AWS
_EVERYTHING = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["*"]}}
_MOST_MINUTES = 24 * 60


@dataclass(frozen=True)
class Mode:
    """A listener's rules, and what the environment says of maintenance.

    `default` is what the listener does with a request that no rule catches.
    """

    listener: str
    rules: tuple[Rule, ...]
    default: tuple[Json, ...]
    alb_name: str
    settings: Endpoints
    wanted: Maintenance

    @property
    def is_on(self) -> bool:
        """Whether there is a rule before all others that catches everything."""
        return self._page_rule() is not None

    @property
    def ours(self) -> tuple[Rule, ...]:
        """The rules of maintenance mode, whole or cut off, the first to be tried first."""
        return tuple(one for one in self.rules if self._is_ours(one))

    def plan(self, *, turn: str, minutes: int, now: datetime) -> Plan:
        """The plan that turns it `on`, for about so many minutes, or `off`; empty: none.

        Raises BadInput as `plan_on`, and for anything else than these.
        """
        if turn == "on":
            return self.plan_on(page(self.wanted, minutes=minutes, now=now))
        if turn == "off":
            return self.plan_off()
        if turn:
            raise BadInput(f"turn: expected on or off, found {turn!r}.")
        return Plan("Nothing is turned on or off", "high", (), "")

    def plan_on(self, page: str) -> Plan:
        """The plan that shows `page` to everybody but the allow-list. Pure.

        Raises BadInput: the page is too long for a fixed response, the allow-list for a rule, or
        there is no room before the other rules.
        """
        wanted = self._wanted_rules(page)
        current = {one.priority: one for one in self.ours}
        changes = [
            change
            for one in wanted
            for change in alb.plan_put(current.pop(one.priority, None), one).changes
        ]
        changes += [change for one in current.values() for change in alb.plan_delete(one).changes]
        return Plan(
            title="Maintenance mode on: everybody else gets a page and 503",
            risk="high",
            changes=tuple(changes),
            way_back="undo removes the rules again, the page first: seconds, and everybody is in.",
            warnings=tuple(self._warnings()),
        )

    def plan_off(self) -> Plan:
        """The plan that removes all rules of maintenance mode, the page first. Pure."""
        changes = [alb.plan_delete(one).changes for one in reversed(self.ours)]
        return Plan(
            title="Maintenance mode off",
            risk="high",
            changes=tuple(change for each in changes for change in each),
            way_back="undo makes the same rules again: everybody gets the page.",
        )

    def table(self) -> Table:
        """All rules in their order, to be read: what they catch, and what becomes of it."""
        import pandas as pd

        ours = {one.priority for one in self.ours}
        rows = [
            {
                "priority": one.priority,
                "catches": "; ".join(_told(each) for each in one.conditions),
                "then": _does(one.actions),
                "of maintenance": "yes" if one.priority in ours else "",
            }
            for one in self.rules
        ]
        return Table(pd.DataFrame(rows), empty="The listener has its default rule only.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`: loud while it is on."""
        status: Status = "warning" if self.ours else "ok"
        if self.is_on:
            says = "MAINTENANCE MODE IS ON: everybody but the allow-list gets a page and 503."
        elif self.ours:
            says = f"Maintenance mode is off, but {len(self.ours)} rules of it are left."
        else:
            says = "Maintenance mode is off: everybody is let in."
        return {"status": status, "says": says, "on": self.is_on, "rules": len(self.ours)}

    # the rules

    def _wanted_rules(self, page: str) -> list[Rule]:
        conditions = [*self._health(), *self._allowed()]
        conditions.append(([_EVERYTHING], [self._answer(page)]))
        first = self.wanted.first_priority
        if first + len(conditions) > self._first_other():
            raise BadInput(
                f"{self.listener}: {len(conditions)} rules are needed from priority {first} on, "
                f"and the others begin at {self._first_other()}.",
                next="Make room: give the listener's own rules higher numbers.",
            )
        rules = [
            Rule(self.listener, first + n, tuple(conditions), tuple(actions))
            for n, (conditions, actions) in enumerate(conditions)
        ]
        for one in rules:
            _refuse_too_many(one)
        return rules

    def _answer(self, page: str) -> Json:
        if self.wanted.target_group:
            return {"Type": "forward", "TargetGroupArn": self.wanted.target_group}
        if len(page) > _LONGEST_PAGE:
            raise BadInput(
                f"The page has {len(page):,} characters; the load balancer takes {_LONGEST_PAGE:,}."
            )
        fixed = {"StatusCode": "503", "ContentType": "text/html", "MessageBody": page}
        return {"Type": "fixed-response", "FixedResponseConfig": fixed}

    def _health(self) -> list[tuple[list[Json], list[Json]]]:
        """For each service that tells its health: that path of it, by host and by ALB path."""
        found = []
        for one in self.settings.services.values():
            route = self._route_of(one.host)
            if one.tells_health and route:
                hosts = [one.host, self.alb_name]
                found.append(([_host(hosts), _path(_health_paths(one))], list(route)))
        return found

    def _route_of(self, host: str) -> tuple[Json, ...]:
        """What becomes of a host's requests."""
        for rule in self._others():
            if rule.conditions and all(host in _values(one) for one in rule.conditions):
                return rule.actions
        return ()

    def _allowed(self) -> list[tuple[list[Json], list[Json]]]:
        """For the allow-list: every route there is, and the default one."""
        if not self.wanted.allow:
            return []
        source = {"Field": "source-ip", "SourceIpConfig": {"Values": list(self.wanted.allow)}}
        routes = list(self._others())
        default = alb.canonical_actions(self.default)
        while routes and alb.canonical_actions(routes[-1].actions) == default:
            routes.pop()  # what the default one does anyway
        copies = [([*one.conditions, source], list(one.actions)) for one in routes]
        return [*copies, ([source], list(self.default))]

    def _page_rule(self) -> Rule | None:
        return next((one for one in self.ours if _catches_all(one)), None)

    def _is_ours(self, rule: Rule) -> bool:
        """Whether it is in the room kept for us, and looks like one that we make."""
        first = self.wanted.first_priority
        if rule.priority not in range(first, first + self.wanted.room):
            return False
        fields = {one["Field"]: _values(one) for one in rule.conditions}
        health = {path for one in self.settings.services.values() for path in _health_paths(one)}
        paths = fields.get("path-pattern", [])
        return _catches_all(rule) or "source-ip" in fields or bool(paths and health >= set(paths))

    def _others(self) -> tuple[Rule, ...]:
        return tuple(one for one in self.rules if not self._is_ours(one))

    def _first_other(self) -> int:
        """Where the listener's own rules begin, from our first one on."""
        behind = (one.priority for one in self._others())
        return min((n for n in behind if n >= self.wanted.first_priority), default=50_001)

    def _warnings(self) -> list[str]:
        told = [
            "Notices of the payment provider get 503 too: see activate-subscription afterwards."
        ]
        if self.wanted.allow:
            told.append(f"Let in: {', '.join(self.wanted.allow)}; and the health endpoints.")
        else:
            told.append("Nobody is let in: the environment's allow-list is empty.")
        if not self.wanted.target_group:
            told.append(
                "The load balancer sends no Retry-After with a page of its own: the page itself "
                "says when to come back, and browsers heed it."
            )
        return told


def read(clients: Clients) -> Mode:
    """The rules of the environment's HTTPS listener. Raises BadInput when there is none."""
    elbv2, settings = clients.aws("elbv2"), clients.environment
    listener = f"{settings.endpoints.load_balancer}/{settings.maintenance.port}"
    return Mode(
        listener,
        alb.read_rules(elbv2, listener),
        alb.read_default(elbv2, listener),
        alb.read_balancer(elbv2, settings.endpoints.load_balancer)["DNSName"],
        settings.endpoints,
        settings.maintenance,
    )


def page(wanted: Maintenance, *, minutes: int, now: datetime) -> str:
    """The environment's page, saying until when: Arabic and English. Raises BadInput.

    `minutes` is how long it is expected to take; browsers come back by themselves a little later.
    """
    if not 1 <= minutes <= _MOST_MINUTES:
        raise BadInput(f"minutes: expected 1 to {_MOST_MINUTES}, found {minutes}.")
    path = checkout() / "parameters" / wanted.page
    if not wanted.page or not path.is_file():
        raise BadInput(f"maintenance.page: there is no parameters/{wanted.page or '…'}.")
    until = f"{now + timedelta(minutes=minutes):%H:%M}"
    text = path.read_text(encoding="utf-8").strip()
    return text.replace("{until}", until).replace("{seconds}", str(60 * minutes))


def ask(clients: Clients) -> tuple[Answer, ...]:
    """What every service answers from here, by host and by ALB path, as its callers ask it."""
    settings = clients.environment.endpoints
    name = alb.read_balancer(clients.aws("elbv2"), settings.load_balancer)["DNSName"]
    asked = endpoints.questions(settings, alb_name=name, what=["health"])
    return tuple(endpoints.ask(clients, asked))


def healthy(answers: Iterable[Answer]) -> bool:
    """Whether all services that tell their health answer, which they do through everything."""
    return all(one.status == 200 for one in answers if one.question.tells_health)


def answer_table(answers: Iterable[Answer]) -> Table:
    """The answers, to be read."""
    import pandas as pd

    rows = [
        {
            "service": one.question.service,
            "by": one.question.by,
            "asked": one.question.url,
            "answer": one.status or one.error,
        }
        for one in answers
    ]
    return Table(pd.DataFrame(rows))


def _host(hosts: Sequence[str]) -> Json:
    return {"Field": "host-header", "HostHeaderConfig": {"Values": list(hosts)}}


def _path(paths: Sequence[str]) -> Json:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(paths)}}


def _health_paths(service: Endpoint) -> list[str]:
    return sorted({service.path + service.health, service.alb_path + service.health})


def _catches_all(rule: Rule) -> bool:
    return alb.canonical_conditions(rule.conditions) == [_EVERYTHING]


def _values(condition: Json) -> list[Any]:
    """All values of a condition, whatever field it is of."""
    config = next((v for k, v in condition.items() if k.endswith("Config")), condition)
    found: list[Any] = config.get("Values", [])
    return found


def _refuse_too_many(rule: Rule) -> None:
    """Raise BadInput for more values than AWS takes in one rule."""
    count = sum(len(_values(one)) for one in rule.conditions)
    if count > _MOST_VALUES:
        raise BadInput(
            f"{rule.target} would have {count} values in its conditions; AWS takes {_MOST_VALUES}.",
            next="Shorten maintenance.allow: one range for several addresses.",
        )


def _told(condition: Json) -> str:
    return f"{condition['Field']} {', '.join(map(str, _values(condition)))}"


def _does(actions: Iterable[Json]) -> str:
    *_, last = actions
    if last["Type"] == "fixed-response":
        return f"page, {last['FixedResponseConfig']['StatusCode']}"
    if last["Type"] == "forward":
        groups = last.get("ForwardConfig", {}).get("TargetGroups") or [last]
        return ", ".join(one["TargetGroupArn"].split("/")[-2] for one in groups)
    return str(last["Type"])
