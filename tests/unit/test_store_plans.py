"""Plans of the data stores, from what was read: what is called for, and what AWS would refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runbook import settings
from runbook.errors import BadInput, Refused
from runbook.procedure.resize_stores import Stores, Wanted
from runbook.studio import acu, elasticache
from runbook.studio.acu import Capacity
from runbook.studio.elasticache import Group

CAPACITY = Capacity("db", "available", 0.5, 8, 2)
GROUP = Group(
    "cache", "available", "cache.t4g.small", "cache-001", ("cache-002",), {}, False, "0001"
)
STORES = Stores(CAPACITY, GROUP, ("cache.m7g.large",), "", settings.load("sandbox"))


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [(0.3, 8, "steps of 0.5"), (0.5, 300, "0 to 256"), (0, 0.5, "1 or more"), (9, 8, "9 or more")],
)
def test_a_range_that_aws_does_not_have_is_refused(least: float, most: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        acu.plan_capacity(CAPACITY, min_acu=least, max_acu=most)


def test_a_plan_says_what_it_costs_before_and_after() -> None:
    plan = STORES.plan(Wanted(max_acu=16))
    assert "USD an hour, Aurora: 0.14 to 2.24 now, 0.14 to 4.48 then." in plan.warnings
    plan = STORES.plan(Wanted(node_type="cache.m7g.large"))
    assert "USD an hour, cache: 0.076 now, 0.376 then." in plan.warnings
    assert "every connection is cut" in " ".join(plan.warnings).replace("\n", " ")


def test_a_replica_takes_over_only_where_nobody_answers() -> None:
    assert STORES.plan(Wanted()).changes == ()
    silent = replace(STORES, silent="Connection refused")
    (change,) = silent.plan(Wanted()).changes
    assert (change.before, change.after) == ({"primary": "cache-001"}, {"primary": "cache-002"})
    at_work = replace(silent, group=replace(GROUP, status="modifying"))
    assert at_work.plan(Wanted()).changes == ()
    with pytest.raises(BadInput, match="no replica"):
        replace(silent, group=replace(GROUP, replicas=())).plan(Wanted())


def test_a_group_that_is_being_changed_takes_no_change() -> None:
    with pytest.raises(Refused, match="modifying"):
        elasticache.plan_promote(replace(GROUP, status="modifying"), node="cache-002")


def test_which_replica_takes_over_is_aws_s_choice_where_it_fails_over_by_itself() -> None:
    several = replace(GROUP, replicas=("cache-002", "cache-003"), fails_over=True)
    with pytest.raises(BadInput, match="AWS chooses"):
        elasticache.plan_promote(several, node="cache-002")
