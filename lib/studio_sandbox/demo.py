"""`./runbook demo`: the main job from nothing, on real parts, with all of it to be seen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from runbook import settings
from runbook.clients import Clients
from runbook.errors import Failed
from runbook.incident.room import Room, open_room
from runbook.record.runs import store_of
from studio_sandbox import box as sandbox
from studio_sandbox.drills import drill as drills

_DRILL = "stuck-jobs"
_SECTION, _POST_MORTEM = "clear-stuck-jobs", "post-mortem"
_SEED = 7


@click.command()
def demo() -> None:
    """Start the Studio, break it, let sections find and mend it, and look back at it."""
    began = time.monotonic()
    _step(1, "The Studio in a box: PostgreSQL, Redis and AWS on this machine")
    found = sandbox.up(say=lambda text: _say(text)).box
    for one in drills.running(found):
        if one.drill.name == _DRILL:
            drills.end(found, one)
    _step(2, "Something breaks")
    one = drills.start(found, _DRILL, _SEED)
    _say(f"“{one.drill.symptom}”")
    room = _open(one.drill.symptom)
    _say(f"opened as {room.id}")
    _step(3, f"Section {_SECTION} looks, and plans")
    planned = _run(_SECTION, room)
    _say(_found(planned))
    _say(f"{planned['plan']['digest'][:11]}  {planned['plan']['title']}; nothing changed yet")
    _step(4, "The same section applies exactly that plan, and reads back")
    applied = _run(_SECTION, room, apply=planned["plan"]["digest"])
    _say(f"applied and verified; {applied['result']['left']:,} jobs are stuck now")
    _step(5, "The drill is judged by what is in the database")
    told = drills.judge(found, one)  # it stays, so that the way back can be tried
    if not told.mended:
        raise Failed("The Studio is not mended: " + "; ".join(told.findings))
    _say(f"mended, {told.seconds:.0f} s after it broke")
    _step(6, "The incident is looked back at, from what is on record")
    room.write("resolved", "judged by what is in the database")
    written = _run(_POST_MORTEM, room)
    _tell(planned, applied, written, time.monotonic() - began)


def _open(title: str) -> Room:
    environment = settings.load(drills.ENVIRONMENT)
    store, clients = store_of(environment), Clients(environment)
    room, _ = open_room(store, clients, title=title, severity="P2", tell=False)
    return room


def _run(section: str, room: Room, **parameters: Any) -> dict[str, Any]:
    """Run a section with its steps on the screen. Raises Failed unless it came out well."""

    def watch(event: str, text: str) -> None:
        if event == "step":
            _say(f"· {text}")

    ended = drills.run_section(section, watch=watch, under=room.id, **parameters)
    if ended["exit_code"]:
        error = ended["error"]
        raise Failed(f"{section} {ended['verdict']}: {error['message']}", next=error["next"])
    return ended


def _found(ended: dict[str, Any]) -> str:
    result = ended["result"]
    return f"{result['stuck']:,} jobs are stuck, the oldest for {result['oldest_minutes']:,} min"


def _tell(
    planned: dict[str, Any], applied: dict[str, Any], written: dict[str, Any], seconds: float
) -> None:
    change = applied["plan"]["changes"][0]
    before, after = change["before"], change["after"]
    click.echo()
    click.echo(f"found      {_found(planned)}")
    click.echo(
        f"changed    {change['target']}: {before['rows']:,} jobs from {before['status']} "
        f"to {after['status']}, verified"
    )
    click.echo(f"notebook   {_from_here(applied['notebook'])}")
    draft = str(Path(written["notebook"]).with_name("post-mortem.md"))
    click.echo(f"afterwards {_from_here(draft)}")
    click.echo(f"way back   ./runbook undo {applied['run_id']}")
    click.echo(f"took       {seconds:.1f} s; the Studio is still on: ./runbook sandbox down")


def _from_here(path: str) -> str:
    """A path below the current folder as a person would type it."""
    return path.removeprefix(f"{Path.cwd()}/")


def _step(number: int, text: str) -> None:
    click.echo(f"{number}/6  {text}", err=True)


def _say(text: str) -> None:
    click.echo(f"     {text}", err=True)
