"""The schedule: what runs by itself, from parameters/schedule.yaml, as a crontab or a workflow.

Nothing is installed here: the text is printed, and whoever operates the machine or the repository
puts it where it belongs. Everything in it is checked first, as `run` would check it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from runbook import settings
from runbook.errors import BadInput
from runbook.run import request
from runbook.settings import Section, checkout, read_yaml

SWEEP = "sweep"
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_PART = re.compile(r"(\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?")
_CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class Entry(Section):
    """One thing that runs by itself. `run` is a section, or `sweep`; times are UTC."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    cron: str
    run: str
    environment: str
    parameters: str = ""  # a saved set in parameters/runs
    fail_on: Literal["", "warning", "critical"] = ""
    timeout_minutes: Annotated[int, Field(ge=1, le=360)] = 30

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        check_cron(value)
        return value

    @property
    def command(self) -> list[str]:
        """The words after `./runbook`."""
        words = [SWEEP] if self.run == SWEEP else ["run", self.run]
        words += ["--environment", self.environment]
        words += ["-f", f"parameters/runs/{self.parameters}"] if self.parameters else []
        return words + (["--fail-on", self.fail_on] if self.fail_on else [])


class _File(Section):
    schedule: tuple[Entry, ...]


def read(path: Path | None = None) -> tuple[Entry, ...]:
    """All entries, each checked as `run` would check it. Raises BadInput with every error."""
    path = path or checkout() / "parameters" / "schedule.yaml"
    try:
        entries = _File.model_validate(read_yaml(path)).schedule
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise BadInput(f"{path.name}: {told}") from None
    twice = [name for name, count in Counter(one.name for one in entries).items() if count > 1]
    errors = [f"the name {name!r} is given twice" for name in twice]
    for entry in entries:
        try:
            _check(entry)
        except BadInput as error:
            errors.append(f"{entry.name}: {error.message}")
    if errors:
        raise BadInput(f"{path.name}: {' '.join(errors)}")
    return entries


def check_cron(cron: str) -> None:
    """Raise ValueError unless it is five fields of numbers, ranges, steps and lists. Pure."""
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"a time has five fields (minute hour day month weekday), found {cron!r}")
    for text, (name, least, most) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            found = _PART.fullmatch(part)
            numbers = [int(number) for number in found.groups()[1:3] if number] if found else []
            if not found or numbers != sorted(numbers):
                raise ValueError(f"{name}: {part!r} is no number, range or step")
            if any(not least <= number <= most for number in numbers):
                raise ValueError(f"{name}: expected {least} to {most}, found {part!r}")


def crontab(entries: tuple[Entry, ...]) -> str:
    """Lines for `crontab -`: cron mails what a run said when its exit code is not 0. Pure."""
    lines = [
        "# Made by ./runbook schedule crontab from parameters/schedule.yaml. Times are UTC: where",
        "# cron knows no CRON_TZ, the machine's own time has to be UTC.",
        "CRON_TZ=UTC",
    ]
    place, home = shlex.quote(str(checkout())), shlex.quote(str(settings.home()))
    for entry in entries:
        log = f"{home}/schedule-{entry.name}.log"
        ran = f"mkdir -p {home}; ./runbook {shlex.join(entry.command)} >{log} 2>&1 || cat {log}"
        # cron takes a bare % for the end of the line
        lines.append(f"{entry.cron} cd {place} && {{ {ran}; }}".replace("%", r"\%"))
    return "\n".join(lines) + "\n"


def github(entries: tuple[Entry, ...]) -> str:
    """A workflow for .github/workflows: a job for each entry, credentials by OIDC. Pure.

    Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
    """
    workflow = {
        "name": "runbook schedule",
        "on": {
            "schedule": [{"cron": cron} for cron in dict.fromkeys(one.cron for one in entries)],
            "workflow_dispatch": {},
        },
        "permissions": {"contents": "read", "id-token": "write"},
        "jobs": {entry.name: _job(entry) for entry in entries},
    }
    head = "# Made by ./runbook schedule github from parameters/schedule.yaml. Times are UTC.\n"
    return head + yaml.safe_dump(workflow, sort_keys=False, width=1000)


def _job(entry: Entry) -> dict[str, Any]:
    where = settings.load(entry.environment)
    role = f"vars.RUNBOOK_ROLE_{entry.environment.upper().replace('-', '_')}"
    credentials = {
        "uses": "aws-actions/configure-aws-credentials@v4",
        "with": {"role-to-assume": f"${{{{ {role} }}}}", "aws-region": where.regions.current},
    }
    return {
        "if": f"github.event.schedule == '{entry.cron}' || github.event_name != 'schedule'",
        "runs-on": "ubuntu-latest",
        "timeout-minutes": entry.timeout_minutes,
        "concurrency": {"group": f"runbook-{entry.name}"},
        "steps": [
            {"uses": "actions/checkout@v4"},
            credentials,
            *_profile_step(where.aws.profile),
            {"run": f"./runbook {shlex.join(entry.command)}"},
        ],
    }


def _profile_step(profile: str) -> list[dict[str, str]]:
    """The environment names a profile: the job's credentials become that."""
    if not profile:
        return []
    lines = [
        f'aws configure set --profile {shlex.quote(profile)} {key} "${key.upper()}"'
        for key in _CREDENTIALS
    ]
    return [{"run": " && ".join(lines)}]


def _check(entry: Entry) -> None:
    """Raise BadInput for an environment, a section or parameters that `run` would refuse."""
    if entry.run == SWEEP:
        if entry.parameters:
            raise BadInput("a sweep takes no parameters.")
        settings.load(entry.environment)
        return
    path = checkout() / "parameters" / "runs" / entry.parameters
    if entry.parameters and not path.is_file():
        raise BadInput(f"there is no parameters/runs/{entry.parameters}.")
    given = read_yaml(path) if entry.parameters else {}
    request.make(entry.run, given=given, environment=entry.environment)
