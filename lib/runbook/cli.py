"""The command line: thin. Each command asks a room below and prints what it says.

Tables and JSON go to stdout, progress and prose to stderr. Rooms are imported by the command that
needs them: an engineer is waiting.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runbook.console import (
    complain,
    environment_named,
    environment_option,
    json_option,
    print_json,
    print_table,
    record_at_hand,
    watch,
)
from runbook.errors import BadInput, RunbookError
from runbook.incident_commands import alarm, incident

if TYPE_CHECKING:
    from runbook.record.store import Store

incident_option = click.option(
    "--incident",
    envvar="RUNBOOK_INCIDENT",
    default="",
    metavar="ID",
    help="File the run under an incident.  [env: RUNBOOK_INCIDENT]",
)
fail_on_option = click.option(
    "--fail-on", type=click.Choice(["warning", "critical"]), help="Exit 4 when found."
)


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
        complain(error.message, error.next)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The operations runbook of Pulse AI Studio, as notebooks that run."""


cli.add_command(incident)
cli.add_command(alarm)


@cli.command("list")
@environment_option
@json_option
def list_sections(environment: str, as_json: bool) -> None:
    """Every section, with its risk, when it was last run, and when last rehearsed."""
    from runbook.record.runs import last_drills, last_runs
    from runbook.run.sections import sections

    store = record_at_hand(environment)
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
    print_table(rows, as_json, "slug", "number", "risk", "title", "last_run", "last_drill")


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
        print_json(about)
        return
    click.echo(f"{found.title} ({found.number}, {found.risk} risk)\n\n{found.purpose}\n")
    print_table(declared, False, "name", "type", "default", "help")
    click.echo()
    for name, value in found.facts.items():
        click.echo(f"{name:<14} {value}")
    click.echo(f"{'notebook':<14} {found.path}")


@cli.command()
@click.argument("section")
@click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter.")
@click.option("-f", "files", multiple=True, type=Path, help="A YAML file of parameters.")
@incident_option
@click.option("--apply", default="", metavar="DIGEST", help="Apply exactly this saved plan.")
@fail_on_option
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
        record_at_hand(asked.environment.name)
        if break_glass:
            complain("GLASS BROKEN, past approval, freezes and windows.", "It is on record.")
        ended = runner.run(asked, watch())
    except RunbookError as error:
        ended = runner.refused(section, error)
    _finish(ended, as_json, fail_on)


@cli.command()
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="So many at once. Default: one for each core, four at most.",
)
@fail_on_option
@environment_option
@json_option
def sweep(jobs: int, fail_on: str | None, environment: str, as_json: bool) -> None:
    """Every read-only section marked for it, side by side: one table, worst first."""
    from runbook.run import sweep as sweeping

    def say(row: Mapping[str, Any]) -> None:
        click.echo(f"  · {row['section']}: {row['status'] or row['verdict']}", err=True)

    found = environment_named(environment)
    record_at_hand(found.name)
    rows = sweeping.sweep(found.name, jobs=jobs, fail_on=fail_on or "", watch=say)
    print_table(rows, as_json, "status", "section", "says", "verdict", "run_id")
    raise click.exceptions.Exit(sweeping.exit_code(rows))


@cli.command()
@click.argument("form", type=click.Choice(["crontab", "github"]))
def schedule(form: str) -> None:
    """What runs by itself, from parameters/schedule.yaml: lines of a crontab, or a workflow."""
    from runbook.run import schedule as scheduling

    write = {"crontab": scheduling.crontab, "github": scheduling.github}[form]
    click.echo(write(scheduling.read()), nl=False)


@cli.command()
@click.argument("run_id", metavar="RUN")
@click.option("--apply", default="", metavar="DIGEST", help="Apply exactly this saved plan.")
@incident_option
@click.option("--break-glass", default="", metavar="REASON", help="Past approval; on record.")
@environment_option
@json_option
def undo(
    run_id: str, apply: str, incident: str, break_glass: str, environment: str, as_json: bool
) -> None:
    """Plan the inverse of an applied run; with --apply, apply that plan."""
    click.get_current_context().invoke(
        run,
        section="undo-run",
        parameters=(("run", run_id),),
        apply=apply,
        incident=incident,
        break_glass=break_glass,
        environment=environment,
        as_json=as_json,
    )


@cli.command()
@click.argument("section")
@json_option
def iam(section: str, as_json: bool) -> None:
    """The least policy that a section needs, as IAM takes it."""
    from runbook.run.policy import policy
    from runbook.run.sections import find

    print_json(policy(find(section)))
    if not as_json:
        click.echo("Every resource is meant: narrow it down to those of the Studio.", err=True)


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
        for planned in waiting(record_at_hand(environment), now)
    ]
    print_table(rows, as_json, "digest", "risk", "title", "planned_by", "expires_at", "approved_by")


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

    found = environment_named(environment)
    planned = saved.find(record_at_hand(environment), digest)
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

    rows = [asdict(lease) for lease in leases(record_at_hand(environment))]
    print_table(rows, as_json, "target", "holder", "step", "run", "expires_at")


@cli.command()
@click.argument("target")
@click.option("--reason", required=True, help="Why; it is recorded.")
@environment_option
def takeover(target: str, reason: str, environment: str) -> None:
    """Take a lock from a run that has expired or is gone; it is recorded."""
    from runbook.change.lock import give_up
    from runbook.clients import Clients

    by = Clients(environment_named(environment)).identity.name
    lease = give_up(record_at_hand(environment), target, by=by, reason=reason)
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
        for about in recorded(record_at_hand(environment))
        if (not incident or about["incident"] == incident) and about["started_at"] >= since
    ]
    print_table(rows, as_json, "run_id", "verdict", "operator", "started_at", "changes_applied")


@cli.command("run-show")
@click.argument("run_id", metavar="RUN")
@environment_option
@json_option
def run_show(run_id: str, environment: str, as_json: bool) -> None:
    """One run: its verdict, what it planned and changed, and where its notebook is."""
    from runbook.record.runs import Run
    from runbook.run import runner

    found = runner.summary(Run(record_at_hand(environment), run_id))
    print_json(found) if as_json else _tell(found)


@cli.command()
@environment_option
@json_option
def anchor(environment: str, as_json: bool) -> None:
    """Write the ledger's head where the environment keeps its anchors."""
    from runbook.record import ledger
    from runbook.record.runs import anchors_of
    from runbook.wait import SYSTEM_CLOCK

    found = environment_named(environment)
    made = ledger.anchor(
        _record(environment), anchors_of(found), environment=found.name, clock=SYSTEM_CLOCK
    )
    if as_json:
        print_json(vars(made))
    else:
        click.echo(f"entry {made.sequence}, {made.sha256}, anchored at {made.at[:19]} UTC")


@cli.command()
@click.option("--anchor", "anchored", is_flag=True, help="Compare with every anchor, too.")
@environment_option
@json_option
def verify(anchored: bool, environment: str, as_json: bool) -> None:
    """Whether the record is as it was sealed: what was changed, removed, inserted, cut off."""
    from runbook.record.ledger import all_anchors
    from runbook.record.runs import anchors_of
    from runbook.record.verify import verify as look

    anchors = all_anchors(anchors_of(environment_named(environment))) if anchored else None
    found = look(_record(environment), anchors)
    if as_json:
        print_json(found.as_json())
    else:
        for finding in found.findings:
            click.echo(str(finding))
        click.echo(found.summary())
    raise click.exceptions.Exit(0 if found.holds else 1)


@cli.command()
@environment_option
@click.option("--give-up", metavar="RUN", help="Close what cannot be told of this run.")
@click.option("--reason", default="", help="Why, as it will be on record.")
@json_option
def reconcile(environment: str, give_up: str | None, reason: str, as_json: bool) -> None:
    """Look up in the world what became of changes that were cut off, and record it."""
    from dataclasses import asdict

    from runbook.change.reconcile import reconcile as settle_all
    from runbook.clients import Clients

    if bool(give_up) != bool(reason.strip()):
        raise BadInput(
            "A run is given up for a reason: expected both or neither.",
            next="./runbook reconcile --give-up RUN --reason WHY",
        )
    clients = Clients(environment_named(environment))
    store = record_at_hand(environment)
    settled = settle_all(
        clients, store, by=clients.identity.name, give_up=give_up or "", reason=reason.strip()
    )
    found = list(settled)
    print_table([asdict(each) for each in found], as_json, "run", "target", "outcome")
    if unknown := sorted({each.run for each in found if each.outcome == "unknown"}):
        click.echo(
            "unknown: still under way, or the world does not answer; run this again in a moment. "
            "Where it stays so, the target may have moved on since: look at it yourself, and say "
            f"what you saw: ./runbook reconcile --give-up {unknown[0]} --reason WHY",
            err=True,
        )
        raise click.exceptions.Exit(3)


@cli.group()
def review() -> None:
    """The review site: static pages of the record, for whoever reads afterwards."""


@review.command("build")
@click.option("--to", "folder", type=Path, help="Default: review in the state folder.")
@environment_option
def review_build(folder: Path | None, environment: str) -> None:
    """Make a page of every run, and an index of them."""
    where = _review_folder(folder, environment)
    count = _build_review(where, environment)
    click.echo(f"{count} runs: {where / 'index.html'}")


@review.command("serve")
@click.option("--to", "folder", type=Path, help="Default: review in the state folder.")
@click.option("--port", default=0, help="Default: any free one.")
@environment_option
def review_serve(folder: Path | None, port: int, environment: str) -> None:
    """Make the pages anew and serve them on loopback, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    where = _review_folder(folder, environment)
    _build_review(where, environment)
    handler = partial(SimpleHTTPRequestHandler, directory=str(where))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        click.echo(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


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


def _review_folder(folder: Path | None, environment: str) -> Path:
    from runbook import settings

    return folder or settings.home() / "review" / environment_named(environment).name


def _build_review(folder: Path, environment: str) -> int:
    from runbook.record.review import build

    return build(record_at_hand(environment), folder)


def _plugged_in() -> Mapping[str, Any]:
    return {entry.name: entry for entry in entry_points(group="runbook.commands")}


def _record(environment: str) -> Store:
    """The environment's record, whole: the spool is none of it. Raises RecordUnavailable."""
    from runbook.record.runs import store_of

    record_at_hand(environment)
    return store_of(environment_named(environment))


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


def _finish(ended: dict[str, Any], as_json: bool, fail_on: str | None) -> NoReturn:
    from runbook.run.verdict import exit_code_for

    code = ended["exit_code"] = exit_code_for(ended, fail_on or "")
    print_json(ended) if as_json else _tell(ended)
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
        result = ended["result"]
        told = f"{result['status']}: {result['says']}" if "says" in result else ""
        click.echo(f"found     {told or json.dumps(result, ensure_ascii=False)}")
    click.echo(f"verdict   {ended['verdict'].replace('_', ' ')}")
    if ended["changes_applied"]:
        click.echo(f"changed   {ended['plan']['title']}")
        click.echo(f"way back  ./runbook undo {ended['run_id']}")
    if ended["run_id"]:
        click.echo(f"notebook  {ended['notebook']}")
    if ended["error"]:
        complain(ended["error"]["message"], ended["error"]["next"])
