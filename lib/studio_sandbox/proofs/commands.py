"""`./runbook prove NAME`: try a promise many times, in a state folder made for it alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from runbook.errors import BadInput, Failed
from studio_sandbox import box as sandbox
from studio_sandbox.proofs.proof import PROOFS, Asked


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="Every proof, with what it proves.")
@click.option("--runs", default=0, help="How often; 0 is the proof's own number.")
@click.option("--seed", default=7, show_default=True, help="Of what is drawn at random.")
@click.option("--drills", default="", help="Names with commas between, where a proof has them.")
@click.option("--seeds", default=0, help="How many of each drill; 0 is the proof's own number.")
@click.option("--within", "within_s", default=3600.0, show_default=True, help="At most, seconds.")
def prove(
    name: str | None,
    listed: bool,
    runs: int,
    seed: int,
    drills: str,
    seeds: int,
    within_s: float,
) -> None:
    """Try a promise of the runbook many times, on real servers."""
    if listed or not name:
        for each, proof in PROOFS.items():
            click.echo(f"{each:<16}{proof.promise}")
        return
    if name not in PROOFS:
        raise BadInput(f"There is no proof {name!r}; there are: {', '.join(PROOFS)}.")
    with _home_of_its_own() as home:
        try:
            if PROOFS[name].sandbox:
                sandbox.up(still=True, tied=True)
            proven = PROOFS[name].run(
                Asked(home, runs, seed, within_s, click.echo, drills=drills, seeds=seeds)
            )
        finally:
            sandbox.down(home / "sandbox")
    click.echo(proven.table())
    if not proven.holds:
        raise Failed("The proof failed: see what is wrong above.")


@contextmanager
def _home_of_its_own() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="runbook-proof-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    before = os.environ.get("RUNBOOK_HOME")
    os.environ["RUNBOOK_HOME"] = str(home)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            del os.environ["RUNBOOK_HOME"]
        else:
            os.environ["RUNBOOK_HOME"] = before
