"""Adjusting how a service scales: its range, and what its metric is kept near.

    found = adjust_scaling.read(rb.clients, service="")       empty: the one that is saturated
    found.table(), found.plot(), found.now_and_then(wanted)
    found.plan(wanted)
    adjust_scaling.follow(rb.clients, service=found.chosen)

A service is saturated when its metric is over the target and it runs as many tasks as its range
allows: auto scaling would do more, and may not. What is held back does not show how much it lacks,
so its range is opened wide; auto scaling takes no more of it than it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from runbook import picture
from runbook.change.plan import Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.picture import Picture
from runbook.procedure import scale
from runbook.procedure.scale import Scaled
from runbook.studio import autoscaling, cloudwatch, ecs
from runbook.studio.autoscaling import Policy, Scaling
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK, Wait

_SHOWN = timedelta(minutes=60)
_FULL_PERCENT = 95  # of a CPU or memory: more of it cannot be seen
_WIDE = 3  # times the tasks that run, for one that is held back
_WELL_WITHIN = 0.8  # of the target
_SETTLE_S = 3600.0  # for alarms, new tasks and their checks, several times over
AS_IS = -1  # of a number that is not to change

Series = Sequence[tuple[datetime, float]]


@dataclass(frozen=True)
class Wanted:
    """What is asked for; AS_IS leaves a number as it is, and all three ask for a proposal."""

    min_capacity: int = AS_IS
    max_capacity: int = AS_IS
    target_value: float = AS_IS

    @property
    def nothing(self) -> bool:
        """Whether no number was given."""
        return self == Wanted()


@dataclass(frozen=True)
class Tracked:
    """One service with its range, the policy that it follows, and the metric of that lately."""

    about: Scaled
    scaling: Scaling
    policy: Policy
    series: Series

    @property
    def name(self) -> str:
        """The service's name."""
        return self.about.service.name

    @property
    def metric(self) -> float | None:
        """The newest value; None where there is none."""
        return self.series[-1][1] if self.series else None

    @property
    def pressed(self) -> float:
        """What it is under: the larger of the last whole minute and the one that runs."""
        return max((value for _, value in self.series[-2:]), default=0.0)

    @property
    def saturated(self) -> bool:
        """Whether auto scaling would do more, and may not, for more than a minute."""
        lately = [value for _, value in self.series[-2:]]
        over = len(lately) == 2 and min(lately) > self.policy.target_value
        return over and self.about.service.desired_count >= self.scaling.max_capacity

    @property
    def well_within(self) -> bool:
        """Whether the metric is so far below its target that chance does not bring it over."""
        below = _WELL_WITHIN * self.policy.target_value
        return self.metric is not None and self.metric <= below and self.about.steady()

    @property
    def room(self) -> int:
        """The end of the range that a saturated service needs, to be on the safe side."""
        return max(self.scaling.max_capacity, _WIDE * self.about.service.desired_count)

    @property
    def says(self) -> str:
        """How it fares, in a few words."""
        if self.scaling.suspended:
            return "scaling is suspended"
        if self.metric is None:
            return "its metric has no data"
        if self.saturated:
            return "over its target, at the end of its range"
        over = self.metric > self.policy.target_value
        return "over its target, scaling out" if over else "within its target"

    def filled(self, wanted: Wanted) -> Wanted:
        """The numbers as they would be; without any given, the range that a saturated one needs."""
        minimum, maximum = self.scaling.min_capacity, self.scaling.max_capacity
        if wanted.nothing and self.saturated:
            maximum = self.room
        return Wanted(
            minimum if wanted.min_capacity == AS_IS else wanted.min_capacity,
            maximum if wanted.max_capacity == AS_IS else wanted.max_capacity,
            self.policy.target_value if wanted.target_value == AS_IS else wanted.target_value,
        )


@dataclass(frozen=True)
class Found:
    """Every service that scales by itself, and the one that is to be adjusted (may be none)."""

    services: tuple[Tracked, ...]
    chosen: str

    @property
    def one(self) -> Tracked | None:
        """The service that is to be adjusted."""
        return next((one for one in self.services if one.name == self.chosen), None)

    def table(self) -> Table:
        """Each service, its tasks, range, metric and cost, to be read."""
        import pandas as pd

        rows = [
            {
                "service": one.name,
                "tasks": one.about.service.desired_count,
                "range": f"{one.scaling.min_capacity} to {one.scaling.max_capacity}",
                "follows": one.policy.metric,
                "now": one.metric,
                "target": one.policy.target_value,
                "says": one.says,
            }
            for one in self.services
        ]
        return Table(pd.DataFrame(rows), empty="No service scales by itself.")

    def plot(self) -> Picture:
        """The metric of the last hour against its target, for the service that is chosen."""
        figure, axes = picture.strip()
        one = self.one or next(iter(self.services), None)
        if one and one.series:
            moments: Any = [moment for moment, _ in one.series]
            axes.plot(moments, [value for _, value in one.series], label=one.name)
            axes.axhline(one.policy.target_value, linestyle="--", color="grey", label="target")
            axes.legend(frameon=False, fontsize="small")
            picture.clock_axis(axes)
        else:
            axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
        metric = one.policy.metric.removeprefix("ECSService") if one else ""
        axes.set(ylabel=metric, ylim=(0, None))
        return Picture(figure, says="the metric of the last hour against its target")

    def now_and_then(self, wanted: Wanted) -> Table:
        """Range, target and cost of the chosen service, now and as they would be."""
        import pandas as pd

        one = self.one
        if one is None:
            return Table(pd.DataFrame(), empty="No service is saturated, and none was named.")
        columns = {"now": one.filled(Wanted(one.scaling.min_capacity)), "then": one.filled(wanted)}
        rows = {name: _figures(one, each) for name, each in columns.items()}
        return Table(pd.DataFrame(rows).rename_axis("").reset_index())

    def plan(self, wanted: Wanted) -> Plan:
        """The plan that sets the range, and the target value. Pure; without changes if so already.

        Raises BadInput for a range that is none, and for a target that is not above zero.
        """
        one = self.one
        if one is None:
            return Plan("No service is saturated: nothing to adjust", "low", (), "Nothing changes.")
        then = one.filled(wanted)
        moved = autoscaling.plan_range(
            one.scaling,
            min_capacity=then.min_capacity,
            max_capacity=then.max_capacity,
            desired_count=one.about.service.desired_count,
        )
        aimed = autoscaling.plan_target_value(
            one.scaling, policy=one.policy.name, target_value=then.target_value
        )
        return replace(
            moved,
            title=f"{moved.title}, {one.policy.metric} near {then.target_value:g}",
            changes=(*moved.changes, *aimed.changes),
            way_back="undo sets range and target as they were; the tasks follow within minutes.",
            warnings=(*moved.warnings, *self._reckoned(one, then)),
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        saturated = [one for one in self.services if one.saturated]
        told = [
            f"{one.name} runs {one.about.service.desired_count} tasks, all that its range allows, "
            f"and its metric is {one.pressed:.0f} against a target of {one.policy.target_value:g}"
            for one in saturated
        ]
        return {
            "status": "warning" if saturated else "ok",
            "says": f"{'; '.join(told)}."
            if told
            else f"None of {len(self.services)} services is held back by its range.",
            "service": self.chosen,
            "saturated": {one.name: one.room for one in saturated},
        }

    def _reckoned(self, one: Tracked, then: Wanted) -> list[str]:
        """What the metric of this moment means with the new numbers, and what that costs."""
        now = one.about.usd(one.about.service.desired_count)
        most = one.about.usd(then.max_capacity)
        told = [f"At most {most:.3f} USD an hour, with {then.max_capacity} tasks; now {now:.3f}."]
        if one.metric is None:
            return told
        if one.pressed >= _FULL_PERCENT:
            told.append(
                f"The metric is full ({one.pressed:.0f}): how many tasks it takes is not known, so "
                "auto scaling is left to find out."
            )
            return told
        tasks = math.ceil(one.about.service.desired_count * one.metric / then.target_value)
        held = min(max(tasks, then.min_capacity), then.max_capacity)
        told.append(
            f"The metric is {one.metric:.0f}: near {then.target_value:g} that takes {tasks} tasks"
            f"{'' if held == tasks else f'; the range makes it {held}'}."
        )
        return told


def read(clients: Clients, *, service: str) -> Found:
    """Every service that scales by itself; `service` empty: the most saturated one is chosen.

    Raises BadInput for a service that does not scale by itself.
    """
    cluster = clients.environment.ecs.cluster
    found = [
        each
        for one in ecs.read_services(clients.aws("ecs"), cluster=cluster)
        if (each := _tracked(clients, one.name))
    ]
    known = [one.name for one in found]
    if service and service not in known:
        raise BadInput(
            f"service: {service!r} does not scale by itself; those that do are {', '.join(known)}.",
            next="Set its number of tasks instead: scale-service",
        )
    saturated = sorted((one for one in found if one.saturated), key=lambda one: -one.pressed)
    return Found(tuple(found), service or next((one.name for one in saturated), ""))


def follow(clients: Clients, *, service: str) -> Found:
    """Wait until a service has what it needs, or has come to the end of its range.

    Either has to be so for a whole minute of its metric in which the tasks stayed as they are: what
    is older tells of before, and what is newer of a few seconds. Raises DeadlinePassed.
    """
    wait = Wait(_SETTLE_S, factor=clients.environment.waits.factor)
    since: dict[str, Any] = {"tasks": -1, "moment": SYSTEM_CLOCK.now()}

    def settled() -> Found | None:
        found = read(clients, service=service)
        one = found.one
        if one is None:
            return found
        desired = one.about.service.desired_count
        if one.well_within and desired <= one.scaling.max_capacity:
            return found  # nothing has to move
        if desired != since["tasks"] or not one.about.steady():
            since.update(tasks=desired, moment=SYSTEM_CLOCK.now())
            return None
        whole = [value for moment, value in one.series[:-1] if moment >= since["moment"]]
        if not whole:
            return None
        at_end = desired >= one.scaling.max_capacity
        return found if whole[-1] <= one.policy.target_value or at_end else None

    return wait.until(settled, what=f"{service} to come to its target, or to the end of its range")


def _tracked(clients: Clients, service: str) -> Tracked | None:
    """A service with its first policy; None where nothing scales it."""
    about = scale.read(clients, service=service)
    if about.scaling is None or not about.scaling.policies:
        return None
    policy = about.scaling.policies[0]
    metric = autoscaling.metric_of(policy, cluster=about.service.cluster, service=service)
    since = SYSTEM_CLOCK.now() - _SHOWN
    series = (
        cloudwatch.read_series(clients.aws("cloudwatch"), metric, since=since) if metric else ()
    )
    return Tracked(about, about.scaling, policy, series)


def _figures(one: Tracked, each: Wanted) -> dict[str, str]:
    return {
        "range": f"{each.min_capacity} to {each.max_capacity}",
        "target": f"{each.target_value:g}",
        "USD an hour, at least": f"{one.about.usd(each.min_capacity):.3f}",
        "USD an hour, at most": f"{one.about.usd(each.max_capacity):.3f}",
    }
