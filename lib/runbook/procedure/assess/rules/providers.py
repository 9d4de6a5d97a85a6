"""Providers of models: one refuses our key, one fails, one is slow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbook.procedure.assess.seen import Errors, Seen
from runbook.procedure.assess.suspect import FAIR, HINT, PROOF, STRONG, Evidence, Step, Suspect

_REFUSED = re.compile(r"\b(401|403)\b|invalid api key|unauthori[sz]ed", re.I)


def key_refused(seen: Seen) -> Iterator[Suspect]:
    """A provider does not accept our key."""
    for provider, about in seen.environment.providers.known.items():
        said = [one for one in _of(seen, provider) if _REFUSED.search(one.message)]
        if not said:
            continue
        lines, before = sum(one.lately for one in said), sum(one.before for one in said)
        evidence = [Evidence(f"{lines} times lately: {said[0].message}", PROOF)]
        evidence += list(_failing(seen, provider))
        if before == 0:
            evidence.append(Evidence("not once in the time before", FAIR))
        yield Suspect(
            f"{provider} refuses our key",
            provider,
            tuple(evidence),
            confirm=_search(said[0]),
            mend=Step("rotate-api-key", {"secret": about.secret}),
        )


def provider_slow(seen: Seen) -> Iterator[Suspect]:
    """A provider answers much slower than before, or says so itself."""
    limits = seen.environment.slowness
    for one in seen.providers or ():
        evidence = []
        if one.slow(limits):
            says = f"{one.name} takes {one.lately_s:.1f} s, {one.times:.0f} times as long as before"
            evidence.append(
                Evidence(says, PROOF if (one.times or 0) >= 2 * limits.times else STRONG)
            )
        if one.said and one.said.troubled:
            says = f"its status page says: {one.said.says} ({one.said.indicator})"
            evidence.append(Evidence(says, FAIR))  # pages speak of much that nobody feels
        timeouts = [e for e in _of(seen, one.name) if "timed out" in e.message]
        evidence += [Evidence(f"{e.lately} times: {e.message}", FAIR) for e in timeouts[:1]]
        slow = [each for each in seen.latency or () if each.slow(limits) and each.model]
        if slow and evidence:
            models = ", ".join(dict.fromkeys(each.model for each in slow))
            evidence.append(Evidence(f"slower than before: {models}", HINT))
        if evidence:
            yield Suspect(
                f"{one.name} is slow",
                one.name,
                tuple(evidence),
                confirm=Step("high-latency"),
                mend=Step("switch-provider", {"away_from": one.name}),
            )


def provider_fails(seen: Seen) -> Iterator[Suspect]:
    """A provider fails for reasons of its own."""
    for provider in seen.environment.providers.known:
        said = [one for one in _of(seen, provider) if not _REFUSED.search(one.message)]
        failing = list(_failing(seen, provider))
        refused = [one for one in _of(seen, provider) if _REFUSED.search(one.message)]
        if not failing or not said:
            continue
        if sum(one.lately for one in said) <= sum(one.lately for one in refused):
            continue
        evidence = [
            *failing,
            *(Evidence(f"{one.lately} times: {one.message}", FAIR) for one in said[:1]),
        ]
        yield Suspect(
            f"{provider} fails",
            provider,
            tuple(evidence),
            confirm=_search(said[0]),
            mend=Step("switch-provider", {"away_from": provider}),
        )


def _search(error: Errors) -> Step:
    return Step("search-logs", {"services": error.service, "minutes": 10})


def _of(seen: Seen, provider: str) -> list[Errors]:
    """Error lines of calls of one provider."""
    named = re.compile(rf"\b{re.escape(provider)}\b", re.I)
    return [
        one
        for one in seen.errors or ()
        if one.provider == provider or (not one.provider and named.search(one.message))
    ]


def _failing(seen: Seen, provider: str) -> Iterator[Evidence]:
    """That more of its calls fail than may."""
    limits = seen.environment.models
    for one in seen.calls or ():
        few = one.calls < limits.least_calls or one.failed < limits.least_failed
        if one.provider != provider or few:
            continue
        if one.percent >= limits.errors_percent:
            says = (
                f"{one.failed:.0f} of its {one.calls:.0f} calls failed lately ({one.percent:.0f} %)"
            )
            yield Evidence(says, STRONG)


RULES = (key_refused, provider_slow, provider_fails)
