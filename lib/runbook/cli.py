"""The command line: thin. Each command asks a room below and prints what it says.

Tables and JSON go to stdout, progress and prose to stderr. Rooms are imported by the command that
needs them: an engineer is waiting.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runbook.errors import BadInput, RunbookError

if TYPE_CHECKING:
    from runbook.record.store import Store
    from runbook.settings import Environment

environment_option = click.option(
    "--environment",
    "-e",
    envvar="RUNBOOK_ENVIRONMENT",
    default="",
    metavar="NAME",
    help="A file in parameters/environments. Default: sandbox.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


class _Commands(click.Group):
    """Our commands, and those that others plug in by the entry points `runbook.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugged_in()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = super().get_command(ctx, name)
        if found is None and name in _plugged_in():
            found = _plugged_in()[name].load()
        return found


def main() -> NoReturn:
    """The console script: an error of ours is one sentence, the way on, and its exit code."""
    try:
        # the code of an Exit is what main returns when it is not the one to end the process
        sys.exit(cli.main(prog_name="runbook", standalone_mode=False) or 0)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except RunbookError as error:
        _complain(error.message, error.next)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The operations runbook of Pulse AI Studio, as notebooks that run."""


@cli.command("list")
@environment_option
@json_option
def list_sections(environment: str, as_json: bool) -> None:
    """Every section, with its risk, when it was last run, and when last rehearsed."""
    from runbook.record.runs import last_drills, last_runs
    from runbook.run.sections import sections

    store = _store(environment)
    ran, drilled = last_runs(store), last_drills(store)
    rows = [
        {
            "slug": section.slug,
            "number": section.number,
            "title": section.title,
            "group": section.group,
            "risk": section.risk,
            "last_run": ran.get(section.slug),
            "last_drill": drilled.get(section.slug),
        }
        for section in sections()
    ]
    _table(rows, as_json, "slug", "number", "risk", "title", "last_run", "last_drill")


@cli.command()
@click.argument("section")
@json_option
def show(section: str, as_json: bool) -> None:
    """What a section is for, its parameters, and what it needs."""
    from dataclasses import asdict

    from runbook.run import parameters, sections

    found = sections.find(section)
    declared = [asdict(parameter) for parameter in parameters.declared(found)]
    about = {
        "slug": found.slug,
        "number": found.number,
        "title": found.title,
        "group": found.group,
        "risk": found.risk,
        "purpose": found.purpose,
        "facts": found.facts,
        "permissions": found.facts.get("permissions", ""),
        "parameters": declared,
        "notebook": str(found.path),
    }
    if as_json:
        _json(about)
        return
    click.echo(f"{found.title} ({found.number}, {found.risk} risk)\n\n{found.purpose}\n")
    _table(declared, False, "name", "type", "default", "help")
    click.echo()
    for name, value in found.facts.items():
        click.echo(f"{name:<14} {value}")
    click.echo(f"{'notebook':<14} {found.path}")


@cli.command()
@click.argument("section")
@click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter.")
@click.option("-f", "files", multiple=True, type=Path, help="A YAML file of parameters.")
@click.option("--incident", default="", metavar="ID", help="File the run under an incident.")
@click.option("--apply", default="", metavar="DIGEST", help="Apply exactly this saved plan.")
@click.option("--fail-on", type=click.Choice(["warning", "critical"]), help="Exit 4 when found.")
@click.option("--break-glass", default="", metavar="REASON", help="Past approval; on record.")
@environment_option
@json_option
def run(
    section: str,
    parameters: Sequence[tuple[str, str]],
    files: Sequence[Path],
    incident: str,
    apply: str,
    fail_on: str | None,
    break_glass: str,
    environment: str,
    as_json: bool,
) -> None:
    """Run a section headless: it plans, or with --apply applies exactly the plan of that digest."""
    from runbook.run import request, runner

    try:
        asked = request.make(
            section,
            typed=_typed(parameters, apply),
            given=_from_files(files),
            environment=environment,
            incident=incident,
            break_glass=break_glass,
        )
        _seal_cut_off(asked.environment.name)
        if break_glass:
            _complain("GLASS BROKEN, past approval, freezes and windows.", "It is on record.")
        ended = runner.run(asked, _watch())
    except RunbookError as error:
        ended = runner.refused(section, error)
    _finish(ended, as_json, fail_on)


@cli.command()
@click.argument("run_id", metavar="RUN")
@click.option("--apply", default="", metavar="DIGEST", help="Apply exactly this saved plan.")
@click.option("--break-glass", default="", metavar="REASON", help="Past approval; on record.")
@environment_option
@json_option
def undo(run_id: str, apply: str, break_glass: str, environment: str, as_json: bool) -> None:
    """Plan the inverse of an applied run; with --apply, apply that plan."""
    click.get_current_context().invoke(
        run,
        section="undo-run",
        parameters=(("run", run_id),),
        apply=apply,
        break_glass=break_glass,
        environment=environment,
        as_json=as_json,
    )


@cli.command()
@environment_option
@json_option
def plans(environment: str, as_json: bool) -> None:
    """Plans that wait to be applied, and who has approved them."""
    from runbook.change.saved import waiting
    from runbook.wait import SYSTEM_CLOCK

    now = SYSTEM_CLOCK.now()
    rows = [
        {
            "digest": planned.digest,
            "risk": planned.plan.risk,
            "title": planned.plan.title,
            "section": planned.plan.origin.section if planned.plan.origin else "",
            "planned_by": planned.planned_by,
            "run": planned.run.id,
            "expires_at": planned.expires_at.isoformat(),
            "approved_by": [approval["name"] for approval in planned.approvals(now)],
        }
        for planned in waiting(_store(environment), now)
    ]
    _table(rows, as_json, "digest", "risk", "title", "planned_by", "expires_at", "approved_by")


@cli.command()
@click.argument("digest")
@click.option("--profile", default="", metavar="NAME", help="The identity that approves.")
@environment_option
def approve(digest: str, profile: str, environment: str) -> None:
    """Approve a plan as another identity than the one that planned it."""
    from datetime import timedelta

    from runbook.change import saved
    from runbook.clients import Clients
    from runbook.wait import SYSTEM_CLOCK

    found = _environment(environment)
    planned = saved.find(_store(environment), digest)
    holds_for = timedelta(minutes=found.approval.expire_after_minutes)
    identity = Clients(found, profile=profile).identity
    planned.approve(identity, now=SYSTEM_CLOCK.now(), holds_for=holds_for)
    click.echo(f"{identity.name} approved {planned.digest}: {planned.plan.title}")


@cli.command()
@environment_option
@json_option
def locks(environment: str, as_json: bool) -> None:
    """Who holds what, at which step, and until when."""
    from dataclasses import asdict

    from runbook.change.lock import leases

    rows = [asdict(lease) for lease in leases(_store(environment))]
    _table(rows, as_json, "target", "holder", "step", "run", "expires_at")


@cli.command()
@click.argument("target")
@click.option("--reason", required=True, help="Why; it is recorded.")
@environment_option
def takeover(target: str, reason: str, environment: str) -> None:
    """Take a lock from a run that has expired or is gone; it is recorded."""
    from runbook.change.lock import give_up
    from runbook.clients import Clients

    by = Clients(_environment(environment)).identity.name
    lease = give_up(_store(environment), target, by=by, reason=reason)
    click.echo(f"{target} is free; it was held by {lease.holder} (run {lease.run}).")


@cli.command()
@click.option("--incident", default="", metavar="ID", help="Of this incident only.")
@click.option("--since", default="", metavar="DATE", help="Begun at or after, such as 2026-11-24.")
@environment_option
@json_option
def runs(incident: str, since: str, environment: str, as_json: bool) -> None:
    """The record: every run, newest first."""
    from runbook.record.runs import runs as recorded

    rows = [
        about
        for about in recorded(_store(environment))
        if (not incident or about["incident"] == incident) and about["started_at"] >= since
    ]
    _table(rows, as_json, "run_id", "verdict", "operator", "started_at", "changes_applied")


@cli.command("run-show")
@click.argument("run_id", metavar="RUN")
@environment_option
@json_option
def run_show(run_id: str, environment: str, as_json: bool) -> None:
    """One run: its verdict, what it planned and changed, and where its notebook is."""
    from runbook.record.runs import Run
    from runbook.run import runner

    found = runner.summary(Run(_store(environment), run_id))
    _json(found) if as_json else _tell(found)


@cli.command()
@environment_option
@json_option
def reconcile(environment: str, as_json: bool) -> None:
    """Look up in the world what became of changes that were cut off, and record it."""
    from dataclasses import asdict

    from runbook.change.reconcile import reconcile as settle_all
    from runbook.clients import Clients

    clients = Clients(_environment(environment))
    store = _store(environment)
    found = list(settle_all(clients, store, by=clients.identity.name))
    _table([asdict(each) for each in found], as_json, "run", "target", "outcome")
    if any(each.outcome == "unknown" for each in found):
        raise click.exceptions.Exit(3)


@cli.command()
@click.option("--port", default=0, help="Default: any free one.")
@click.option("--browser/--no-browser", default=True, help="Open it where there is a display.")
def lab(port: int, browser: bool) -> None:
    """JupyterLab on copies of the notebooks, on loopback, with a token."""
    from runbook import lab as jupyterlab

    raise click.exceptions.Exit(jupyterlab.serve(port=port, open_browser=browser))


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: Sequence[str]) -> None:
    """All tests; with ARGS, pytest alone with these."""
    from runbook.selftest import run_all

    raise click.exceptions.Exit(run_all(arguments))


def _plugged_in() -> Mapping[str, Any]:
    return {entry.name: entry for entry in entry_points(group="runbook.commands")}


def _environment(name: str) -> Environment:
    from runbook import settings
    from runbook.run.request import DEFAULT_ENVIRONMENT

    return settings.load(name or DEFAULT_ENVIRONMENT)


def _store(environment: str) -> Store:
    """The environment's record, with every run sealed that was cut off."""
    from runbook.record.runs import store_of

    _seal_cut_off(environment)
    return store_of(_environment(environment))


def _seal_cut_off(environment: str) -> None:
    from runbook.record.runs import store_of
    from runbook.run.verdict import seal_cut_off

    for about in seal_cut_off(store_of(_environment(environment))):
        if about["verdict"] == "unknown":
            _complain(
                f"Run {about['run_id']} was cut off; something may have changed.",
                "Read the world: ./runbook reconcile",
            )


def _typed(parameters: Iterable[tuple[str, str]], apply: str) -> dict[str, str]:
    """Parameters by name. Raises BadInput for one that is given twice with different values."""
    typed: dict[str, str] = {}
    for name, value in [*parameters, *([("apply", apply)] if apply else [])]:
        if typed.setdefault(name, value) != value:
            raise BadInput(
                f"{name} is given twice, as {typed[name]!r} and as {value!r}.", next="Give it once."
            )
    return typed


def _from_files(files: Iterable[Path]) -> dict[str, Any]:
    from runbook.settings import read_yaml

    given: dict[str, Any] = {}
    for path in files:
        if not path.is_file():
            raise BadInput(f"-f {path}: there is no such file.")
        given.update(read_yaml(path))
    return given


def _watch() -> Callable[[str, str], None]:
    """Progress on stderr: the run's id, then each step as it begins."""

    def say(event: str, text: str) -> None:
        click.echo(f"  {'run ' if event == 'run' else '· '}{text}", err=True)

    return say


def _finish(ended: dict[str, Any], as_json: bool, fail_on: str | None) -> NoReturn:
    from runbook.run.verdict import FINDINGS_EXIT

    code = ended["exit_code"]
    status = (ended["result"] or {}).get("status")
    bad = {"warning": ("warning", "critical"), "critical": ("critical",)}.get(fail_on or "", ())
    if code == 0 and status in bad:
        code = ended["exit_code"] = FINDINGS_EXIT
    _json(ended) if as_json else _tell(ended)
    raise click.exceptions.Exit(code)


def _tell(ended: Mapping[str, Any]) -> None:
    """A run for a person: the plan or what was changed, then the verdict and the way on."""
    from runbook.change import render
    from runbook.change.plan import Plan
    from runbook.run import request

    if ended["plan"] and ended["verdict"] == "planned":
        content = {key: value for key, value in ended["plan"].items() if key != "digest"}
        command = request.command(ended["section"], ended["plan"]["digest"], ended["environment"])
        click.echo(render.text(render.plan_page(Plan.from_json(content), command=command)))
    if ended["result"]:
        click.echo(f"found     {json.dumps(ended['result'], ensure_ascii=False)}")
    click.echo(f"verdict   {ended['verdict'].replace('_', ' ')}")
    if ended["changes_applied"]:
        click.echo(f"changed   {ended['plan']['title']}")
        click.echo(f"way back  ./runbook undo {ended['run_id']}")
    if ended["run_id"]:
        click.echo(f"notebook  {ended['notebook']}")
    if ended["error"]:
        _complain(ended["error"]["message"], ended["error"]["next"])


def _complain(message: str, next: str) -> None:
    click.echo(f"runbook: {message}", err=True)
    if next:
        click.echo(f"  → {next}", err=True)


def _json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def _table(rows: Sequence[Mapping[str, Any]], as_json: bool, *columns: str) -> None:
    """Rows as JSON, or these columns of them as a table."""
    if as_json:
        _json(list(rows))
        return
    if not rows:
        click.echo("none", err=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    console = Console()
    # into a pipe a line is a row, however long
    (console if console.is_terminal else Console(width=400)).print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return escape(shown[:19].replace("T", " ") if _is_time(shown) else shown)


def _is_time(text: str) -> bool:
    return len(text) >= 20 and text[4:5] == "-" and text[10:11] == "T"
