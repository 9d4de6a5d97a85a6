"""The least that a section needs of AWS, as an IAM policy: from the row of its first table.

The row names actions as a person reads them: `ecs:ListServices`, then `DescribeServices` of the
same service; what is said not to be needed is left out; another section that is named brings what
that one needs. Resources are all: whose they are is for the account's owners to say.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from runbook.run.sections import Section, sections

WHO_AM_I = "sts:GetCallerIdentity"  # asked before anything else, by every section
_TOKEN = re.compile(r"(?P<no>\bnot )?`(?:(?P<service>[a-z0-9-]+):)?(?P<action>[A-Z][a-z]\w*\*?)`")
_TROUBLESHOOTING = ("sections of troubleshooting", "6-troubleshooting")


def policy(section: Section) -> dict[str, Any]:
    """A policy document with one statement for each service; actions sorted."""
    actions = sorted({WHO_AM_I, *_needed(section, {one.slug: one for one in sections()}, set())})
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": re.sub(r"\W", "", service.title()), "Effect": "Allow",
             "Action": list(mine), "Resource": "*"}
            for service, mine in groupby(actions, key=lambda action: action.partition(":")[0])
        ],
    }  # fmt: skip


def actions_in(text: str) -> Iterator[str]:
    """The actions that a row names, each with its service. Pure."""
    for part in text.split(";"):
        service = ""
        for token in _TOKEN.finditer(part):
            service = token["service"] or service
            if service and not token["no"]:
                yield f"{service}:{token['action']}"


def _needed(section: Section, known: Mapping[str, Section], seen: set[str]) -> Iterator[str]:
    """What it needs itself, and what those need that it names."""
    seen.add(section.slug)
    text = section.facts.get("permissions", "")
    yield from actions_in(text)
    for other in known.values():
        words, group = _TROUBLESHOOTING
        reads = words in text and other.group == group and other.risk == "read"
        if other.slug not in seen and (reads or re.search(rf"(?<![\w-]){other.slug}\b", text)):
            yield from _needed(other, known, seen)
