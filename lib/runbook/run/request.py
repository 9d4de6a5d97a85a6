"""What somebody asks a section to do, checked whole before a kernel starts.

Applying takes its parameters from the saved plan: a different one given explicitly is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook import settings
from runbook.change import saved
from runbook.change.plan import DIGEST_PREFIX, Plan
from runbook.errors import (
    BadInput,
    GuardrailHit,
    PlanStale,
    PlanUnknown,
    Refused,
    RunbookError,
)
from runbook.record.runs import Run, store_of
from runbook.record.spool import at_hand
from runbook.run import parameters, sections
from runbook.run.sections import Section
from runbook.settings import Environment

UNATTENDED = "unattended"
INCIDENT = "RUNBOOK_INCIDENT"  # the incident that all runs of this shell are filed under
DEFAULT_ENVIRONMENT = "sandbox"  # no other is ever assumed
_OF_THE_RUN = ("apply", "environment")  # parameters that say how to run, not what to plan


@dataclass(frozen=True)
class Request:
    """A section, its typed parameters, and where it is to run."""

    section: Section
    environment: Environment
    parameters: Mapping[str, Any] = field(default_factory=dict)
    incident: str = ""
    break_glass: str = ""

    def begin(self) -> Run:
        """Put the run on record. Raises RecordUnavailable when that cannot be done."""
        return Run.begin(
            self.environment,
            section=self.section.slug,
            notebook_sha256=sections.code_sha256(self.section.content),
            parameters=effective(self.section, self.parameters),
            mode="headless",
            apply=self.parameters.get("apply", ""),
            incident=self.incident,
            break_glass=self.break_glass,
            spool=self.section.may_spool or bool(self.break_glass),
        )


def make(
    slug: str,
    *,
    typed: Mapping[str, str] = {},
    given: Mapping[str, Any] = {},
    environment: str = "",
    incident: str = "",
    break_glass: str = "",
) -> Request:
    """The request, if it is one. Raises a Refused with every error at once; nothing is recorded.

    The environment is the parameter, else `environment`, else RUNBOOK_ENVIRONMENT, else sandbox.
    """
    section = sections.find(slug)
    checked = parameters.check(section, typed, given)
    named = checked.pop("environment", "")
    if named and environment and named != environment:
        raise BadInput(f"environment: given as {named!r} and as {environment!r}; give it once.")
    found = settings.load(
        named or environment or os.environ.get("RUNBOOK_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    )
    apply = checked.get("apply", "")
    if apply == UNATTENDED:
        refuse_unless_unattended(section.slug, found)
    elif apply:
        checked = {**_planned_with(section, found, apply, checked), "apply": apply}
    return Request(section, found, checked, incident, break_glass)


def from_papermill(slug: str, notebook: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    """The request in a notebook that papermill has parameterised.

    papermill's `-r` hands over text, which is read by the parameter's type; what its `-p` has
    retyped is refused where the types differ. Raises a Refused.
    """
    section = sections.find(slug)
    if sections.code_sha256(dict(notebook)) != sections.code_sha256(section.content):
        raise Refused(
            f"This {slug}.ipynb is not the section as it stands in this checkout.",
            next=f"Run the original: {section.path}",
        )
    known = {parameter.name: parameter.type for parameter in parameters.declared(section)}
    raw = {
        name: value
        for name, value in given.items()
        if isinstance(value, str) and known.get(name, "str") != "str"
    }
    rest = {name: value for name, value in given.items() if name not in raw}
    try:
        return make(slug, typed=raw, given=rest)
    except BadInput as error:
        retyped = [n for n, v in rest.items() if known.get(n) == "str" and not isinstance(v, str)]
        if retyped:
            hint = f"papermill's -p retypes values; give {', '.join(retyped)} with -r."
            raise BadInput(error.message, next=hint) from None
        raise


def effective(section: Section, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters that a plan depends on, defaults included: neither `apply` nor where."""
    declared = {each.name: each.default for each in parameters.declared(section)}
    return {
        name: given.get(name, default)
        for name, default in declared.items()
        if name not in _OF_THE_RUN
    }


def refuse_unless_unattended(slug: str, environment: Environment) -> None:
    """Raise GuardrailHit where the environment does not let this section apply unwatched."""
    allowed = environment.guardrails.unattended
    if slug not in allowed:
        raise GuardrailHit(
            f"{slug} may not apply unattended in {environment.name}; "
            f"allowed there: {', '.join(sorted(allowed)) or 'none'}.",
            next="Plan it, and apply the plan by its digest.",
        )


def refuse_if_other_code(plan: Plan, section: Section) -> None:
    """Raise PlanStale when the section's code has changed since the plan was made with it."""
    made_with = plan.origin.notebook_sha256 if plan.origin else ""
    if made_with != sections.code_sha256(section.content):
        raise PlanStale(
            f"{section.slug}.ipynb has changed since plan {plan.short} was made with it.",
            next="Plan again with the notebook as it is now.",
        )


def refused_before(error: RunbookError) -> dict[str, Any]:
    """What a run that never began came to, in the words of `run.json`."""
    return {
        "run_id": None,
        "verdict": error.verdict,
        "exit_code": error.exit_code,
        "error": {
            "class": type(error).__name__,
            "message": error.message,
            "next": error.next,
        },
    }


def command(slug: str, digest: str, environment: str) -> str:
    """The exact command that applies a plan."""
    where = "" if environment == DEFAULT_ENVIRONMENT else f" --environment {environment}"
    return f"./runbook run {slug}{where} --apply {digest}"


def _saved_plan(environment: Environment, apply: str) -> Plan:
    """The plan of that digest. Raises PlanUnknown, or RecordUnavailable: it cannot be looked up."""
    try:
        return saved.find(at_hand(environment), apply).plan
    except PlanUnknown:  # where the spool is all that there is at hand, it knows of few plans
        return saved.find(store_of(environment), apply).plan


def _planned_with(
    section: Section, environment: Environment, apply: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of the saved plan. Raises Refused for a different one given explicitly."""
    if not apply.startswith(DIGEST_PREFIX):
        raise BadInput(
            f"apply: expected {DIGEST_PREFIX} and the plan's digest, found {apply!r}.",
            next="See the plans that wait: ./runbook plans",
        )
    plan = _saved_plan(environment, apply)
    origin = plan.origin
    if origin is None or origin.section != section.slug:
        made_by = origin.section if origin else "nothing that is known"
        raise Refused(
            f"plan {plan.short} was made by {made_by}, not by {section.slug}.",
            next=f"Apply it there: {command(made_by, plan.digest, environment.name)}",
        )
    refuse_if_other_code(plan, section)
    planned = dict(origin.parameters)
    differ = [n for n, v in given.items() if n in planned and v != planned[n]]
    if differ:
        told = ", ".join(f"{n}: planned {planned[n]!r}, given {given[n]!r}" for n in differ)
        raise Refused(
            f"plan {plan.short} was made with other parameters ({told}).",
            next="Leave them out when applying, or plan again with them.",
        )
    return planned
