"""Families of keys, and which counters may go, before anything is asked of Redis."""

from __future__ import annotations

import pytest

from runbook.errors import Refused
from runbook.procedure.clear_redis import Cleared, UsageCache
from runbook.studio.redis_cache import Key, Keys
from runbook.studio.redis_families import Families, Family, family_of
from runbook.studio.usage import Counter

USER = "0b9f5a52-6d0e-4c8e-9f3f-0d6a7d3c1b11"
CLIENTS = None  # nothing is asked


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (f"usage:tokens:{USER}:2026-11", "usage:tokens:*:*"),
        (f"ratelimit:block:{USER}", "ratelimit:block:*"),
        (f"ratelimit:{USER}:chat", "ratelimit:*:chat"),
        ("session:42", "session:*"),
        ("settings", "settings"),
    ],
)
def test_a_family_is_a_name_without_its_ids(name: str, family: str) -> None:
    assert family_of(name) == family


def counter(key: str, counted: int, written: int) -> Counter:
    return Counter(key, "tokens", USER, "2026-11", counted, written)


def cache(*counters: Counter, moving: frozenset[str] = frozenset()) -> UsageCache:
    keys = tuple(Key(one.key, "sha", -1, b"dump") for one in counters)
    found = Keys("usage:*", keys, frozenset({"celery"}))
    return UsageCache(found, {one.key: one for one in counters}, moving)


def planned(found: UsageCache) -> list[str]:
    data = [change.rows.data for change in found.plan().changes if change.rows]
    return [name for name in "abc" if any(f'"{name}"'.encode() in one for one in data)]


def test_counters_that_the_table_has_whole_go_and_those_that_are_being_written_stay() -> None:
    found = cache(
        counter("a", 5, 5), counter("b", 5, 9), counter("c", 7, 5), moving=frozenset({"c"})
    )
    assert planned(found) == ["a", "b"]
    assert any("left alone" in text for text in found.plan().warnings)


def test_nothing_goes_while_one_counter_is_ahead_of_the_table() -> None:
    with pytest.raises(Refused, match="1 counters are ahead of the table by 2"):
        cache(counter("a", 5, 5), counter("c", 7, 5)).plan()


def cleared(*families: Family, **queued: int) -> Cleared:
    return Cleared(Families(families, queued, frozenset({"celery"})))


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ("celery", "is the Celery broker's"),
        ("usage:tokens:*:*", "counts what users have used"),
        ("all", "celery 3"),
        ("nobody", "There is no family"),
    ],
)
def test_what_must_not_go_is_refused(family: str, says: str) -> None:
    found = cleared(
        Family("usage:tokens:*:*", 9), Family("celery", 1, broker=True), Family("x:*", 2), celery=3
    )
    with pytest.raises(Refused, match=says):
        found.plan(CLIENTS, family=family, drop_queues=False)  # type: ignore[arg-type]


def test_all_leaves_counters_and_empty_queues_and_says_so() -> None:
    large = Family("x:*", 20_000)
    found = cleared(
        Family("usage:tokens:*:*", 9), Family("_kombu.binding.a", 1, broker=True), large
    )
    plan = found.plan(CLIENTS, family="all", drop_queues=False)  # type: ignore[arg-type]
    assert [change.target for change in plan.changes] == ["redis:x:*"]
    assert not plan.reversible
    assert "What stays: usage:tokens:*:*, _kombu.binding.a." in plan.warnings


def test_only_looking_plans_nothing() -> None:
    plan = cleared(Family("x:*", 2)).plan(CLIENTS, family="", drop_queues=False)  # type: ignore[arg-type]
    assert plan.changes == ()
