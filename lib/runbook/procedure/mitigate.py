"""Mitigating: which measure fits what `assess` suspects. It decides nothing; it lays out the table.

    found = mitigate.read(rb.clients)
    found.table()       measure, whether it fits, because of what, and the command that plans it

The runbook's four measures are weighed by the suspects that call for them; repairing the cause is
the fifth, where it is as quick. What nothing calls for is said too: each costs somebody something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook import table
from runbook.clients import Clients
from runbook.headline import Status
from runbook.procedure import assess
from runbook.procedure.assess import Assessment
from runbook.procedure.assess.suspect import Step, Suspect
from runbook.table import Table


@dataclass(frozen=True)
class Measure:
    """One measure: what it is good for, and what it costs."""

    name: str
    good_for: str
    costs: str
    section: str


MEASURES: Mapping[str, Measure] = {
    "repair": Measure(
        "repair the cause", "a cause that is known and mended as quickly", "what its plan says", ""
    ),
    "rollback": Measure(
        "roll back", "trouble that began with a deployment", "the new feature", "roll-back"
    ),
    "scale": Measure(
        "scale up", "load that is real and wanted", "money by the hour", "scale-service"
    ),
    "failover": Measure(
        "fail over",
        "a node or a region that is gone",
        "what was not copied yet; the way back is planned work",
        "fail-over-region",
    ),
    "maintenance": Measure(
        "maintenance mode",
        "damage that grows as long as anybody writes",
        "everybody waits",
        "maintenance-mode",
    ),
}
# What is worse with every minute: customers are kept out until it is mended.
_GROWING = ("recover-database",)


@dataclass(frozen=True)
class Choice:
    """A measure with the suspect that calls for it, if any does."""

    measure: Measure
    suspect: Suspect | None
    step: Step

    @property
    def fits(self) -> str:
        """Whether it is called for, in words."""
        return self.suspect.confidence if self.suspect else "nothing calls for it"


@dataclass(frozen=True)
class Mitigation:
    """All measures, the one that is called for most first."""

    assessment: Assessment

    def choices(self) -> list[Choice]:
        """Each measure with its suspect; what is called for most comes first. Pure."""
        suspects = self.assessment.suspects
        found = []
        for remedy, measure in MEASURES.items():
            mine = next((one for one in suspects if one.remedy == remedy), None)
            step = mine.mend if mine else Step(measure.section)
            if remedy == "maintenance":
                mine = next((one for one in suspects if one.mend.section in _GROWING), None)
                step = Step(measure.section, {"turn": "on"})
            found.append(Choice(measure, mine, step))
        return sorted(found, key=lambda one: -(one.suspect.weight if one.suspect else 0))

    def table(self) -> Table:
        """Measures, whether each fits and why, to be read."""
        import pandas as pd

        rows = [
            {
                "measure": one.measure.name,
                "fits": one.fits,
                "because": one.suspect.cause if one.suspect else "",
                "good for": one.measure.good_for,
                "costs": one.measure.costs,
                "open": table.section(one.step.section) if one.step.section else "",
            }
            for one in self.choices()
        ]
        return Table(pd.DataFrame(rows))

    def command_table(self) -> Table:
        """What plans each measure that is called for, to be read."""
        import pandas as pd

        rows = [
            {"measure": one.measure.name, "plan it": one.step.command}
            for one in self.choices()
            if one.suspect
        ]
        return Table(pd.DataFrame(rows), empty="Nothing calls for a measure.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        called = [one for one in self.choices() if one.suspect]
        found = self.assessment.findings()
        status: Status = found["status"]
        return {
            "status": status,
            "says": self._sentence(called),
            "measures": [
                {"measure": one.measure.name, "because": one.suspect.cause,
                 "confidence": one.suspect.confidence, **one.step.data()}
                for one in called
                if one.suspect
            ],
            "not_seen": found["not_seen"],
        }  # fmt: skip

    def _sentence(self, called: list[Choice]) -> str:
        if not called:
            return "Nothing calls for a measure: no cause stands out."
        first = called[0]
        because = first.suspect.cause if first.suspect else ""
        others = ", ".join(one.measure.name for one in called[1:])
        more = f" Also called for: {others}." if others else ""
        return f"{first.measure.name.capitalize()}: {because} ({first.fits}).{more}"


def read(clients: Clients) -> Mitigation:
    """Assess, and lay the measures beside what is suspected."""
    return Mitigation(assess.read(clients))
