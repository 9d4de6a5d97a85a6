"""`./runbook drill …`: break the Studio, let somebody mend it, judge what is there."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import Any

import click

from runbook.errors import BadInput, NotReachable
from studio_sandbox import box as sandbox
from studio_sandbox.drills import drill as drills
from studio_sandbox.drills import whole as incidents
from studio_sandbox.state import Box

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def drill() -> None:
    """Break the Studio in one named way, then judge the state that results."""


@drill.command("list")
@_json_option
def list_drills(as_json: bool) -> None:
    """Every drill, with what whoever is on call would hear."""
    found = sandbox.status()
    at_work = {one.drill.name for one in drills.running(found)} if found else set()
    rows = [
        {"name": each.name, "symptom": each.symptom, "running": each.name in at_work}
        for each in drills.drills().values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['name']:<24}{row['symptom']}{'  (running)' if row['running'] else ''}")


@drill.command()
@click.argument("name", default="")
@click.option("--seed", type=int, default=None, help="The same seed breaks it the same way.")
@click.option("--random", "at_random", is_flag=True, help="Any drill; you are not told which.")
@_json_option
def start(name: str, seed: int | None, at_random: bool, as_json: bool) -> None:
    """Break the Studio; says what whoever is on call would hear, and nothing of the cause."""
    if bool(name) == at_random:
        raise BadInput("Give the name of a drill, or --random.", next="./runbook drill list")
    chosen = random.choice(sorted(drills.drills())) if at_random else name  # noqa: S311
    drawn = random.randrange(1_000_000) if seed is None else seed  # noqa: S311
    one = drills.start(_box(), chosen, drawn)
    if as_json:
        shown = {"name": None if at_random else chosen, "seed": drawn, "symptom": one.drill.symptom}
        click.echo(json.dumps(shown))
    else:
        click.echo(one.drill.symptom)
        click.echo(f"seed {drawn}; judge it: ./runbook drill judge {name}".rstrip(), err=True)


@drill.command()
@click.argument("name", default="")
@_json_option
def judge(name: str, as_json: bool) -> None:
    """Say whether the Studio is mended: exit 0 when it is, 1 when not."""
    found = _box()
    told = drills.judge(found, drills.pick(found, name))
    if as_json:
        click.echo(json.dumps(asdict(told), indent=1))
    else:
        click.echo(f"{'mended' if told.mended else 'not mended'} after {told.seconds:.0f} s")
        for finding in told.findings:
            click.echo(f"  {finding}")
        for change in told.unneeded:
            click.echo(f"  not needed: {change}")
        for run in told.evidence:
            click.echo(f"  on record: {run}")
    if not told.mended:
        raise click.exceptions.Exit(1)


@drill.command()
@click.argument("name", default="")
def end(name: str) -> None:
    """Remove what the drill brought, and forget it."""
    found = _box()
    one = drills.pick(found, name)
    drills.end(found, one)
    click.echo(f"{one.drill.name} is over")


@drill.command()
@click.argument("name", default="")
@click.option("--all", "every", is_flag=True, help="Every one that sections mend.")
@click.option("--incident", "whole", is_flag=True, help="From the alarm to the post-mortem.")
@click.option("--seed", type=int, default=0, show_default=True)
@_json_option
def rehearse(name: str, every: bool, whole: bool, seed: int, as_json: bool) -> None:
    """Break, mend through sections run headless and nothing else, judge."""
    if bool(name) == every:
        raise BadInput("Give the name of a drill, or --all.", next="./runbook drill list")
    mendable = [each.name for each in drills.drills().values() if each.mend]
    if name in drills.drills() and name not in mendable:
        raise BadInput(
            f"No section mends {name} yet, so it cannot be rehearsed; it can be mended by hand.",
            next=f"Those that can: {', '.join(mendable)}.",
        )
    found = sandbox.up(say=_say).box
    rows = [rehearsed(found, each, seed, whole) for each in (mendable if every else [name])]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            verdict = "mended" if row["mended"] else "not mended"
            click.echo(f"{row['name']:<24}{verdict} after {row['seconds']:.0f} s")
    worst = max((row["exit_code"] for row in rows), default=0)
    if worst or not all(row["mended"] for row in rows):
        raise click.exceptions.Exit(worst or 1)


def rehearsed(found: Box, name: str, seed: int, whole: bool = False) -> dict[str, Any]:
    """Rehearse one drill: what `judge` says, and the runs that mended it with their worst code.

    `whole`: as an incident, from the alarm to the post-mortem; by what is suspected, then.
    """
    runs: list[dict[str, Any]] = []
    run = incidents.runner(runs, _watch)
    one = drills.start(found, name, seed)
    assert one.drill.mend is not None  # noqa: S101  asked for by the caller
    incident = None
    try:
        if whole:
            incident = incidents.mend(found, one, run)
        else:
            one.drill.mend(run)
        told = drills.judge(found, one)
    finally:
        drills.end(found, one)
    return {
        "name": name,
        **asdict(told),
        "incident": incident,
        "runs": [ended["run_id"] for ended in runs],
        "exit_code": max((ended["exit_code"] for ended in runs), default=0),
    }


def _box() -> Box:
    found = sandbox.status()
    if found is None:
        raise NotReachable("No sandbox is running.", next="./runbook sandbox up")
    return found


def _watch(event: str, text: str) -> None:
    click.echo(f"  {'run ' if event == 'run' else '· '}{text}", err=True)


def _say(text: str) -> None:
    click.echo(f"sandbox: {text}", err=True)
