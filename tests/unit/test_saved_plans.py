"""Saved plans: found by digest, tamper-evident, expiring, approved by others, used once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import COLLEAGUE, PLANNER, THIRD, SetClock, begin, environment_in, plan_of

from runbook import secret
from runbook.change import saved
from runbook.change.plan import Change, Plan, RowSet
from runbook.change.saved import RowFile, SavedPlan
from runbook.clients import Identity
from runbook.errors import (
    ApprovalMissing,
    BadInput,
    PlanExpired,
    PlanStale,
    PlanUnknown,
    RunbookError,
)
from runbook.record.runs import Run
from runbook.settings import Approval, Environment

HOUR = timedelta(hours=1)
ROWS = RowSet.of({"table": "t"}, [{"key": 1, "before": {"s": 1}, "after": {"s": 2}}])
PLAN = plan_of(Change("k", "t", {"n": 1}, {"n": 2}, rows=ROWS), risk="high")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_in(tmp_path / "record")


@pytest.fixture
def run(environment: Environment, clock: SetClock) -> Run:
    return begin(environment, clock=clock)


def save(run: Run, clock: SetClock, plan: Plan = PLAN) -> SavedPlan:
    return saved.save(plan, run, by=PLANNER, now=clock.now(), holds_for=HOUR)


def test_six_characters_of_the_digest_find_the_plan(run: Run, clock: SetClock) -> None:
    made = save(run, clock)

    for name in (PLAN.digest, PLAN.short, f"plan-{PLAN.short}", f" PLAN-{PLAN.short.upper()} "):
        assert saved.find(run.store, name) == made


@pytest.mark.parametrize("name", ["", "plan-", "plan-12345", "xyzxyz", "../../etc", "a" * 65])
def test_what_names_no_plan_is_refused(run: Run, clock: SetClock, name: str) -> None:
    save(run, clock)

    with pytest.raises(BadInput, match="does not name a plan"):
        saved.find(run.store, name)


def test_a_digest_that_nobody_has_saved_is_unknown(run: Run, clock: SetClock) -> None:
    save(run, clock)

    with pytest.raises(PlanUnknown):
        saved.find(run.store, "0" * 6 if not PLAN.short.startswith("0") else "1" * 6)


def test_a_digest_that_fits_two_plans_is_refused(run: Run, clock: SetClock) -> None:
    save(run, clock)
    twin = PLAN.digest.removeprefix("plan-")[:10].ljust(64, "0")
    run.store.write(f"plans/{twin}/{run.id}/plan.json", b"{}")

    with pytest.raises(BadInput, match="fits 2 plans"):
        saved.find(run.store, PLAN.short)
    assert saved.find(run.store, PLAN.digest).plan == PLAN


def _edit(content: dict[str, Any]) -> None:
    content["changes"][0]["after"] = {"n": 3}


def _edit_digest_too(content: dict[str, Any]) -> None:
    _edit(content)
    digest = content.pop("digest")
    content["digest"] = Plan.from_json(dict(content)).digest
    assert content["digest"] != digest


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a value": _edit,
    "a value and the digest": _edit_digest_too,
    "a key more": lambda content: content.update(more=1),
    "a key less": lambda content: content.pop("origin"),
    "no digest": lambda content: content.pop("digest"),
    "a change less": lambda content: content["changes"].clear(),
    "a key more in a change": lambda content: content["changes"][0].update(more=1),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_plan_that_was_changed_on_record_is_refused(run: Run, clock: SetClock, how: str) -> None:
    save(run, clock)
    content = json.loads((run.store.read(run.key("plan.json")) or pytest.fail("gone")).data)
    TAMPERED[how](content)
    run.write_json("plan.json", content)

    with pytest.raises(RunbookError, match="changed after it was saved"):
        saved.find(run.store, PLAN.digest)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_plan_that_is_no_plan_any_more_is_refused(run: Run, clock: SetClock, data: bytes) -> None:
    save(run, clock)
    run.store.write(run.key("plan.json"), data)

    with pytest.raises(RunbookError, match="changed after it was saved"):
        saved.find(run.store, PLAN.digest)


def test_a_plan_that_is_lost_is_refused(run: Run, clock: SetClock) -> None:
    save(run, clock)
    run.store.remove(run.key("plan.json"))

    with pytest.raises(RunbookError, match="lost"):
        saved.find(run.store, PLAN.digest)


@pytest.mark.parametrize("data", [None, b"", ROWS.data.replace(b"2", b"3"), ROWS.data + b"{}\n"])
def test_rows_that_were_changed_on_record_are_refused(
    run: Run, clock: SetClock, data: bytes | None
) -> None:
    made = save(run, clock)
    if data is None:
        run.store.remove(run.key(ROWS.name))
    else:
        run.store.write(run.key(ROWS.name), data)

    with pytest.raises(RunbookError, match="is not the file"):
        made.rows(ROWS)


def test_a_run_that_plans_again_leaves_its_first_plan_readable(run: Run, clock: SetClock) -> None:
    first = save(run, clock)
    second = save(run, clock, plan_of(title="Another"))

    assert saved.find(run.store, first.digest).plan == first.plan
    assert saved.find(run.store, second.digest).plan == second.plan
    assert {each.digest for each in saved.waiting(run.store, clock.now())} == {
        first.digest,
        second.digest,
    }


def test_a_secret_that_became_known_after_planning_is_not_saved(run: Run, clock: SetClock) -> None:
    plan = plan_of(title="Set late-known-value-7f3a")
    secret.remember("late-known-value-7f3a", name="LATE")

    with pytest.raises(BadInput, match="LATE"):
        save(run, clock, plan)
    assert list(run.store.keys("plans")) == []


def test_a_plan_holds_until_the_moment_it_expires(run: Run, clock: SetClock) -> None:
    made = save(run, clock)

    made.refuse_if_expired(clock.now() + HOUR - timedelta(microseconds=1))
    with pytest.raises(PlanExpired, match="60 min ago"):
        made.refuse_if_expired(clock.now() + HOUR)


def test_plans_that_expired_or_were_used_do_not_wait(run: Run, clock: SetClock) -> None:
    made = save(run, clock)
    assert [each.digest for each in saved.waiting(run.store, clock.now())] == [made.digest]
    assert saved.waiting(run.store, clock.now() + HOUR) == []

    made.use(run, clock.now())
    assert saved.waiting(run.store, clock.now()) == []


WANTED = Approval(risks=frozenset({"high"}), count=1, expire_after_minutes=60)


def approve(made: SavedPlan, by: Identity, clock: SetClock) -> None:
    made.approve(by, now=clock.now(), holds_for=timedelta(minutes=30))


def test_nobody_approves_their_own_plan_nor_in_another_session(run: Run, clock: SetClock) -> None:
    role = "arn:aws:sts::123456789012:assumed-role/oncall"
    made = saved.save(PLAN, run, by=Identity("1", f"{role}/a"), now=clock.now(), holds_for=HOUR)

    with pytest.raises(ApprovalMissing, match="nobody approves their own"):
        approve(made, Identity("1", f"{role}/b"), clock)
    assert made.approvals(clock.now()) == []


def test_a_plan_whose_risk_wants_approval_waits_for_somebody_else(
    run: Run, clock: SetClock
) -> None:
    made = save(run, clock)
    with pytest.raises(ApprovalMissing, match=r"needs 1 approval.* has 0"):
        made.refuse_unless_approved(WANTED, PLANNER, clock.now())

    approve(made, COLLEAGUE, clock)
    made.refuse_unless_approved(WANTED, PLANNER, clock.now())
    with pytest.raises(ApprovalMissing):  # who approves does not apply
        made.refuse_unless_approved(WANTED, COLLEAGUE, clock.now())


def test_approvals_are_counted_by_person(run: Run, clock: SetClock) -> None:
    made, two = save(run, clock), WANTED.model_copy(update={"count": 2})
    approve(made, COLLEAGUE, clock)
    approve(made, COLLEAGUE, clock)
    with pytest.raises(ApprovalMissing, match=r"needs 2 approval.* has 1"):
        made.refuse_unless_approved(two, PLANNER, clock.now())

    approve(made, THIRD, clock)
    made.refuse_unless_approved(two, PLANNER, clock.now())


def test_an_approval_expires(run: Run, clock: SetClock) -> None:
    made = save(run, clock)
    approve(made, COLLEAGUE, clock)
    clock.advance(minutes=29.99)
    made.refuse_unless_approved(WANTED, PLANNER, clock.now())

    clock.advance(minutes=0.01)
    with pytest.raises(ApprovalMissing):
        made.refuse_unless_approved(WANTED, PLANNER, clock.now())


def test_an_approval_is_for_one_digest_and_one_run(
    run: Run, environment: Environment, clock: SetClock
) -> None:
    made = save(run, clock)
    approve(made, COLLEAGUE, clock)

    other = save(run, clock, plan_of(title="Another", risk="high"))
    again = save(begin(environment, clock=clock), clock)
    assert again.digest == made.digest
    for plan in (other, again):
        with pytest.raises(ApprovalMissing):
            plan.refuse_unless_approved(WANTED, PLANNER, clock.now())


def test_an_approval_copied_from_another_plan_does_not_count(run: Run, clock: SetClock) -> None:
    made, other = save(run, clock), save(run, clock, plan_of(title="Another", risk="high"))
    approve(made, COLLEAGUE, clock)
    for key in [key for key in run.store.keys("plans") if "/approval-" in key]:
        copied = run.store.read(key)
        assert copied
        run.store.write(key.replace(made.digest[5:], other.digest[5:]), copied.data)

    with pytest.raises(ApprovalMissing):
        other.refuse_unless_approved(WANTED, PLANNER, clock.now())


def test_an_expired_plan_cannot_be_approved(run: Run, clock: SetClock) -> None:
    made = save(run, clock)
    clock.advance(hours=1)

    with pytest.raises(PlanExpired):
        approve(made, COLLEAGUE, clock)


def test_a_plan_that_was_applied_is_used_up_before_its_run_is_sealed(
    run: Run, environment: Environment, clock: SetClock
) -> None:
    made = save(run, clock)
    made.use(run, clock.now())
    run.journal.write("applied", digest=made.digest, changes=1)

    with pytest.raises(PlanStale, match="used once"):
        made.use(begin(environment, clock=clock), clock.now())


def test_a_plan_that_was_resumed_to_its_end_is_used_up(
    run: Run, environment: Environment, clock: SetClock
) -> None:
    made = save(run, clock)
    made.use(run, clock.now())
    run.update(verdict="unknown")
    second = begin(environment, clock=clock)
    made.use(second, clock.now())
    second.journal.write("applied", digest=made.digest, changes=1)
    second.update(verdict="succeeded")

    assert made.used_by() == second.id
    with pytest.raises(PlanStale, match=second.id):
        made.use(begin(environment, clock=clock), clock.now())


def test_what_rows_have_in_common_stands_once_and_each_is_read_whole() -> None:
    every = {"before": {"s": "old"}, "after": {"s": "new", "at": None}}
    told = [{"key": n, "before": {"at": n}} for n in range(4000)]  # more than is read at once
    told[7]["after"] = {"at": 7}
    made = RowSet.of({"table": "t"}, told, every=every)
    before = [{"s": "old", "at": n} for n in range(4000)]
    after = [{"s": "new", "at": 7 if n == 7 else None} for n in range(4000)]

    assert made.data.count(b"new") == 1
    rows = list(RowFile(made.data, swapped=False))
    assert [row["key"] for row in rows] == list(range(4000))
    assert [row["before"] for row in rows] == before
    assert [row["after"] for row in rows] == after
    back = list(RowFile(made.data, swapped=True))
    assert [row["before"] for row in back] == after
    assert [row["after"] for row in back] == before


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_set_gives_as_many_rows_as_it_was_made_of(count: int) -> None:
    rows = [{"key": n, "before": "a\nb", "after": {"text": "],\u2028["}} for n in range(count)]

    assert list(RowFile(RowSet.of({"table": "t"}, rows).data, swapped=False)) == rows
