"""What every command shares: its options, tables and JSON, complaints, the record at hand.

Tables and JSON go to stdout, progress and prose to stderr.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

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


def environment_named(name: str) -> Environment:
    from runbook import settings
    from runbook.run.request import DEFAULT_ENVIRONMENT

    return settings.load(name or DEFAULT_ENVIRONMENT)


def record_at_hand(environment: str) -> Store:
    """The environment's record, or its spool, with every run sealed that was cut off."""
    from runbook.record.runs import spool_of
    from runbook.record.spool import at_hand
    from runbook.run.verdict import seal_cut_off

    found = environment_named(environment)
    cut_off = seal_cut_off(spool_of(found))
    store = at_hand(found)
    for about in [*cut_off, *seal_cut_off(store)]:
        if about["verdict"] == "unknown":
            complain(
                f"Run {about['run_id']} was cut off; something may have changed.",
                "Read the world: ./runbook reconcile",
            )
    return store


def watch() -> Callable[[str, str], None]:
    """Progress on stderr: the run's id, then each step as it begins."""

    def say(event: str, text: str) -> None:
        click.echo(f"  {'run ' if event == 'run' else '· '}{text}", err=True)

    return say


def complain(message: str, next: str) -> None:
    click.echo(f"runbook: {message}", err=True)
    if next:
        click.echo(f"  → {next}", err=True)


def print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], as_json: bool, *columns: str) -> None:
    """Rows as JSON, or these columns of them as a table."""
    if as_json:
        print_json(list(rows))
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
