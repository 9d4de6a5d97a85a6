"""`./runbook sandbox …`: the Studio in a box from a shell. JSON and exports alone on stdout."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import click

from runbook.errors import NotReachable
from studio_sandbox import box
from studio_sandbox.state import Box


@click.group()
def sandbox() -> None:
    """The whole Studio on this machine: PostgreSQL, Redis and AWS, on loopback."""


@sandbox.command()
@click.option("--still", is_flag=True, help="No traffic, ages in whole minutes: for comparing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def up(still: bool, as_json: bool) -> None:
    """Start it and make all its data anew; when it runs already, say so and change nothing."""
    began = time.monotonic()
    started = box.up(still=still, say=_say)
    if started.fresh:
        _say(f"ready after {time.monotonic() - began:.1f} s")
    else:
        _say("was running already; nothing was changed (`reset` puts everything back)")
    _show(started.box, as_json=as_json, more={"started": started.fresh})


@sandbox.command()
def down() -> None:
    """Stop it; afterwards none of its processes is left."""
    _say("stopped" if box.down() else "was not running")


@sandbox.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(as_json: bool) -> None:
    """Say whether it runs, how it is reached, and its processes."""
    _show(box.status(), as_json=as_json)


@sandbox.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def reset(as_json: bool) -> None:
    """Put everything back as after a start, with the same servers and URLs."""
    began = time.monotonic()
    found = box.reset(say=_say)
    _say(f"as new after {time.monotonic() - began:.1f} s")
    _show(found, as_json=as_json)


@sandbox.command()
def env() -> None:
    """Print shell exports for other clients: eval "$(./runbook sandbox env)"."""
    found = box.status()
    if found is None:
        raise NotReachable("No sandbox is running.", next="./runbook sandbox up")
    for name, value in box.environment_variables(found).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def as_data(found: Box | None, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `status --json` prints. Nothing but `running` has a value when none runs."""
    return {
        "running": found is not None,
        "aws_endpoint_url": found.aws_endpoint_url if found else None,
        "endpoints_url": found.endpoints_url if found else None,
        "database_url": found.database_url if found else None,
        "redis_url": found.redis_url if found else None,
        "pids": found.pids if found else None,
        "still": found.still if found else None,
        "anchor": found.anchor.isoformat() if found else None,
    } | (more or {})


def _show(found: Box | None, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        click.echo(json.dumps(as_data(found, more), indent=1))
    elif found is None:
        click.echo("not running; start it: ./runbook sandbox up")
    else:
        kind = "running, still" if found.still else "running"
        click.echo(f"{kind}; its data is as of {found.anchor:%Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"AWS         {found.aws_endpoint_url}")
        click.echo(f"endpoints   {found.endpoints_url}")
        click.echo(f"PostgreSQL  {_masked(found.database_url)}")
        click.echo(f"Redis       {_masked(found.redis_url)}")
        click.echo(f"processes   {' '.join(f'{name}={pid}' for name, pid in found.pids.items())}")


def _masked(url: str) -> str:
    """A URL without its password: `env` and `--json` give it, a screen need not."""
    head, _, place = url.rpartition("@")
    return f"{head.rpartition(':')[0]}:…@{place}"


def _say(text: str) -> None:
    click.echo(f"sandbox: {text}", err=True)
