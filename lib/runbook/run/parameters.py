"""Strict parameters: a section's own typed cell decides, before a kernel starts.

    older_than_minutes: int = 60      # processing for longer than this counts as stuck

papermill's own reading is a regular expression that only warns of unknown names and turns `007`
into 7; here the cell is read as Python, and what does not fit is refused with the way on.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.errors import BadInput
from runbook.record.redaction import looks_like_a_secret
from runbook.run.sections import Section, source_of, tags_of

TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_EXAMPLES = {"int": "60", "float": "0.5", "bool": "true", "str": "text"}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell."""

    name: str
    type: str
    default: Any
    help: str

    def parse(self, text: str) -> Any:
        """The value that a person typed. Raises BadInput with what was expected."""
        if self.type == "str":
            return text
        if self.type == "bool" and text in ("true", "false"):
            return text == "true"
        if self.type == "int" and _INTEGER.fullmatch(text):
            return int(text)
        if self.type == "float" and _NUMBER.fullmatch(text):
            return float(text)
        raise self._refused(text)

    def check(self, value: Any) -> Any:
        """A value that already has a type. Raises BadInput unless it is this parameter's."""
        if self.type == "float" and type(value) is int:
            return float(value)
        if type(value) is not TYPES[self.type]:
            raise self._refused(value)
        return value

    def _refused(self, value: Any) -> BadInput:
        given = f"{type(value).__name__} {value!r}" if not isinstance(value, str) else repr(value)
        return BadInput(
            f"{self.name}: expected {self.type}, such as {_EXAMPLES[self.type]}; found {given}."
        )


def declared(section: Section) -> tuple[Parameter, ...]:
    """The parameters of a section, in the order of its cell.

    Raises BadInput when the cell is missing or holds anything but typed names with plain values.
    """
    cell = next((cell for cell in section.content["cells"] if "parameters" in tags_of(cell)), None)
    if cell is None:
        raise BadInput(f"{section.path.name} has no cell with the tag 'parameters'.")
    source = source_of(cell)
    comments = _comments(source)
    return tuple(_parameter(section, node, comments) for node in ast.parse(source).body)


def check(
    section: Section, typed: Mapping[str, str] = {}, given: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """What was given, by name, each with its declared type; `typed` wins over `given`.

    `typed` comes from a command line, `given` from a file or from papermill. Raises BadInput
    with every error at once.
    """
    known = {parameter.name: parameter for parameter in declared(section)}
    errors: list[str] = []
    checked: dict[str, Any] = {}
    for name, value in {**given, **typed}.items():
        if name not in known:
            errors.append(_unknown(name, known))
            continue
        try:
            _refuse_a_secret(name, value)  # first: no other refusal may repeat it
            checked[name] = known[name].parse(value) if name in typed else known[name].check(value)
        except BadInput as error:
            errors.append(error.message)
    if errors:
        raise BadInput(" ".join(errors), next=f"See all of them: ./runbook show {section.slug}")
    return checked


def _parameter(section: Section, node: ast.stmt, comments: Mapping[int, str]) -> Parameter:
    if (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.annotation, ast.Name)
        and node.annotation.id in TYPES
        and node.value is not None
    ):
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            default = None
        parameter = Parameter(
            node.target.id, node.annotation.id, default, comments.get(node.lineno, "")
        )
        return Parameter(parameter.name, parameter.type, parameter.check(default), parameter.help)
    raise BadInput(
        f"{section.path.name}, parameters cell, line {node.lineno}: expected "
        f"name: type = value with a type of {', '.join(TYPES)}, found {ast.unparse(node)}."
    )


def _refuse_a_secret(name: str, value: Any) -> None:
    """Parameters are on record and in a list of processes: they name secrets and never hold one."""
    form = looks_like_a_secret(value) if isinstance(value, str) else ""
    if form:
        raise BadInput(
            f"{name}: the value has the form of a secret ({form}); a parameter names a secret, "
            "it never holds one."
        )


def _comments(source: str) -> dict[int, str]:
    """The comment at the end of each line; a # in a value is none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _unknown(name: str, known: Mapping[str, Parameter]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}."
    return f"There is no parameter {name!r}; {hint}"


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
