"""Terraform: a saved plan shown as ours, and that file applied, nothing else.

    found = terraform.read(rb.clients, "release.tfplan")
    found.table(), found.plan()

What will change is read from the file itself (`terraform show -json`); addresses and actions are
shown, never values, which may be secret. The file's SHA-256 and the state's serial are in the
plan: another file, or a state that somebody has changed since, is refused before Terraform would.
There is no way back but another plan of Terraform's.

Kind of change: `terraform`; target `terraform:FILE@SHA256`.

Source: https://developer.hashicorp.com/terraform/internals/json-format and …/cli/commands/apply
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotReachable
from runbook.record.journal import Intent
from runbook.settings import Terraform
from runbook.table import Table

KIND = "terraform"
_TARGET = "terraform:"
_IDLE = ("no-op", "read")
_LOOK_S, _APPLY_S = 120.0, 3600.0
_SHOWN = 40  # resources that the plan names; all are in the table


@dataclass(frozen=True)
class Resource:
    """One resource of the plan, and what becomes of it: create, update, delete or replace."""

    address: str
    action: str


@dataclass(frozen=True)
class SavedPlan:
    """A saved plan of Terraform's: what it changes, and the state that it was made for."""

    file: str
    sha256: str
    serial: int
    resources: tuple[Resource, ...]

    def plan(self) -> Plan:
        """The plan that applies exactly this file; without changes where it has none. Pure."""
        lost = [one for one in self.resources if one.action in ("delete", "replace")]
        told = [f"{one.action.upper()} {one.address}" for one in lost]
        told += [f"{one.action} {one.address}" for one in self.resources if one not in lost]
        more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
        target = f"{_TARGET}{self.file}@{self.sha256}"
        change = Change(
            KIND, target, {"serial": self.serial}, {"serial": KNOWN_AFTER_APPLY}, reversible=False
        )
        return Plan(
            title=f"Apply {Path(self.file).name}: {len(self.resources)} resources change",
            risk="destructive" if lost else "high",
            changes=(change,) if self.resources else (),
            way_back="none by itself: apply a plan of Terraform's for the configuration of before.",
            warnings=(*told[:_SHOWN], *more),
        )

    def table(self) -> Table:
        """Every resource that changes, what is lost first, to be read."""
        import pandas as pd

        order = sorted(self.resources, key=lambda one: one.action not in ("delete", "replace"))
        rows = [{"becomes": one.action, "resource": one.address} for one in order]
        return Table(pd.DataFrame(rows), empty="This plan changes nothing.")


def read(clients: Clients, file: str) -> SavedPlan:
    """A saved plan, as Terraform itself shows it.

    Raises BadInput: no such file, or none of Terraform's; NotReachable: Terraform is not there.
    """
    path = Path(file)
    if not path.is_file():
        raise BadInput(
            f"terraform: there is no file {file}.", next="Make it: terraform plan -out=FILE"
        )
    wanted = clients.environment.terraform
    shown = _json(_run(wanted, "show", "-json", str(path.resolve())), file)
    return SavedPlan(file, _sha256(path), _serial(wanted), resources(shown, file))


def resources(shown: Any, file: str) -> tuple[Resource, ...]:
    """What a plan in Terraform's JSON changes. Pure. Raises BadInput for what is no whole plan."""
    version = str(shown.get("format_version", "")) if isinstance(shown, dict) else ""
    if version.partition(".")[0] != "1" or "resource_changes" not in shown:
        raise BadInput(f"terraform: {file} is no saved plan in a format that is known ({version}).")
    if shown.get("errored"):
        raise BadInput(f"terraform: planning {file} ended with an error; make it again.")
    found = []
    for one in shown["resource_changes"]:
        actions = [action for action in one["change"]["actions"] if action not in _IDLE]
        if actions:
            replaced = {"create", "delete"} <= set(actions)
            found.append(Resource(one["address"], "replace" if replaced else actions[0]))
    return tuple(found)


def _serial(wanted: Terraform) -> int:
    """The state's number, which grows with each change; 0 where there is no state yet."""
    text = _run(wanted, "state", "pull").strip()
    return int(_json(text, "the state")["serial"]) if text else 0


def _json(text: str, of: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadInput(f"terraform: what it says of {of} is no JSON.") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(wanted: Terraform, *arguments: str, within_s: float = _LOOK_S) -> str:
    """What Terraform prints. Raises NotReachable (not there) and BadInput with its own words."""
    try:
        done = subprocess.run(
            _command(wanted, arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReachable(
            f"{wanted.command} cannot be run: {type(error).__name__}.",
            next="Install Terraform, or name it by terraform.command in the environment's YAML.",
        ) from None
    if done.returncode:
        raise BadInput(f"terraform {arguments[0]}: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


def _command(wanted: Terraform, arguments: Sequence[str]) -> list[str]:
    where = [f"-chdir={wanted.folder}"] if wanted.folder else []
    return [wanted.command, *where, *arguments]


def applied(changes: Iterable[Change]) -> str:
    """The SHA-256 of the file that these changes apply; empty when it is none of them. Pure."""
    found = (_file(one.target)[1] for one in changes if one.kind == KIND)
    return next(found, "")


# the kind of change


def _file(target: str) -> tuple[str, str]:
    file, _, sha256 = target.removeprefix(_TARGET).rpartition("@")
    return file, sha256


def _read(clients: Clients, target: str) -> Json:
    return {"serial": _serial(clients.environment.terraform)}


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while the file and the state are as planned: anything else is planned anew."""
    file, sha256 = _file(change.target)
    path = Path(file)
    if not path.is_file() or _sha256(path) != sha256:
        return Judgement("moved", (f"{file} is another file than the one that was reviewed",))
    serial = _serial(clients.environment.terraform)
    if serial != change.before["serial"]:
        return Judgement(
            "moved", (f"the state is at {serial}, the plan is for {change.before['serial']}",)
        )
    return Judgement("to do")


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Apply the file, and show what Terraform says meanwhile."""
    wanted, (file, _) = clients.environment.terraform, _file(change.target)
    arguments = ("apply", "-input=false", "-no-color", str(Path(file).resolve()))
    with subprocess.Popen(
        _command(wanted, arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = []
        for line in process.stdout or ():
            said.append(line.rstrip())
            print(said[-1], flush=True)
        code = process.wait(timeout=_APPLY_S)
    if code:
        told = " ".join(one for one in said[-5:] if one)
        raise Failed(
            f"Terraform ended with {code}: {told[:500]}",
            next="See what it has changed (terraform plan), and go on from there.",
        )


def _settled(clients: Clients, change: Change, intent: Intent) -> bool:
    """Whether it has changed anything: then it is never applied again, a new plan goes on."""
    return bool(_read(clients, change.target) != change.before)


register(KIND, read=_read, apply=_apply, judge=_judge, settled=_settled)
