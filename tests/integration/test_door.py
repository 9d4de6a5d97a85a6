"""The door on real servers: exactly the plan that was reviewed, once, or nothing at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import VALUE, Bench, SetClock, environment_in, in_other_process, value_change

from runbook.change import kinds, reconcile, undo
from runbook.change.kinds import register
from runbook.change.lock import Locks
from runbook.change.plan import Change, Json
from runbook.change.saved import SavedPlan
from runbook.clients import Clients
from runbook.errors import (
    ApprovalMissing,
    BadInput,
    Failed,
    GuardrailHit,
    LockHeld,
    NotVerified,
    PlanExpired,
    PlanStale,
    RecordUnavailable,
    Refused,
    StaleMidway,
    Unresolved,
)
from runbook.record.journal import Intent
from runbook.record.runs import Run
from runbook.record.store import FolderStore
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.box import Box

CLUMSY = "test-clumsy"  # writes something else than was planned
BREAKING = "test-breaking"  # raises before it has written anything
BREAKING_AFTER = "test-breaking-after"  # raises when it has written
TRAILING = "test-trailing"  # carries out what was changed before it
RENEWING = "test-renewing"  # a restart: done once it is another than before, and never known
DISTURBING = "test-disturbing"  # somebody changes `disturbed` while it is applied
_value = kinds.kind_of(Change(VALUE, "t", 1, 2))
_disturb: list[Callable[[], object]] = []


def _clumsy(clients: Clients, change: Change, intent: Intent) -> None:
    wrong = "something else" if change.after == 2 else change.after  # going back works
    clients.redis.set(change.target, json.dumps(wrong))


def _breaking(clients: Clients, change: Change, intent: Intent) -> None:
    raise ConnectionError("the line went dead")


def _breaking_after(clients: Clients, change: Change, intent: Intent) -> None:
    assert _value.apply
    _value.apply(clients, change, intent)
    if change.after == 2:  # going back works
        raise ConnectionError("the line went dead")


def _disturbing(clients: Clients, change: Change, intent: Intent) -> None:
    assert _value.apply
    _value.apply(clients, change, intent)
    while _disturb:
        _disturb.pop()()


for _name, _apply in (
    (CLUMSY, _clumsy),
    (BREAKING, _breaking),
    (BREAKING_AFTER, _breaking_after),
    (DISTURBING, _disturbing),
):
    register(_name, read=_value.read, apply=_apply)
assert _value.apply
register(
    RENEWING,
    read=_value.read,
    apply=_value.apply,
    judge=lambda clients, change, rows: kinds.Judgement(
        "to do" if _value.read(clients, change.target) == change.before else "moved"
    ),
)
register(TRAILING, read=_value.read, apply=_value.apply, trails=True)


@pytest.fixture
def make_bench(box: Box, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*, clock: SetClock | None = None, **sections: Any) -> Bench:
        made.append(Bench(environment_in(tmp_path / "record", **sections), clock))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


def entries(run: Run) -> list[str]:
    return [entry["entry"] for entry in run.journal.entries()]


def test_a_kind_of_two_functions_is_planned_applied_verified_and_undone(bench: Bench) -> None:
    target = bench.target("one", {"n": 1})
    planned = bench.save(value_change(target, {"n": 1}, {"n": 2}))
    assert bench.value(target) == {"n": 1}

    run = bench.begin()
    outcome = bench.door(run).apply(bench.door(run).find(planned.plan.short))
    assert (outcome.state, outcome.changes_applied) == ("applied", 1)
    assert outcome.actual[0].found == bench.value(target) == {"n": 2}

    back = bench.save(*undo.plan_undo(run).changes)
    bench.door().apply(back)
    assert bench.value(target) == {"n": 1}


def test_the_intent_is_on_disk_before_the_server_is_changed_and_the_result_after(
    bench: Bench,
) -> None:
    target, run = bench.target("order", 1), bench.begin()
    file = Path(run.store.where(run.key("journal.jsonl")))
    seen: list[tuple[Json, int, int]] = []

    def apply(clients: Clients, change: Change, intent: Intent) -> None:
        for _ in range(2):
            text = file.read_text(encoding="utf-8")
            seen.append((bench.value(target), text.count(intent.id), text.count('"result"')))
            if len(seen) == 1:
                bench.set(target, change.after)

    register("test-order", read=_value.read, apply=apply)
    bench.door(run).apply(bench.save(Change("test-order", target, 1, 2)))

    assert seen == [(1, 1, 0), (2, 1, 0)]
    assert entries(run)[-3:] == ["intent", "result", "applied"]


def test_what_holds_already_is_no_change_and_no_write(bench: Bench) -> None:
    target = bench.target("one", 1)
    planned = bench.save(value_change(target, 1, 2))
    bench.set(target, 2)
    with bench.unchanged():
        assert bench.door().apply(planned).state == "no_change"
    assert bench.writes(target) == []


def test_a_plan_whose_world_has_moved_is_refused_with_all_that_moved(bench: Bench) -> None:
    one, two = bench.target("one", {"n": 1}), bench.target("two", {"n": 1})
    planned = bench.save(*(value_change(each, {"n": 1}, {"n": 2}) for each in (one, two)))
    bench.set(one, {"n": 5})
    bench.set(two, {"n": 6})

    with bench.unchanged(), pytest.raises(PlanStale) as refused:
        bench.door().apply(planned)
    for told in (one, "expected 1, found 5", two, "expected 1, found 6"):
        assert told in refused.value.message


def test_a_plan_is_applied_once_even_when_the_world_is_as_before_again(bench: Bench) -> None:
    target = bench.target("one", 1)
    planned = bench.save(value_change(target, 1, 2))
    bench.door().apply(planned)
    bench.set(target, 1)

    with bench.unchanged(), pytest.raises(PlanStale, match="used once"):
        bench.door().apply(planned)
    assert len(bench.writes(target)) == 1


def test_an_expired_plan_is_refused(make_bench: Callable[..., Bench]) -> None:
    clock = SetClock()
    bench = make_bench(clock=clock)
    planned = bench.save(value_change(bench.target("one", 1), 1, 2))
    clock.advance(minutes=60)
    with bench.unchanged(), pytest.raises(PlanExpired):
        bench.door().apply(planned)


def test_a_limit_that_was_lowered_after_planning_is_kept(make_bench: Callable[..., Bench]) -> None:
    first, second = make_bench(), make_bench(guardrails={"limits": {VALUE: {"keys": 1}}})
    two = [value_change(first.target(name, 1), 1, 2) for name in ("one", "two")]
    with pytest.raises(GuardrailHit, match="2 keys is over the limit of 1"):
        second.save(*two)
    planned = first.save(*two)
    with first.unchanged(), pytest.raises(GuardrailHit, match="2 keys is over the limit of 1"):
        second.door().apply(planned)


def test_a_kind_that_nobody_can_apply_is_not_saved(bench: Bench) -> None:
    with bench.unchanged(), pytest.raises(BadInput, match="no-such-kind"):
        bench.save(Change("no-such-kind", "t", 1, 2))


def test_a_high_risk_waits_for_the_second_identity_and_break_glass_is_recorded(
    bench: Bench,
) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(value_change(one, 1, 2), risk="high")
    hour = planned.expires_at - planned.saved_at
    with bench.unchanged(), pytest.raises(ApprovalMissing):
        bench.door().apply(planned)
    with pytest.raises(ApprovalMissing, match="own plan"):
        planned.approve(bench.clients.identity, now=planned.saved_at, holds_for=hour)

    assert bench.approver.identity.principal != bench.clients.identity.principal
    planned.approve(bench.approver.identity, now=planned.saved_at, holds_for=hour)
    with bench.unchanged(), pytest.raises(ApprovalMissing):  # who approved cannot apply
        bench.door(clients=bench.approver).apply(planned)
    bench.door().apply(planned)
    assert bench.value(one) == 2

    urgent, run = bench.save(value_change(two, 1, 2), risk="high"), bench.begin(break_glass="fire")
    bench.door(run).apply(urgent)
    (told,) = [entry for entry in run.journal.entries() if entry["entry"] == "break_glass"]
    assert (told["reason"], told["by"]) == ("fire", bench.clients.identity.name)


def test_break_glass_goes_through_a_freeze_but_not_over_a_limit(
    make_bench: Callable[..., Bench],
) -> None:
    freeze = {"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "reason": "sale"}
    bench = make_bench(guardrails={"freezes": [freeze]})
    target = bench.target("one", 1)
    planned = bench.save(value_change(target, 1, 2))
    with bench.unchanged(), pytest.raises(GuardrailHit, match="sale"):
        bench.door().apply(planned)

    strict = make_bench(guardrails={"limits": {VALUE: {"keys": 0}}})
    with bench.unchanged(), pytest.raises(GuardrailHit, match="limit of 0"):
        strict.door(strict.begin(break_glass="fire")).apply(planned)
    bench.door(bench.begin(break_glass="fire")).apply(planned)
    assert bench.value(target) == 2


def test_a_change_that_does_not_read_as_planned_is_not_verified(bench: Bench) -> None:
    target, run = bench.target("one", 1), bench.begin()
    planned = bench.save(Change(CLUMSY, target, 1, 2))
    with pytest.raises(NotVerified, match="expected 2, found 'something else'"):
        bench.door(run).apply(planned)
    assert run.journal.unresolved() == []


def test_a_world_that_moves_midway_stops_the_plan_where_it_is(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(Change(DISTURBING, one, 1, 2), value_change(two, 1, 2))
    _disturb.append(lambda: bench.set(two, 7))
    with pytest.raises(StaleMidway, match="after 1 of 2 changes"):
        bench.door().apply(planned)
    assert (bench.value(one), bench.value(two)) == (2, 7)


def test_what_somebody_else_did_midway_is_not_done_again(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(Change(DISTURBING, one, 1, 2), value_change(two, 1, 2))
    _disturb.append(lambda: bench.set(two, 2))
    outcome = bench.door().apply(planned)

    assert [each.skipped for each in outcome.actual] == [False, True]
    assert bench.writes(two) == []


@pytest.mark.parametrize("how", [BREAKING, BREAKING_AFTER, CLUMSY])
def test_on_failure_inverse_takes_back_what_was_made(bench: Bench, how: str) -> None:
    one, two, run = bench.target("one", 1), bench.target("two", 1), bench.begin()
    broken = bench.target("broken", 1)
    changes = [value_change(one, 1, 2), value_change(two, 1, 2), Change(how, broken, 1, 2)]
    planned = bench.save(*changes, on_failure="inverse")
    with pytest.raises((ConnectionError, Failed)):
        bench.door(run).apply(planned)

    assert [bench.value(each) for each in (one, two, broken)] == [1, 1, 1]
    assert len(bench.writes(one)) == 2
    assert "taking_back" in entries(run)


def test_what_carries_out_the_others_comes_last_on_the_way_back_too(bench: Bench) -> None:
    one, two, run = bench.target("one", 1), bench.target("two", 1), bench.begin()
    trailing = [bench.target(name, 1) for name in ("first", "second")]
    changes = [value_change(one, 1, 2), value_change(two, 1, 2),
               *(Change(TRAILING, each, 1, 2) for each in trailing)]  # fmt: skip
    bench.door(run).apply(bench.save(*changes))

    back = undo.plan_undo(run).changes
    assert [change.target for change in back] == [two, one, *trailing]


def test_what_fails_midway_says_what_was_made_and_what_was_not_begun(bench: Bench) -> None:
    one, broken, last = (bench.target(name, 1) for name in ("one", "broken", "last"))
    changes = [value_change(one, 1, 2), Change(CLUMSY, broken, 1, 2), value_change(last, 1, 2)]
    with pytest.raises(NotVerified, match=f"Made before it: {one}. Not begun: {last}."):
        bench.door().apply(bench.save(*changes))


def test_a_run_that_took_back_and_then_succeeded_can_be_undone(bench: Bench) -> None:
    one, two, run = bench.target("one", 1), bench.target("two", 1), bench.begin()
    planned = bench.save(
        Change(DISTURBING, one, 1, 2), value_change(two, 1, 2), on_failure="inverse"
    )
    _disturb.append(lambda: bench.set(two, 7))
    with pytest.raises(StaleMidway):
        bench.door(run).apply(planned)
    bench.set(two, 1)
    bench.door(run).apply(planned)
    assert (bench.value(one), bench.value(two)) == (2, 2)

    bench.door().apply(bench.save(*undo.plan_undo(run).changes))
    assert (bench.value(one), bench.value(two)) == (1, 1)


def test_without_on_failure_what_was_made_stays_and_a_second_run_resumes(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(Change(DISTURBING, one, 1, 2), value_change(two, 1, 2))
    _disturb.append(lambda: bench.set(two, 7))
    with pytest.raises(StaleMidway):
        bench.door().apply(planned)
    bench.set(two, 1)

    outcome = bench.door().apply(planned)
    assert [each.skipped for each in outcome.actual] == [True, False]
    assert len(bench.writes(one)) == len(bench.writes(two)) == 1


def cut_off_after(bench: Bench, planned: SavedPlan, made: int) -> Run:
    """A run that began to apply a plan, and whose process was gone after so many changes."""
    run = bench.begin()
    planned.use(run, SYSTEM_CLOCK.now())
    run.journal.write("applying", digest=planned.digest)
    for index, change in enumerate(planned.plan.changes[:made]):
        intent = run.journal.intent(index, change.kind, change.target)
        assert _value.apply
        _value.apply(bench.clients, change, intent)
        run.journal.result(intent, "done", {"found": change.after})
    return run


def test_the_undo_of_a_run_that_took_a_plan_on_takes_back_all_of_the_plan(bench: Bench) -> None:
    one, two, three = (bench.target(name, 1) for name in ("one", "two", "three"))
    planned = bench.save(*(value_change(each, 1, 2) for each in (one, two, three)))
    first, second = cut_off_after(bench, planned, 1), cut_off_after(bench, planned, 2)
    assert [run.id for run in planned.appliers(second)] == [first.id, second.id]

    last = bench.begin()
    bench.door(last).apply(planned)
    bench.door().apply(bench.save(*undo.plan_undo(last).changes))

    assert [bench.value(each) for each in (one, two, three)] == [1, 1, 1]


def test_what_a_run_that_was_cut_off_has_renewed_is_not_renewed_twice(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(Change(RENEWING, one, 1, 2), value_change(two, 1, 2))
    cut_off_after(bench, planned, 1)

    bench.door().apply(planned)
    assert (bench.value(one), bench.value(two)) == (2, 2)
    assert len(bench.writes(one)) == 1


def test_what_has_moved_since_a_run_was_cut_off_is_stale(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(Change(RENEWING, one, 1, 2), value_change(two, 1, 2))
    cut_off_after(bench, planned, 1)
    bench.set(one, 3)

    with pytest.raises(PlanStale):
        bench.door().apply(planned)
    assert (bench.value(one), bench.value(two)) == (3, 1)


def test_the_undo_of_a_run_that_was_cut_off_takes_back_what_it_did_itself(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(value_change(one, 1, 2), value_change(two, 1, 2))
    first = cut_off_after(bench, planned, 1)
    bench.door().apply(planned)

    assert [change.target for change in undo.plan_undo(first).changes] == [one]


def test_what_failed_is_taken_back_with_what_was_made_before_it_was_cut_off(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(value_change(one, 1, 2), Change(CLUMSY, two, 1, 2), on_failure="inverse")
    cut_off_after(bench, planned, 1)

    with pytest.raises(NotVerified):
        bench.door().apply(planned)

    assert (bench.value(one), bench.value(two)) == (1, 1)


def test_a_plan_that_was_cut_off_after_its_last_change_is_brought_to_its_end_once(
    bench: Bench,
) -> None:
    target, last = bench.target("one", 1), bench.begin()
    planned = bench.save(value_change(target, 1, 2))
    cut_off_after(bench, planned, 1)

    outcome = bench.door(last).apply(planned)

    assert (outcome.state, outcome.changes_applied) == ("applied", 0)
    assert len(bench.writes(target)) == 1
    assert bench.door().apply(planned).state == "no_change"  # now it is used up
    bench.door().apply(bench.save(*undo.plan_undo(last).changes))
    assert bench.value(target) == 1


class Full(FolderStore):
    """A store whose disk is full from the `after`th line of the type `entry` on."""

    def __init__(self, root: Path, entry: str, after: int = 0) -> None:
        super().__init__(root)
        self.entry, self.left = f'"entry": "{entry}"'.encode(), after

    def append(self, key: str, line: bytes) -> None:
        if self.entry in line:
            if not self.left:
                raise RecordUnavailable("The record cannot be written: No space left.")
            self.left -= 1
        super().append(key, line)


def test_without_an_intent_on_record_nothing_is_changed(bench: Bench) -> None:
    planned = bench.save(value_change(bench.target("one", 1), 1, 2))
    run = Run(Full(bench.store.root, "intent"), bench.begin().id)
    with bench.unchanged(), pytest.raises(RecordUnavailable):
        bench.door(run).apply(planned)


def test_a_run_folder_that_cannot_be_written_refuses_before_anything(bench: Bench) -> None:
    planned, run = bench.save(value_change(bench.target("one", 1), 1, 2)), bench.begin()
    folder = Path(run.store.where(run.key("run.json"))).parent
    door = bench.door(run)
    folder.rename(folder.with_name("moved"))
    folder.write_text("a file where the folder was")
    with bench.unchanged(), pytest.raises(Refused):
        door.apply(planned)


def test_a_record_that_fills_up_midway_is_a_failure_and_not_a_refusal(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    planned = bench.save(value_change(one, 1, 2), value_change(two, 1, 2))
    run = Run(Full(bench.store.root, "intent", after=1), bench.begin().id)
    with pytest.raises(Failed, match="No space left"):
        bench.door(run).apply(planned)
    assert (bench.value(one), bench.value(two)) == (2, 1)


def test_a_result_that_cannot_be_written_is_never_told_as_nothing_changed(bench: Bench) -> None:
    one = bench.target("one", 1)
    planned = bench.save(value_change(one, 1, 2))
    run = Run(Full(bench.store.root, "result"), bench.begin().id)
    with pytest.raises(Exception, match="No space left") as told:
        bench.door(run).apply(planned)
    assert not isinstance(told.value, Refused)
    assert bench.value(one) == 2
    assert len(run.journal.unresolved()) == 1


def test_an_open_intent_of_a_live_kernel_is_reconciled_once_it_holds_no_lock(bench: Bench) -> None:
    one = bench.target("one", 1)
    planned = bench.save(value_change(one, 1, 2))
    run = Run(Full(bench.store.root, "result"), bench.begin().id)
    with pytest.raises(Exception, match="No space left"):
        bench.door(run).apply(planned)
    (finding,) = reconcile.reconcile(bench.clients, bench.store, by="a test")
    assert (finding.run, finding.target, finding.outcome) == (run.id, one, "done")
    assert Run(bench.store, run.id).journal.unresolved() == []


def test_a_run_that_is_at_work_is_not_reconciled_under_its_feet(bench: Bench) -> None:
    one = bench.target("one", 1)
    run = bench.begin()
    locks = Locks(run, holder="somebody", lease=timedelta(minutes=5))
    with locks.hold([one], step="a test"):
        run.journal.intent(0, VALUE, one)
        assert list(reconcile.cut_off(bench.store)) == []
    assert [each.id for each in reconcile.cut_off(bench.store)] == [run.id]


def test_one_run_applies_one_plan(bench: Bench) -> None:
    one, two = bench.target("one", 1), bench.target("two", 1)
    door = bench.door()
    door.apply(bench.save(value_change(one, 1, 2)))
    second = bench.save(value_change(two, 1, 2))
    with bench.unchanged(), pytest.raises(Refused, match="one run applies one plan"):
        door.apply(second)


def cut_off(bench: Bench, planned: SavedPlan, *, done: bool) -> Run:
    """The run of another process, which dies before the change is made, or before its result."""

    def die_midway() -> None:
        def apply(clients: Clients, change: Change, intent: Intent) -> None:
            if done:
                assert _value.apply
                _value.apply(clients, change, intent)
            os._exit(9)

        register(VALUE, read=_value.read, apply=apply)
        mine = Bench(bench.environment)
        mine.door().apply(planned)

    assert in_other_process(die_midway) == 9
    return Run(bench.store, planned.used_by())


@pytest.mark.parametrize(("done", "outcome"), [(True, "done"), (False, "failed")])
def test_reconcile_tells_the_truth_and_the_plan_is_resumed(
    bench: Bench, done: bool, outcome: str
) -> None:
    target = bench.target("one", 1)
    planned = bench.save(value_change(target, 1, 2))

    cut_off(bench, planned, done=done)
    with bench.unchanged(), pytest.raises(Unresolved, match="was cut off"):
        bench.door().apply(planned)
    (finding,) = reconcile.reconcile(bench.clients, bench.store, by="a test")
    assert (finding.target, finding.outcome) == (target, outcome)
    assert bench.value(target) == (2 if done else 1)

    bench.door().apply(planned)
    assert bench.value(target) == 2
    assert len(bench.writes(target)) == 1


def test_a_target_that_moved_on_is_given_up_for_a_reason_and_then_blocks_nobody(
    bench: Bench,
) -> None:
    target = bench.target("one", 1)
    run = cut_off(bench, bench.save(value_change(target, 1, 2)), done=True)
    bench.set(target, 7)
    for told in ({}, {"give_up": "another run", "reason": "seen"}):
        (finding,) = reconcile.reconcile(bench.clients, bench.store, by="a test", **told)
        assert finding.outcome == "unknown"
    with pytest.raises(Unresolved):
        bench.door().apply(bench.save(value_change(target, 7, 8)))

    (finding,) = reconcile.reconcile(
        bench.clients, bench.store, by="a test", give_up=run.id, reason="a colleague set it to 7"
    )

    assert finding.outcome == "given up"
    journal = Run(bench.store, run.id).journal
    result = [one for one in journal.entries() if one["entry"] == "result"][-1]
    assert result["detail"] == {"found": 7, "reason": "a colleague set it to 7"}
    assert result["by"] == "a test"
    bench.door().apply(bench.save(value_change(target, 7, 8)))
    assert bench.value(target) == 8
    assert undo.plan_undo(run).changes == ()


def test_what_does_not_answer_is_given_up_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_off(bench, bench.save(value_change(bench.target("one", 1), 1, 2)), done=True)

    def silent(*_: Any) -> None:
        raise OSError("it does not answer")

    monkeypatch.setattr(bench.clients.redis, "get", silent)
    (finding,) = reconcile.reconcile(
        bench.clients, bench.store, by="a test", give_up=run.id, reason="it is gone for good"
    )
    assert finding.outcome == "given up"
    assert Run(bench.store, run.id).journal.unresolved() == []


def test_what_can_be_told_is_told_and_not_given_up(bench: Bench) -> None:
    target = bench.target("one", 1)
    run = cut_off(bench, bench.save(value_change(target, 1, 2)), done=True)
    (finding,) = reconcile.reconcile(
        bench.clients, bench.store, by="a test", give_up=run.id, reason="in a hurry"
    )
    assert finding.outcome == "done"
    assert len(undo.plan_undo(run).changes) == 1


def test_of_eight_processes_that_race_for_one_target_exactly_one_applies(bench: Bench) -> None:
    target = bench.target("one", 1)
    planned = bench.save(value_change(target, 1, 2))
    read_end, write_end = os.pipe()
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                os.close(write_end)
                mine = Bench(bench.environment)
                door = mine.door()
                _ = mine.clients.identity
                os.read(read_end, 1)  # until the parent lets all of them go
                code = 0 if door.apply(planned).changes_applied else 2
            except (LockHeld, PlanStale):
                code = 2
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(write_end)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.close(read_end)

    assert sorted(codes) == [0, *[2] * 7]
    assert len(bench.writes(target)) == 1
