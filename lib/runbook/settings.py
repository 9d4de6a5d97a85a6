"""One environment's settings: read once from its YAML, validated whole, immutable.

`parameters/environments/NAME.yaml` holds names and limits, never secrets. Every name of the
product's (a cluster, a secret, a threshold) comes from here; nothing of it is written in code.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from runbook.errors import BadInput

Risk = Literal["low", "high", "destructive"]
Minutes = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Regions(Section):
    primary: str
    backup: str
    active: Literal["primary", "backup"] = "primary"

    @property
    def current(self) -> str:
        """The region that sections work in."""
        return self.primary if self.active == "primary" else self.backup


class Aws(Section):
    """How AWS is reached. Without `connection`, boto3's own chain finds the credentials."""

    profile: str = ""
    connection: str = ""  # a JSON file below the state folder: endpoint, credentials file, profile
    when_missing: str = ""  # the command that brings the connection file about
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 30
    attempts: Annotated[int, Field(ge=1)] = 4


class Database(Section):
    secret: str  # the secret that holds the DSN
    reach: Literal["direct", "ssm-port-forward"] = "direct"
    connect_timeout_s: Seconds = 5
    statement_timeout_s: Seconds = 60
    lock_timeout_s: Seconds = 2


class Redis(Section):
    secret: str  # the secret that holds the URL
    reach: Literal["direct", "ssm-port-forward"] = "direct"
    timeout_s: Seconds = 5


class Plans(Section):
    expire_after_minutes: Minutes = 60


class Approval(Section):
    """Which plans another identity has to approve, how many, and for how long that holds."""

    risks: frozenset[Risk] = frozenset()
    count: Annotated[int, Field(ge=1)] = 1
    expire_after_minutes: Minutes = 60


class Locks(Section):
    lease_minutes: Minutes = 15


class Freeze(Section):
    """A time in which nothing but break-glass changes anything."""

    start: AwareDatetime
    end: AwareDatetime
    reason: str


class Window(Section):
    """A weekly window in UTC, outside of which a risk is refused."""

    risk: Risk
    day: Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Guardrails(Section):
    """What no plan may go beyond, whoever applies it."""

    limits: Mapping[str, Mapping[str, Annotated[float, Field(ge=0)]]] = {}  # kind: measure: most
    protected: tuple[str, ...] = ()  # patterns of targets that are never changed
    unattended: frozenset[str] = frozenset()  # sections that may run with apply=unattended
    freezes: tuple[Freeze, ...] = ()
    windows: tuple[Window, ...] = ()


class Record(Section):
    """Where runs are kept: a folder (empty: `record` below the state folder) or `s3://…`."""

    store: str = ""
    single_machine: bool = False  # the whole environment is operated from this one machine


class Waits(Section):
    """Waiting, scaled: 1 in an account of AWS's, less where the Studio moves faster."""

    factor: Annotated[float, Field(gt=0)] = 1.0


class Environment(Section):
    """One environment, as its file describes it."""

    name: str
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    regions: Regions
    aws: Aws = Aws()
    database: Database
    redis: Redis
    record: Record = Record()
    plans: Plans = Plans()
    approval: Approval = Approval()
    locks: Locks = Locks()
    guardrails: Guardrails = Guardrails()
    waits: Waits = Waits()

    @model_validator(mode="after")
    def _approvals_need_a_shared_record(self) -> Environment:
        shared = self.record.store.startswith("s3://") or self.record.single_machine
        if self.approval.risks and not shared:
            raise ValueError(
                "approval.risks wants a second person, but record.store is a folder of one "
                "machine; name an s3:// store, or set record.single_machine to true"
            )
        return self


@cache
def checkout() -> Path:
    """The folder that the library was installed from: notebooks/ and parameters/ are in it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "notebooks").is_dir():
        raise BadInput(
            f"The library expects to run from its checkout, but {root} has no notebooks folder.",
            next="Install it editable from a clone: ./runbook does that by itself.",
        )
    return root


def home() -> Path:
    """The state folder: `RUNBOOK_HOME`, else `var` in the checkout; never the current folder."""
    named = os.environ.get("RUNBOOK_HOME")
    return Path(named).expanduser().resolve() if named else checkout() / "var"


def environments() -> list[str]:
    """Names of all environments that have a file."""
    return sorted(path.stem for path in (checkout() / "parameters/environments").glob("*.yaml"))


def load(name: str) -> Environment:
    """Read and validate one environment.

    Raises BadInput: no such environment (with those that exist), or every error of its file at
    once, each with its key.
    """
    if name not in environments():
        known = ", ".join(environments()) or "none"
        raise BadInput(
            f"There is no environment {name!r}; there are: {known}.",
            next="Add parameters/environments/NAME.yaml, or name one of these.",
        )
    return load_file(checkout() / "parameters/environments" / f"{name}.yaml")


def load_file(path: Path) -> Environment:
    """Read and validate one environment's file; its name is the file's. Raises BadInput."""
    content = read_yaml(path)
    try:
        return Environment.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise BadInput(
            _all_errors(path, error), next=f"Correct {path.name} and try again."
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises BadInput for bad syntax, a key given twice, or no mapping."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise BadInput(f"{path.name} is not readable as YAML: {where}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path.name}: expected keys with values, found {type(content).__name__}.")
    return content


def _all_errors(path: Path, error: ValidationError) -> str:
    lines = []
    for found in error.errors():
        key = ".".join(str(part) for part in found["loc"]) or "(whole file)"
        value = found.get("input")
        shown = f", found {value!r}" if isinstance(value, str | int | float | bool) else ""
        lines.append(f"  {key}: {found['msg'].removeprefix('Value error, ')}{shown}")
    count = len(lines)
    return f"{path.name} has {count} error{'s' if count > 1 else ''}:\n" + "\n".join(lines) + "\n"


class _StrictLoader(yaml.SafeLoader):
    """YAML whose keys are given once: a second one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key!r} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def within(moment: datetime, window: Window) -> bool:
    """Whether a moment (aware, UTC) is in a weekly window, which never spans midnight."""
    clock = moment.strftime("%H:%M")
    return moment.strftime("%a") == window.day and window.start <= clock < window.end
