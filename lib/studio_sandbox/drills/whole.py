"""A drill rehearsed as a whole incident: from the alarm to the post-mortem, through sections alone.

An alarm is waited for a little; without one a person has noticed, and says the symptom. Then it is
acknowledged, assessed and mended by what `assess` says, with the parameters that it fills in; it
is looked at, and assessed again while it is not well; resolved, or assessed again when it does not
stay well; and looked back at. Nobody here knows which drill runs: only its judge does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from runbook import settings
from runbook.clients import Clients
from runbook.incident.room import Room, open_room
from runbook.record.runs import store_of
from runbook.studio import cloudwatch
from studio_sandbox.drills.drill import (
    ENVIRONMENT,
    Running,
    RunSection,
    plan_and_apply,
    run_section,
)
from studio_sandbox.drills.studio import Studio
from studio_sandbox.state import Box

_ALARM_WITHIN_S = 20.0
_ROUNDS = 12  # of assessing and mending: some things are mended one by one
_LOOKS = 6  # until somebody is suspected
_TIMES = 2  # that it is watched: an incident may have two causes
_FAINT = 0.4  # a weight: what is less is no reason to change anything


def mend(found: Box, one: Running, run: RunSection) -> str:
    """Answer whatever is broken as an incident; its id. `run` runs a section and keeps the run."""
    environment = settings.load(ENVIRONMENT)
    clients = Clients(environment)
    title = _alarm(clients) or one.drill.symptom
    me = clients.identity.name
    room, _ = open_room(store_of(environment), clients, title=title, severity="P1", by=me)
    under: RunSection = partial(run, under=room.id)
    under("acknowledge", incident=room.id)
    brought = one.drill.brings(Studio(found), one.details) if one.drill.brings else {}
    _until_it_is_over(under, brought, room)
    under("post-mortem", incident=room.id)
    return room.id


def runner(kept: list[dict[str, Any]], watch: Any) -> RunSection:
    """What runs a section, keeps what came of it, and files it under an incident."""

    def run(slug: str, *, under: str = "", **parameters: Any) -> dict[str, Any]:
        kept.append(run_section(slug, watch=watch, under=under, **parameters))
        return kept[-1]

    return run


def _until_it_is_over(run: RunSection, brought: Mapping[str, Any], room: Room) -> None:
    """Mend, and watch; what does not stay well, or has more than one cause, is assessed again."""
    done: list[Mapping[str, Any]] = []
    for _ in range(_TIMES):
        _mend_what_is_suspected(run, brought, room, done)
        if (run("resolve", incident=room.id)["result"] or {}).get("resolved"):
            return


def _mend_what_is_suspected(
    run: RunSection, brought: Mapping[str, Any], room: Room, done: list[Mapping[str, Any]]
) -> None:
    """Do what the first suspect asks for, until the Studio is well or nobody is left to suspect.

    `done` are the steps so far; the new ones are added.
    """
    while len(done) < _ROUNDS and (step := _suspected(run, done)):
        done.append(step)
        given = {**step["parameters"], **brought.get(step["section"], {})}
        plan_and_apply(run, step["section"], **given)
        if _is_well(run):
            break
    else:
        if not (done and _is_well(run)):
            return
    room.write("mitigated", f"{done[-1]['section']} was applied")


def _suspected(run: RunSection, done: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first step that is not done yet: trouble that has just begun takes some looks to show.

    What was done may take a while, too: nobody else is looked for once nothing is wrong.
    """
    for _ in range(_LOOKS):
        page = run("assess")["result"] or {}
        for suspect in page.get("suspects", ()):
            if suspect["weight"] >= _FAINT and suspect["mend"] not in done:
                step: Mapping[str, Any] = suspect["mend"]
                return step
        if done and page.get("status") == "ok":
            return None
    return None


def _is_well(run: RunSection) -> bool:
    return (run("check-health")["result"] or {}).get("status") == "ok"


def _alarm(clients: Clients) -> str:
    """The runbook's alarm that is raised first, as it is said; nothing after a while."""
    deadline = time.monotonic() + _ALARM_WITHIN_S
    known = clients.environment.alarms
    while time.monotonic() < deadline:
        there = cloudwatch.read_alarms(clients.aws("cloudwatch"), names=known)
        for alarm in there:
            if alarm.state == "ALARM":
                return f"{known[alarm.name].title} {known[alarm.name].when}"
        time.sleep(1)
    return ""
