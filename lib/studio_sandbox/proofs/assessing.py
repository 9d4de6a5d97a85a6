"""`./runbook prove assess`: the true cause comes first, whatever breaks, and nothing of nothing.

Each drill breaks a moving Studio, and everything is looked at again and again until somebody is
suspected: that is the page which counts. The true cause is known here alone, by the section that
mends the drill and by what it is about; `assess` knows no drill.

    ./runbook prove assess --drills bad-deploy,redis-down --seeds 1
    ./runbook prove assess --drills stuck-jobs+mail-sandboxed       both at once
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook import settings
from runbook.clients import Clients
from runbook.procedure import assess
from runbook.procedure.assess.suspect import Suspect
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names
from studio_sandbox.drills import drill as drills
from studio_sandbox.proofs.proof import Asked

_SUSPECTED_WITHIN_S = 180.0
_WITHIN_S = 60.0  # of one page
_SEEDS = 3
_AMONG = 3
_SURE_ENOUGH = 0.4  # a weight: fainter ones are no reason to stop looking
_TOGETHER = "stuck-jobs+mail-sandboxed"
Details = Mapping[str, Any]


@dataclass(frozen=True)
class Truth:
    """What mends a drill: one of these sections, with a parameter that is about the true thing."""

    sections: tuple[str, ...]
    parameter: str = ""
    wanted: Callable[[Details], Any] = lambda details: None

    def fits(self, suspect: Suspect, details: Details) -> bool:
        """Whether this suspect is the true cause."""
        if suspect.mend.section not in self.sections:
            return False
        if not self.parameter:
            return True
        wanted = self.wanted(details)
        given = suspect.mend.parameters.get(self.parameter)
        return given in wanted if isinstance(wanted, set) else given == wanted


def _deployed(details: Details) -> str:
    return str(details["service"])


TRUTHS = {
    "bad-deploy": Truth(
        ("roll-back",),
        "services",
        lambda d: ",".join(sorted(set(d["before"]) - {d["service"]})),
    ),
    "sick-deploy": Truth(("roll-back",), "services", _deployed),
    "secret-denied": Truth(("roll-back",), "services", _deployed),
    "image-missing": Truth(("roll-back",), "services", _deployed),
    "database-unreachable": Truth(("restore-secret",), "secret", lambda d: names.DATABASE_URL),
    "stuck-jobs": Truth(("clear-stuck-jobs",)),
    "abusive-user": Truth(("throttle-user", "ban-user"), "user", lambda d: d["user"]),
    "capacity-short": Truth(
        ("scale-service", "adjust-autoscaling"), "service", lambda d: d["service"]
    ),
    "key-revoked": Truth(("rotate-api-key",), "secret", lambda d: d["secret"]),
    "slow-provider": Truth(("switch-provider",), "away_from", lambda d: d["provider"]),
    "slow-query": Truth(("end-query",), "pid", lambda d: d["blocker"][0]),
    "redis-down": Truth(("resize-data-stores",)),
    "usage-drift": Truth(("sync-usage",)),
    "webhook-lost": Truth(
        ("activate-subscription",), "subscription", lambda d: {one["id"] for one in d["paid"]}
    ),
    "mail-sandboxed": Truth(("restore-mail",)),
    "data-corrupted": Truth(("recover-database",)),
    "objects-deleted": Truth(("recover-bucket",), "bucket", lambda d: d["bucket"]),
    "bucket-deleted": Truth(("recover-bucket",), "bucket", lambda d: d["bucket"]),
    "region-lost": Truth(("fail-over-region",)),
    "alarms-drifted": Truth(("create-alarms",)),
}


@dataclass(frozen=True)
class Page:
    """One page about one Studio: the place of each true cause (0: it was not named)."""

    drills: str
    seed: int
    places: tuple[int, ...]
    first: str
    confidence: str
    took_s: float
    after_s: float

    @property
    def found(self) -> bool:
        """Whether all true causes are there; of several, each among the first ones."""
        most = max(_AMONG, len(self.places))
        return all(0 < place <= most for place in self.places)


@dataclass
class Assessed:
    """Every page, and whether nobody was suspected in a healthy Studio before it."""

    healthy: bool = True
    pages: list[Page] = field(default_factory=list)

    @property
    def single(self) -> list[Page]:
        """Pages about one drill."""
        return [page for page in self.pages if len(page.places) == 1]

    @property
    def holds(self) -> bool:
        first = sum(page.places == (1,) for page in self.single)
        quick = all(page.took_s <= _WITHIN_S for page in self.pages)
        found = all(page.found for page in self.pages)
        return self.healthy and quick and found and 6 * first >= 5 * len(self.single)

    def table(self) -> str:
        """The matrix: a row for each page, and the sums below."""
        lines = [
            "| drill | seed | true cause | first on the page | page took | after |",
            "|---|---|---|---|---|---|",
        ]
        for one in self.pages:
            places = ", ".join(str(place) if place else "**missed**" for place in one.places)
            first = f"{one.first} ({one.confidence})" if one.first else "nobody"
            lines.append(
                f"| `{one.drills}` | {one.seed} | {places} | {first} | {one.took_s:.0f} s "
                f"| {one.after_s:.0f} s |"
            )
        among = sum(page.found for page in self.single)
        count = sum(page.places == (1,) for page in self.single)
        lines.append("")
        lines.append(
            f"The true cause is first on {count} of {len(self.single)} pages, among the first "
            f"{_AMONG} on {among}; a healthy Studio has "
            f"{'no suspect' if self.healthy else '**suspects**'}."
        )
        return "\n".join(lines)


def prove(asked: Asked) -> Assessed:
    """Every drill with three seeds, and two at once; or those of `--drills`, with `--seeds`."""
    os.environ["RUNBOOK_HOME"] = str(asked.home)
    box = sandbox.up(tied=True, folder=asked.home / "sandbox", say=asked.say).box
    wanted = asked.drills.split(",") if asked.drills else [*sorted(TRUTHS), _TOGETHER]
    found = Assessed()
    for together in wanted:
        for seed in range(1, 1 + (asked.seeds or _SEEDS)):
            _look_at_health(asked, found)
            found.pages.append(_assess(box, together, seed, asked))
            box = sandbox.reset(box.folder)  # what a drill did is still in the logs otherwise
    _look_at_health(asked, found)
    return found


def _assess(box: Box, together: str, seed: int, asked: Asked) -> Page:
    """Break, and look until somebody is suspected."""
    running = [drills.start(box, name, seed) for name in together.split("+")]
    began = time.monotonic()
    suspects, took_s = _look()
    while sum(one.weight >= _SURE_ENOUGH for one in suspects) < len(running):
        if time.monotonic() - began > _SUSPECTED_WITHIN_S:
            break
        suspects, took_s = _look()
    page = Page(
        together,
        seed,
        tuple(_place(suspects, one) for one in running),
        suspects[0].cause if suspects else "",
        suspects[0].confidence if suspects else "",
        took_s,
        time.monotonic() - began,
    )
    asked.say(f"{together} seed {seed}: {page.places}, {page.first} ({page.took_s:.0f} s)")
    return page


def _look() -> tuple[list[Suspect], float]:
    began = time.monotonic()
    clients = Clients(settings.load(drills.ENVIRONMENT))
    try:
        found = list(assess.read(clients).suspects)
    finally:
        clients.close()
    return found, time.monotonic() - began


def _place(suspects: list[Suspect], one: drills.Running) -> int:
    truth = TRUTHS[one.drill.name]
    places = (n for n, each in enumerate(suspects, start=1) if truth.fits(each, one.details))
    return next(places, 0)


def _look_at_health(asked: Asked, found: Assessed) -> None:
    """Nobody is suspected of anything in a Studio that is as new."""
    if suspects := _look()[0]:
        found.healthy = False
        asked.say(f"suspected in a healthy Studio: {[one.cause for one in suspects]}")
