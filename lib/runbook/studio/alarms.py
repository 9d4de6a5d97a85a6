"""Alarms against the environment's table: what is missing or drifted, what is raised, since when.

    found = alarms.read(rb.clients)
    found.findings(), found.table(), found.drift_table(), found.history_table(), found.plot()
    found.plan()                    brings them to the table

An alarm is only worth what it watches: one whose metric has no data says OK for ever. That is
drift here, and never health.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture, table
from runbook.change.plan import Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.headline import Status, worst
from runbook.picture import Picture
from runbook.settings import WantedAlarm
from runbook.studio import alb, cloudwatch
from runbook.studio.cloudwatch import Alarm, StateChange
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_PLOTTED = timedelta(hours=3)
_CHANGES = 3  # of each alarm that are shown
_PLACEHOLDER = re.compile(r"\{([a-z-]+):([^{}]+)\}")
_MISSING = "there is no such alarm"


@dataclass(frozen=True)
class Watch:
    """One alarm of the table, as it should be and as it is. `there` is None where it is missing.

    `drift`: each setting that is not as wanted, in words. `no_metric`: what it watches that has
    no data. `values`: what it compared with its threshold lately, oldest first.
    """

    wanted: Alarm
    about: WantedAlarm
    there: Alarm | None
    drift: tuple[str, ...] = ()
    no_metric: tuple[str, ...] = ()
    changes: tuple[StateChange, ...] = ()
    values: tuple[tuple[datetime, float], ...] = ()

    @property
    def status(self) -> Status:
        """Raised is critical; what cannot be relied on is a warning."""
        if self.there and self.there.state == "ALARM":
            return "critical"
        blind = not self.there or self.there.state != "OK" or self.drift or self.no_metric
        return "warning" if blind else "ok"

    @property
    def says(self) -> str:
        """Why it is not ok, in a few words."""
        if self.there is None:
            return _MISSING
        told = [f"raised: {self.there.reason}"] if self.there.state == "ALARM" else []
        if self.there.state == "INSUFFICIENT_DATA":
            told.append("has no data to judge by")
        told += [f"{len(self.drift)} settings drifted"] if self.drift else []
        told += [f"watches what has no data: {self.no_metric[0]}"] if self.no_metric else []
        return "; ".join(told)


@dataclass(frozen=True)
class Alarms:
    """Every alarm of the table."""

    watches: tuple[Watch, ...]

    @property
    def wanted(self) -> list[Alarm]:
        """As the table wants them."""
        return [one.wanted for one in self.watches]

    @property
    def there(self) -> list[Alarm]:
        """Those of them that there are, as they are."""
        return [one.there for one in self.watches if one.there]

    def plan(self) -> Plan:
        """The plan that makes what is missing and mends what drifted. Pure."""
        return cloudwatch.plan_alarms(self.there, self.wanted)

    def frame(self) -> pd.DataFrame:
        """Columns: status, alarm, when, state, since (UTC), says, section (what to open)."""
        import pandas as pd

        rows = [
            {
                "status": one.status,
                "alarm": one.about.title,
                "when": one.about.when,
                "state": one.there.state if one.there else "",
                "since": _utc(one.there.state_since) if one.there else None,
                "says": one.says,
                "open": table.section(one.about.section),
            }
            for one in self.watches
        ]
        return pd.DataFrame(rows)

    def table(self) -> Table:
        """The alarms, to be read."""
        return Table(self.frame(), empty="The environment's table has no alarm.")

    def drift_table(self) -> Table:
        """Each way in which an alarm is not as the table wants it, to be read."""
        import pandas as pd

        rows = [
            {"alarm": one.wanted.name, "drift": drift}
            for one in self.watches
            for drift in (
                *((_MISSING,) if one.there is None else one.drift),
                *(f"no data for {metric}" for metric in one.no_metric),
            )
        ]
        return Table(pd.DataFrame(rows), empty="Every alarm is as the table wants it.")

    def history_table(self) -> Table:
        """The last changes of state of each alarm, newest first, to be read."""
        import pandas as pd

        rows = [
            {"at": _utc(change.at), "alarm": one.about.title, "change": change.summary,
             "why": change.reason}
            for one in self.watches
            for change in one.changes
        ]  # fmt: skip
        newest_first = sorted(rows, key=lambda row: row["at"], reverse=True)
        return Table(pd.DataFrame(newest_first), empty="No alarm has ever changed its state.")

    def plot(self) -> Picture:
        """What each alarm compared with its threshold, a strip for each."""
        figure, strips = picture.strips(len(self.watches), columns=3)
        for axes, one in zip(strips, self.watches, strict=True):
            axes.set_title(one.about.title, fontsize="small", loc="left")
            threshold = float((one.there or one.wanted).settings["Threshold"])
            axes.axhline(threshold, color="#b3261e", linestyle="--", linewidth=1)
            if one.values:
                times, values = zip(*one.values, strict=True)
                axes.plot(times, values, linewidth=1)
                axes.set_ylim(0, 1.15 * max(threshold, *values, 1))
                picture.clock_axis(axes, labels=4)
            else:
                axes.text(0.5, 0.4, "no data", ha="center", transform=axes.transAxes)
                axes.set_xticks([])
        hours = _PLOTTED.total_seconds() / 3600
        return Picture(figure, says=f"{len(strips)} alarms against their thresholds, {hours:g} h")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        status = worst(*(one.status for one in self.watches)) if self.watches else "warning"
        return {
            "status": status,
            "says": self._sentence(),
            "raised": [one.wanted.name for one in self.watches if one.status == "critical"],
            "missing": [one.wanted.name for one in self.watches if one.there is None],
            "drifted": [one.wanted.name for one in self.watches if one.drift],
            "no_metric": [one.wanted.name for one in self.watches if one.no_metric],
        }

    def _sentence(self) -> str:
        raised = [one.about.title for one in self.watches if one.status == "critical"]
        missing = [one.about.title for one in self.watches if one.there is None]
        drifted = [one.about.title for one in self.watches if one.drift]
        blind = [
            one.about.title
            for one in self.watches
            if one.no_metric or (one.there and one.there.state == "INSUFFICIENT_DATA")
        ]
        told = [
            f"{verb}: {', '.join(names)}"
            for verb, names in (
                ("Raised", raised), ("Missing", missing), ("Drifted", drifted), ("Blind", blind),
            )
            if names
        ]  # fmt: skip
        if told:
            return f"{'. '.join(told)}."
        if not self.watches:
            return "The environment's table has no alarm, so nothing is watched."
        return f"All {len(self.watches)} alarms are as the table wants them, and none is raised."


def read(clients: Clients) -> Alarms:
    """All alarms of the environment's table. Raises BadInput for a table that cannot be read."""
    client, table_of = clients.aws("cloudwatch"), clients.environment.alarms
    wanted = wanted_alarms(clients)
    there = {one.name: one for one in cloudwatch.read_alarms(client, names=table_of)}
    return Alarms(
        tuple(_watch(client, one, table_of[one.name], there.get(one.name)) for one in wanted)
    )


def wanted_alarms(clients: Clients) -> list[Alarm]:
    """The table's alarms, with everything looked up that AWS has named.

    Raises BadInput for a setting that no alarm has and for a name that is not in the account.
    """
    lookup = _lookup(clients)
    return [
        cloudwatch.wanted_alarm(name, filled(wanted.settings, lookup))
        for name, wanted in clients.environment.alarms.items()
    ]


def filled(setting: Json, lookup: Callable[[str, str], str]) -> Any:
    """A setting with each `{kind:name}` in it replaced by what `lookup` finds. Pure but for it."""
    if isinstance(setting, Mapping):
        return {key: filled(value, lookup) for key, value in setting.items()}
    if isinstance(setting, list | tuple):
        return [filled(value, lookup) for value in setting]
    if isinstance(setting, str):
        return _PLACEHOLDER.sub(lambda found: lookup(found[1], found[2]), setting)
    return setting


def drift_of(there: Alarm, wanted: Alarm) -> tuple[str, ...]:
    """Each setting that is not as wanted, in words. Pure."""
    (change,) = cloudwatch.plan_alarms([there], [wanted]).changes or (None,)
    if change is None:
        return ()
    return tuple(
        f"{key} is {_shown(change.before[key])}, not {_shown(change.after[key])}"
        for key in change.after
    )


def _watch(client: Any, wanted: Alarm, about: WantedAlarm, there: Alarm | None) -> Watch:
    if there is None:
        return Watch(wanted, about, None, no_metric=_without_data(client, wanted))
    return Watch(
        wanted,
        about,
        there,
        drift=drift_of(there, wanted),
        no_metric=_without_data(client, there),
        changes=tuple(cloudwatch.read_changes(client, there.name, most=_CHANGES)),
        values=tuple(cloudwatch.read_values(client, there, since=SYSTEM_CLOCK.now() - _PLOTTED)),
    )


def _without_data(client: Any, alarm: Alarm) -> tuple[str, ...]:
    """What the alarm watches that CloudWatch has no metric of."""
    return tuple(
        cloudwatch.metric_in_words(metric)
        for metric in cloudwatch.metrics_of(alarm)
        if not cloudwatch.has_metric(client, metric)
    )


def _lookup(clients: Clients) -> Callable[[str, str], str]:
    """How the table's names become AWS's; each is asked for once."""
    known: dict[tuple[str, str], str] = {}

    def lookup(kind: str, name: str) -> str:
        if (kind, name) not in known:
            known[kind, name] = _find(clients, kind, name)
        return known[kind, name]

    return lookup


def _find(clients: Clients, kind: str, name: str) -> str:
    match kind:
        case "topic":
            return f"arn:aws:sns:{clients.region}:{clients.environment.account}:{name}"
        case "load-balancer":
            arn = alb.read_balancer(clients.aws("elbv2"), name)["LoadBalancerArn"]
            return str(arn).split(":loadbalancer/")[1]
        case "target-group":
            elbv2 = clients.aws("elbv2")
            try:
                groups = elbv2.describe_target_groups(Names=[name])["TargetGroups"]
            except elbv2.exceptions.TargetGroupNotFoundException as error:
                raise BadInput(f"There is no target group {name!r}.") from error
            return str(groups[0]["TargetGroupArn"]).rsplit(":", 1)[1]
        case "redis-primary":
            return _redis_primary(clients.aws("elasticache"), name)
    raise BadInput(f"The table of alarms names {{{kind}:{name}}}; nobody knows a {kind}.")


def _redis_primary(elasticache: Any, group: str) -> str:
    """The node that is the primary now: after a failover another one has to be watched."""
    try:
        found = elasticache.describe_replication_groups(ReplicationGroupId=group)
    except elasticache.exceptions.ReplicationGroupNotFoundFault as error:
        raise BadInput(f"There is no replication group {group!r}.") from error
    members = found["ReplicationGroups"][0]["NodeGroups"][0]["NodeGroupMembers"]
    primary = next((one for one in members if one.get("CurrentRole") == "primary"), None)
    if primary is None:
        raise BadInput(f"The replication group {group} has no primary.")
    return str(primary["CacheClusterId"])


def _shown(value: Json) -> str:
    if isinstance(value, float) and value == int(value):
        return f"{value:g}"
    if isinstance(value, Iterable) and not isinstance(value, str) and value:
        return f"{len(list(value))} other ones"
    return str(value) if value not in (None, "", []) else "not set"


def _utc(moment: datetime | None) -> Any:
    """As a table shows it: UTC, without saying so in each row."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
