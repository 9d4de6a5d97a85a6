"""`./runbook prove NAME`: try a promise many times, in a sandbox started for it alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import click

from runbook.errors import BadInput, Failed
from studio_sandbox import box as sandbox

_PROOFS = {
    "kills": "who applies a plan is killed at random moments; the record tells the truth, "
    "and the plan is resumed to its end",
}


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="Every proof, with what it proves.")
@click.option("--runs", default=500, show_default=True, help="How often.")
@click.option("--seed", default=7, show_default=True, help="Of the random moments.")
@click.option("--within", "within_s", default=3600.0, show_default=True, help="At most, seconds.")
def prove(name: str | None, listed: bool, runs: int, seed: int, within_s: float) -> None:
    """Try a promise of the runbook many times, on real servers."""
    if listed or not name:
        for each, what in _PROOFS.items():
            click.echo(f"{each:<12}{what}")
        return
    if name not in _PROOFS:
        raise BadInput(f"There is no proof {name!r}; there are: {', '.join(_PROOFS)}.")
    from studio_sandbox.proofs import kills

    home = Path(tempfile.mkdtemp(prefix="runbook-proof-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    before = os.environ.get("RUNBOOK_HOME")
    os.environ["RUNBOOK_HOME"] = str(home)
    try:
        sandbox.up(still=True, tied=True)
        proof = kills.prove_kills(
            runs, seed=seed, record=home / "record", within_s=within_s, say=click.echo
        )
        click.echo(proof.table())
    finally:
        sandbox.down(home / "sandbox")
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            del os.environ["RUNBOOK_HOME"]
        else:
            os.environ["RUNBOOK_HOME"] = before
    if not proof.holds:
        raise Failed("The proof failed: see what is wrong above.")
