"""One way to show a plan and what became of it, so that a reader compares like with like.

Both have the same lines: a title, facts, one row a change. HTML is plain markup with its styles
in it and no script, so that an executed copy shows the same everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from runbook.change.door import Outcome
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan

_RISK_COLOURS = {"low": "#2e7d32", "high": "#b26a00", "destructive": "#b3261e"}
_LONGEST = 60  # characters of one value; the whole of it is in plan.json


@dataclass(frozen=True)
class Page:
    """A plan or an outcome as lines to be shown: the one input of both renderings."""

    title: str
    badge: str
    colour: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    commands: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        return text(self)


def plan_page(plan: Plan, *, command: str = "", expires: str = "") -> Page:
    """The page of a plan that nobody has applied yet."""
    if not plan.changes:
        return _nothing("Nothing to do: all is as wanted")
    facts = [("way back", plan.way_back), ("digest", plan.digest)]
    if expires:
        facts.append(("holds until", expires))
    if plan.on_failure == "inverse":
        facts.append(("if it fails", "what was changed is taken back at once"))
    rows = tuple(row for change in plan.changes for row in _rows(change, change.after))
    return Page(
        plan.title,
        f"planned, {plan.risk} risk",
        _RISK_COLOURS[plan.risk],
        ("target", "what", "before", "after"),
        rows,
        plan.warnings,
        tuple(facts),
        (command,) if command else (),
    )


def outcome_page(outcome: Outcome, *, undo: str = "") -> Page:
    """The page of what applying a plan came to."""
    if outcome.state == "no_change":
        return _nothing(f"{outcome.plan.title}: is so already")
    rows = tuple(row for each in outcome.actual for row in _rows(each.change, each.found))
    counted = [
        (name.replace("_", " "), f"{each.found[name]:,}")
        for each in outcome.actual
        if isinstance(each.found, dict)
        for name in ("as_left", "moved_on")
        if each.found.get(name) and each.found[name] != each.found.get("rows")
    ]
    skipped = sum(each.skipped for each in outcome.actual)
    if skipped:
        counted.append(("already so", f"{skipped} of {len(outcome.actual)} changes"))
    facts = (*counted, ("verified", f"read back after {outcome.seconds:.1f} s"))
    return Page(
        outcome.plan.title,
        "applied and verified",
        "#2e7d32",
        ("target", "what", "before", "found after"),
        rows,
        (),
        (*facts, ("digest", outcome.plan.digest)),
        (undo,) if undo else (),
    )


def _nothing(title: str) -> Page:
    return Page(title, "no change", "#555", (), (), (), ())


def text(page: Page) -> str:
    """The page for a terminal."""
    lines = [f"{page.title} [{page.badge}]"]
    if page.rows:
        lines += ["", *_columns([page.heads, *page.rows])]
    lines += [""] if page.warnings else []
    lines += [f"  ! {warning}" for warning in page.warnings]
    lines += ["", *_columns(page.facts)] if page.facts else []
    lines += ["", *(f"  {command}" for command in page.commands)] if page.commands else []
    return "\n".join(lines)


def html(page: Page) -> str:
    """The page for a notebook."""
    parts = [
        f'<div style="border-left:4px solid {page.colour};padding:2px 12px">',
        f"<p><b>{escape(page.title)}</b> &nbsp;"
        f'<span style="color:{page.colour}">{escape(page.badge)}</span></p>',
    ]
    if page.rows:
        parts.append(_table(page.heads, page.rows))
    parts += [f"<p>⚠ {escape(warning)}</p>" for warning in page.warnings]
    if page.facts:
        parts.append(_table((), page.facts))
    parts += [f"<pre>{escape(command)}</pre>" for command in page.commands]
    return "\n".join([*parts, "</div>"])


def _rows(change: Change, after: Json) -> list[tuple[str, str, str, str]]:
    """One row for each value that changes; the target stands in the first."""
    before = change.before
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [(change.target, "", _shown(before), _shown(after))]
    moved = [
        (key, _shown(before[key]), _shown(after.get(key)))
        for key in sorted(before, key=lambda name: name == "rows")  # the count comes last
        if before[key] != after.get(key) or key == "rows"
    ]
    return [
        (change.target if n == 0 else "", key, old, new) for n, (key, old, new) in enumerate(moved)
    ] or [(change.target, "", "as it is", "as it is")]


def _shown(value: Json) -> str:
    if value == KNOWN_AFTER_APPLY:
        return "(known after apply)"
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned text, the last column ragged."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cell = 'style="text-align:left;padding:1px 12px 1px 0;vertical-align:top"'
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{escape(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in heads)
    return f"<table>{f'<tr>{head}</tr>' if heads else ''}{body}</table>"


def facts_page(title: str, badge: str, facts: Mapping[str, str]) -> Page:
    """A page of facts alone: where a section is, and who runs it."""
    return Page(title, badge, "#1f5fa8", (), (), (), tuple(facts.items()))
