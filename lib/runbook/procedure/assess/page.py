"""What was found, on one page: the suspects first, then what was seen, then what was not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runbook import picture, table
from runbook.clients import Clients
from runbook.headline import Status, worst
from runbook.picture import Picture
from runbook.procedure.assess.gather import gather
from runbook.procedure.assess.rules import RULES
from runbook.procedure.assess.seen import NotSeen, Seen
from runbook.procedure.assess.suspect import Suspect, rank
from runbook.studio import endpoints, health
from runbook.table import Table

_SHOWN = 5  # suspects in the first table
_CHANGES = 15
_ERRORS = 10
_NAMED = 3  # things not seen, in the sentence
_FAINT = 0.4  # below that a suspect is no cause to be woken for


@dataclass(frozen=True)
class Symptom:
    """Something that is not as it should be, as whoever is called sees it."""

    status: Status
    where: str
    says: str


@dataclass(frozen=True)
class Assessment:
    """Suspects, the surest first, and everything that they were judged by."""

    seen: Seen
    suspects: tuple[Suspect, ...]

    @property
    def not_seen(self) -> tuple[NotSeen, ...]:
        """What could not be looked at."""
        return self.seen.not_seen

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": self._status(),
            "says": self._sentence(),
            "suspects": [one.data() for one in self.suspects],
            "symptoms": [vars(one) for one in self.symptoms()],
            "not_seen": [vars(one) for one in self.not_seen],
        }

    def suspect_table(self) -> Table:
        """Each suspect with the section that confirms it and the one that mends it, to be read."""
        import pandas as pd

        rows = [
            {
                "": str(number),
                "cause": one.cause,
                "confidence": one.confidence,
                "because": one.evidence[0].says,
                "confirm": table.section(one.confirm.section),
                "mend": table.section(one.mend.section),
            }
            for number, one in enumerate(self.suspects[:_SHOWN], start=1)
        ]
        return Table(pd.DataFrame(rows), empty="No cause stands out.")

    def evidence_table(self) -> Table:
        """Everything that speaks for each suspect, to be read."""
        import pandas as pd

        rows = [
            {"": str(number) if first else "", "cause": one.cause if first else "",
             "evidence": evidence.says}
            for number, one in enumerate(self.suspects[:_SHOWN], start=1)
            for first, evidence in _numbered(one.evidence)
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="There is no evidence against anybody.")

    def command_table(self) -> Table:
        """What to type for each suspect: it plans, and changes nothing yet; to be read."""
        import pandas as pd

        rows = [
            {"": str(number), "confirm": one.confirm.command, "mend": one.mend.command}
            for number, one in enumerate(self.suspects[:_SHOWN], start=1)
        ]
        return Table(pd.DataFrame(rows), empty="There is nothing to confirm or to mend.")

    def symptoms(self) -> list[Symptom]:
        """What is not as it should be, worst first. Pure."""
        found = [*self._of_endpoints(), *self._of_services(), *self._of_targets()]
        for one in self.seen.alarms.watches if self.seen.alarms else ():
            if one.there and one.there.state == "ALARM":
                since = one.there.state_since
                when = f", since {since.astimezone(UTC):%H:%M:%S} UTC" if since else ""
                found.append(Symptom("critical", one.about.title, f"the alarm is raised{when}"))
        return sorted(found, key=lambda one: (one.status != "critical", one.where))

    def symptom_table(self) -> Table:
        """What is not as it should be, to be read."""
        import pandas as pd

        return Table(
            pd.DataFrame([vars(one) for one in self.symptoms()]),
            empty="Endpoints answer, tasks run, and no alarm is raised.",
        )

    def change_table(self) -> Table:
        """What was changed within the hour, newest first, to be read."""
        import pandas as pd

        rows = [
            {"at": one.at.replace(tzinfo=None), "change": one.what, "of": ", ".join(one.about[:3]),
             "by": "this runbook" if one.ours else one.by, "known from": one.source}
            for one in self.seen.changes()[:_CHANGES]
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="Nothing was changed within the hour.")

    def error_table(self) -> Table:
        """Errors of late beside those of before, most first, to be read."""
        import pandas as pd

        rows = [
            {"service": one.service, "lately": one.lately, "before": one.before,
             "first seen": one.first.replace(tzinfo=None) if one.first else None,
             "message": one.message}
            for one in (self.seen.errors or ())[:_ERRORS]
        ]  # fmt: skip
        return Table(pd.DataFrame(rows), empty="No error was written lately.")

    def missing_table(self) -> Table:
        """What could not be looked at, and why, to be read."""
        import pandas as pd

        rows = [{"not seen": one.what, "because": one.why} for one in self.not_seen]
        return Table(pd.DataFrame(rows), empty="Everything was looked at.")

    def plot(self) -> Picture:
        """Failed requests and CPU of each service by minute; a line where one was deployed."""
        figure, (above, below) = picture.strips(2, columns=1, height_inches=1.9)
        for load in self.seen.loads or ():
            for axes, points in ((above, load.failed), (below, load.cpu)):
                if points:
                    times: Any = [at for at, _ in points]
                    axes.plot(
                        times, [value for _, value in points], linewidth=1, label=load.service
                    )
        for axes, title in ((above, "answers 5xx a minute"), (below, "CPU, %")):
            axes.set_title(title, fontsize="small", loc="left")
            for moment in self._deployed():
                axes.axvline(moment, color="#b26a00", linestyle="--", linewidth=1)  # type: ignore[arg-type]
            if axes.lines:
                picture.clock_axis(axes)
        handles, _ = below.get_legend_handles_labels()
        if handles:
            figure.legend(handles=handles, frameon=False, fontsize="x-small", ncols=4,
                          loc="outside upper right")  # fmt: skip
        return Picture(figure, says="5xx a minute and CPU of each service, with deployments")

    def _deployed(self) -> list[datetime]:
        begun = (one.deployment for one in self.seen.services or () if one.deployment)
        moments = [one.created_at for one in begun if one.created_at]
        first = min((at for load in self.seen.loads or () for at, _ in load.cpu), default=None)
        return [moment for moment in moments if first and moment >= first]

    def _of_endpoints(self) -> list[Symptom]:
        settings = self.seen.environment.endpoints
        judged = [(one, endpoints.judge(one, settings)) for one in self.seen.answers or ()]
        return [
            Symptom(status, one.question.url, says)
            for one, (status, says) in judged
            if status != "ok"
        ]

    def _of_services(self) -> list[Symptom]:
        judged = [(one, health.judge_service(one)) for one in self.seen.services or ()]
        return [Symptom(status, one.name, says) for one, (status, says) in judged if status != "ok"]

    def _of_targets(self) -> list[Symptom]:
        groups: dict[str, list[Any]] = {}
        for one in self.seen.targets or ():
            groups.setdefault(one.group, []).append(one)
        judged = [(name, health.judge_group(targets)) for name, targets in groups.items()]
        return [Symptom(status, name, says) for name, (status, says) in judged if status != "ok"]

    def _status(self) -> Status:
        statuses = [one.status for one in self.symptoms()]
        statuses += ["critical" if one.weight >= _FAINT else "warning" for one in self.suspects]
        statuses += ["warning"] if self.not_seen else []
        return worst(*statuses)

    def _unseen(self) -> str:
        names = [one.what for one in self.not_seen]
        if len(names) > _NAMED:
            return f" {len(names)} things could not be looked at."
        return f" Not seen: {', '.join(names)}." if names else ""

    def _sentence(self) -> str:
        unseen = (
            f" Not seen: {', '.join(one.what for one in self.not_seen)}." if self.not_seen else ""
        )
        if self.suspects:
            first = self.suspects[0]
            others = len(self.suspects) - 1
            more = f" {others} more suspect{'s' if others > 1 else ''}." if others else ""
            return (
                f"{first.confidence.capitalize()}: {first.cause}. Mended by {first.mend.section}."
                f"{more}{unseen}"
            )
        if symptoms := self.symptoms():
            return (
                f"{symptoms[0].where}: {symptoms[0].says}. No cause stands out: look at what has "
                f"changed, below.{unseen}"
            )
        return f"Nothing is wrong that could be seen, and no cause stands out.{unseen}"


def read(clients: Clients) -> Assessment:
    """Look at everything and rank the suspects; within the environment's `assess.within_s`."""
    return judge(gather(clients))


def judge(seen: Seen) -> Assessment:
    """Rank the suspects of what was seen. Pure."""
    return Assessment(seen, tuple(rank(one for rule in RULES for one in rule(seen))))


def _numbered(items: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(place == 0, item) for place, item in enumerate(items)]
