"""`./runbook incident …` and `./runbook alarm`: thin, as all commands are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from runbook.console import (
    environment_named,
    environment_option,
    json_option,
    print_json,
    print_table,
    record_at_hand,
    watch,
)

if TYPE_CHECKING:
    from runbook.incident.room import Room

# left out: the only one that is open, or the last one
incident_argument = click.argument(
    "name", metavar="[INCIDENT]", default="", envvar="RUNBOOK_INCIDENT"
)


@click.group()
def incident() -> None:
    """Incidents: opened, told, noted and read."""


@incident.command("open")
@click.argument("title")
@click.option("--severity", default="P1", show_default=True, help="P0, P1, P2 or P3.")
@click.option("--tell/--quiet", default=True, help="Tell Slack and by mail.  [default: tell]")
@environment_option
@json_option
def incident_open(title: str, severity: str, tell: bool, environment: str, as_json: bool) -> None:
    """Open one, and tell the team; its clock runs from now."""
    from runbook.clients import Clients
    from runbook.incident.room import open_room

    store, clients = record_at_hand(environment), Clients(environment_named(environment))
    room, told = open_room(store, clients, title=title, severity=severity, tell=tell)
    opened = room.incident
    if as_json:
        print_json({**vars(opened), "told": [vars(each) for each in told]})
        return
    click.echo(f"{opened.id}  {opened.severity}  {opened.title}")
    for each in told:
        click.echo(f"  {each.channel}: {each.problem or 'told'}")
    click.echo(f"  → ./runbook run SECTION --incident {opened.id}")


@incident.command("list")
@environment_option
@json_option
def incident_list(environment: str, as_json: bool) -> None:
    """All of them, newest first."""
    from runbook.clients import Clients
    from runbook.incident import book
    from runbook.incident.room import Room

    store, clients = record_at_hand(environment), Clients(environment_named(environment))
    rows = []
    for each in book.incidents(store):
        state = Room(store, clients, each).state()
        rows.append({**vars(each), "opened_at": each.opened_at.isoformat(),
                     "severity": state.severity, "status": state.status})  # fmt: skip
    print_table(rows, as_json, "id", "severity", "status", "title", "opened_by", "opened_at")


@incident.command("show")
@incident_argument
@environment_option
@json_option
def incident_show(name: str, environment: str, as_json: bool) -> None:
    """One of them: its clocks, what was noted and told, and the runs that are filed under it."""
    room = _room(name, environment)
    state, filed = room.state(), room.runs()
    happened = [{**vars(each), "at": each.at.isoformat()} for each in room.events()]
    if as_json:
        about = {
            "status": state.status, "severity": state.severity, "roles": dict(state.roles),
            "clocks": state.clock_table().records(), "events": happened,
            "actions": state.action_table().records(), "runs": [each["run_id"] for each in filed],
        }  # fmt: skip
        print_json({**vars(room.incident), **about})
        return
    click.echo(f"{room.id}  {state.severity}  {state.status}  {room.incident.title}\n")
    print_table(state.clock_table().records(), False, "step", "due", "done", "", "status")
    click.echo()
    print_table(happened, False, "at", "by", "kind", "text")
    click.echo()
    print_table(filed, False, "run_id", "section", "verdict", "operator")


@incident.command("note")
@click.argument("name", metavar="INCIDENT")
@click.argument("text")
@environment_option
def incident_note(name: str, text: str, environment: str) -> None:
    """Write down what you saw, thought or decided."""
    _say(_room(name, environment).write("note", text))


@incident.command("mitigated")
@click.argument("name", metavar="INCIDENT")
@click.argument("text")
@environment_option
def incident_mitigated(name: str, text: str, environment: str) -> None:
    """Write down that users are no longer hurt, and what was done for it; its clock stops."""
    _say(_room(name, environment).write("mitigated", text))


@incident.command("role")
@click.argument("name", metavar="INCIDENT")
@click.argument("role")
@click.argument("person")
@environment_option
def incident_role(name: str, role: str, person: str, environment: str) -> None:
    """Who does what: lead, scribe, talks to customers."""
    _say(_room(name, environment).take_role(role, person))


@incident.command("severity")
@click.argument("name", metavar="INCIDENT")
@click.argument("severity")
@click.argument("why")
@environment_option
def incident_severity(name: str, severity: str, why: str, environment: str) -> None:
    """Raise or lower it, and say why."""
    _say(_room(name, environment).set_severity(severity, why))


@incident.command("action")
@click.argument("name", metavar="INCIDENT")
@click.argument("text")
@click.option("--owner", default="", help="Who does it.")
@click.option("--section", default="", help="It is done once this section has changed.")
@environment_option
def incident_action(name: str, text: str, owner: str, section: str, environment: str) -> None:
    """Write down what has to be done afterwards."""
    written = _room(name, environment).add_action(text, owner=owner, section=section)
    click.echo(f"{written.key}  {written.text}")


@incident.command("done")
@click.argument("name", metavar="INCIDENT")
@click.argument("action")
@environment_option
def incident_done(name: str, action: str, environment: str) -> None:
    """Close an action, by the beginning of its id."""
    _say(_room(name, environment).close_action(action))


@incident.command("timeline")
@incident_argument
@environment_option
@json_option
def incident_timeline(name: str, environment: str, as_json: bool) -> None:
    """Everything that happened: runs, changes, alarms, ECS, CloudTrail, notes; gaps are shown."""
    found = _room(name, environment).timeline()
    if as_json:
        print_json(found.findings())
        return
    print_table(found.table().records(), False, "at", "source", "who", "what", "")
    click.echo(f"\n{found.says}")


@incident.command("handover")
@incident_argument
@environment_option
@json_option
def incident_handover(name: str, environment: str, as_json: bool) -> None:
    """What whoever comes next has to know: done, remaining, locks held, approvals pending."""
    from runbook.incident import handover

    found = handover.read(_room(name, environment))
    print_json(found.as_json()) if as_json else click.echo(found.text())


@incident.command("post-mortem")
@incident_argument
@environment_option
@json_option
def incident_post_mortem(name: str, environment: str, as_json: bool) -> None:
    """Write the draft: a run of the section, whose executed copy and Markdown are kept."""
    from runbook.run import request, runner

    room = _room(name, environment)
    asked = request.make("post-mortem", environment=environment, incident=room.id)
    ended = runner.run(asked, watch())
    written = room.store.read(f"runs/{ended['run_id']}/post-mortem.md")
    if as_json:
        print_json(ended)
    elif written:
        click.echo(written.data.decode())
        click.echo(f"notebook  {ended['notebook']}", err=True)
    raise click.exceptions.Exit(ended["exit_code"])


@click.command("alarm")
@click.argument("name", default="")
@environment_option
@json_option
def alarm(name: str, environment: str, as_json: bool) -> None:
    """Answer an alarm: by NAME, or its SNS or EventBridge JSON on stdin.

    Opens or joins an incident, runs assess and the alarm's section, tells the team.
    """
    from runbook.clients import Clients
    from runbook.incident import alarm as alarms
    from runbook.run.sweep import exit_code

    clients = Clients(environment_named(environment))
    event = alarms.named(clients, name) if name else alarms.parse(sys.stdin.read())
    answered = alarms.answer(record_at_hand(environment), clients, event)
    incident = answered.room.id if answered.room else None
    if as_json:
        print_json({"alarm": event.name, "state": event.state, "incident": incident,
                    "opened": answered.opened, "runs": list(answered.rows)})  # fmt: skip
    else:
        click.echo(f"{event.says}\nincident  {incident or 'none'}")
        print_table(answered.rows, False, "section", "status", "verdict", "says", "run_id")
        click.echo(answered.says)
    raise click.exceptions.Exit(exit_code(answered.rows))


def _room(name: str, environment: str) -> Room:
    from runbook.clients import Clients
    from runbook.incident.room import enter

    return enter(record_at_hand(environment), Clients(environment_named(environment)), name)


def _say(written: Any) -> None:
    click.echo(f"{written.at:%H:%M:%S} UTC  {written.text}")
