"""The ledger: what is done to a sealed record is found, and told for what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import rfc8785
from click.testing import CliRunner, Result
from tests.support import COLLEAGUE, PLANNER, SetClock, begin, environment_in, plan_of, value_change

from runbook import settings
from runbook.change import saved
from runbook.cli import cli
from runbook.errors import BadInput
from runbook.record import ledger
from runbook.record.ledger import anchor, chain, later
from runbook.record.runs import Run, anchors_of, running, store_of
from runbook.record.store import FolderStore
from runbook.record.verify import verify
from runbook.run.verdict import seal, seal_cut_off
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.proofs.ledger import ATTACKS, FORGED, Record, make


class Attacked(Record):
    """A copy, with shorter ways to what a test names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runs = [Run(self.store, self.content(number)["run"]) for number in range(1, 12)]

    def where(self, number: int, name: str = "") -> str:
        return f"runs/{self.runs[number - 1].id}" + (f"/{name}" if name else "")

    def told(self, *, anchored: bool = False) -> set[tuple[str, str]]:
        """What verify finds, each as (what, where)."""
        return {(each.what, each.where) for each in self.found(anchored=anchored)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make(tmp_path_factory.mktemp("original"))


@pytest.fixture
def record(original: Record, tmp_path: Path) -> Attacked:
    """A copy to be attacked."""
    return Attacked(original.copy(tmp_path / "copy").folder)


def test_a_record_as_it_was_sealed_holds(record: Attacked) -> None:
    verified = verify(record.store, ledger.all_anchors(record.anchors))

    assert verified.holds
    assert (verified.entries, verified.runs, verified.files) == (11, 11, 33)
    assert verified.anchors == 1
    assert "11 runs, 33 files, 11 entries and 1 anchor(s)" in verified.summary()
    assert "as they were sealed" in verified.summary()


def test_an_entry_can_be_checked_with_sha256sum_alone(record: Attacked) -> None:
    second = json.loads(record.entry(2).read_bytes())

    assert second["previous"] == hashlib.sha256(record.entry(1).read_bytes()).hexdigest()
    assert rfc8785.dumps(second) == record.entry(2).read_bytes()
    for name, known in second["files"].items():
        data = record.file(2, name).read_bytes()
        assert known == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# The eleven attacks; docs/evidence.md has the table of them.

FOUND_BY_THE_CHAIN = {
    "edit a file": {("changed", "RUN/run.json")},
    "edit a file and its entry": {("changed", "ledger/00000004.json")},
    "delete an entry": {("removed", "ledger/00000004.json"), ("unchained", "RUN")},
    "delete a file": {("removed", "RUN/journal.jsonl")},
    "reorder two entries": {
        ("reordered", "ledger/00000004.json"),
        ("reordered", "ledger/00000005.json"),
    },
    "insert an entry and its run": {
        ("inserted", "ledger/00000004.json"),
        ("unchained", f"runs/{FORGED}"),
    },
}
FOUND_BY_AN_ANCHOR = {
    "cut off the tail": ("cut off", "ledger/00000011.json"),
    "rewrite the chain": ("rewritten", "ledger/00000011.json"),
    "delete a run and rewrite": ("cut off", "ledger/00000011.json"),
    "delete all": ("cut off", "ledger/00000011.json"),
    "rewrite the newest entry": ("rewritten", "ledger/00000011.json"),
}


def test_each_attack_has_its_test() -> None:
    assert {*FOUND_BY_THE_CHAIN, *FOUND_BY_AN_ANCHOR} == {*ATTACKS}


@pytest.mark.parametrize("attack", FOUND_BY_THE_CHAIN)
def test_an_attack_is_found_without_an_anchor(record: Attacked, attack: str) -> None:
    ATTACKS[attack](record)

    expected = FOUND_BY_THE_CHAIN[attack]
    assert record.told() == {
        (what, where.replace("RUN", record.where(4))) for what, where in expected
    }
    assert record.told(anchored=True) == record.told()


@pytest.mark.parametrize("attack", FOUND_BY_AN_ANCHOR)
def test_an_attack_on_the_end_is_found_by_an_anchor_alone(record: Attacked, attack: str) -> None:
    ATTACKS[attack](record)

    assert record.told() == set()
    assert record.told(anchored=True) == {FOUND_BY_AN_ANCHOR[attack]}


def test_what_was_rewritten_after_the_last_anchor_is_found_once_there_is_a_later_one(
    record: Attacked, tmp_path: Path
) -> None:
    record.seal_one()
    honest = record.copy(tmp_path / "honest")
    record.file(12).write_bytes(b"{}")
    record.chain_anew(12)
    assert record.told(anchored=True) == set()

    honest.anchor()
    record.anchors = honest.anchors
    assert record.told(anchored=True) == {("rewritten", "ledger/00000012.json")}


def test_a_run_that_was_deleted_is_found(record: Attacked) -> None:
    shutil.rmtree(record.file(4).parent)

    assert record.told() == {("removed", record.where(4))}


def test_entries_far_apart_that_were_exchanged_are_told(record: Attacked) -> None:
    first, last = record.entry(1).read_bytes(), record.entry(11).read_bytes()
    record.entry(1).write_bytes(last)
    record.entry(11).write_bytes(first)

    assert record.told() == {("reordered", f"ledger/{n:08d}.json") for n in (1, 11)}


# What else may lie in a record.


def test_a_file_added_to_a_sealed_run_is_found(record: Attacked) -> None:
    record.file(4, "notes.txt").write_text("mine")

    assert record.told() == {("inserted", record.where(4, "notes.txt"))}


def test_a_run_that_was_never_chained_is_found_and_one_that_runs_is_not(record: Attacked) -> None:
    at_work = begin(record.environment)
    record.store.write("runs/20261124T084512Z-forged-000000/run.json", b"{}")

    verified = verify(record.store)
    assert verified.running == [at_work.id]
    assert record.told() == {("unchained", "runs/20261124T084512Z-forged-000000")}


def test_a_sealed_run_is_not_excused_by_a_mark_that_says_it_runs(record: Attacked) -> None:
    record.runs[3].mark()
    record.file(4).write_bytes(b"{}")

    assert record.told() == {("changed", record.where(4, "run.json"))}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b"{}", b'{"sequence": 4}', b"null", b'{"files": 7}']
)
def test_an_entry_made_unreadable_is_told_and_stops_nobody(record: Attacked, data: bytes) -> None:
    record.entry(4).write_bytes(data)

    assert {what for what, where in record.told() if where == "ledger/00000004.json"} == {
        "changed",
        "removed",
    }
    record.entry(11).write_bytes(data)
    record.seal_one()
    assert record.entry(12).exists()


def test_a_forged_number_however_large_takes_no_time(record: Attacked) -> None:
    forged = {**json.loads(record.entry(3).read_bytes()), "sequence": 10**14}
    record.entry(12).write_bytes(rfc8785.dumps(forged))

    assert ("removed", "ledger/00000012.json") in record.told()


def test_an_object_in_the_ledger_under_another_name_is_found(record: Attacked) -> None:
    record.store.write("ledger/00000003b.json", record.entry(3).read_bytes())
    record.store.write("ledger/00000012.json", record.entry(3).read_bytes())

    assert record.told() == {
        ("inserted", "ledger/00000003b.json"),
        ("inserted", "ledger/00000012.json"),
    }


# Later facts about a sealed run.


def test_lines_added_later_through_the_door_are_chained(record: Attacked) -> None:
    with later(record.runs[3]) as journal:
        journal.write("takeover", target="t")
    with later(record.runs[3]) as journal:
        journal.write("takeover", target="u")

    assert verify(record.store).entries == 13
    assert record.told() == set()
    assert list(running(record.store)) == []


def test_an_approval_leaves_a_record_that_holds(tmp_path: Path) -> None:
    record, clock = environment_in(tmp_path), SetClock()
    run = begin(record, clock=clock)
    plan = plan_of(value_change("k", 1, 2), risk="high")
    hour = timedelta(hours=1)
    planned = saved.save(plan, run, by=PLANNER, now=clock.now(), holds_for=hour)
    planned.approve(COLLEAGUE, now=clock.now(), holds_for=hour)
    assert verify(run.store).running == [run.id]
    seal(run, None, clock=clock)
    planned.approve(COLLEAGUE, now=clock.now(), holds_for=hour)

    verified = verify(run.store)
    assert verified.holds, verified.findings
    assert verified.entries == 2
    assert [entry["entry"] for entry in run.journal.entries()] == ["plan", "approval", "approval"]


def test_lines_added_behind_the_ledgers_back_are_found(record: Attacked) -> None:
    record.runs[3].journal.write("note", text="never happened")

    assert record.told() == {("inserted", record.where(4, "journal.jsonl"))}


def test_a_journal_whose_beginning_was_changed_is_found_and_not_chained(record: Attacked) -> None:
    file = record.file(4, "journal.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"note"', b'"gone"'))
    with later(record.runs[3]) as journal:
        journal.write("takeover", target="t")

    assert verify(record.store).entries == 11
    assert record.told() == {("changed", record.where(4, "journal.jsonl"))}


def test_a_line_taken_away_again_is_found(record: Attacked) -> None:
    file = record.file(4, "journal.jsonl")
    before = file.read_bytes()
    with later(record.runs[3]) as journal:
        journal.write("takeover", target="t")
    file.write_bytes(before)

    assert record.told() == {("changed", record.where(4, "journal.jsonl"))}


# Sealing.


def test_sealing_twice_chains_once_and_changes_nothing(record: Attacked) -> None:
    before = record.file(4).read_bytes()
    seal(record.runs[3], None)
    chain(record.runs[3])

    assert record.file(4).read_bytes() == before
    assert verify(record.store).entries == 11


def as_if_killed(run: Run) -> None:
    """`run.json` names processes that are gone."""
    gone = {"pid": 2**22 + 1, "started": 0.0}
    run.update(runner=gone, process=gone)


def test_a_run_killed_before_it_was_chained_is_chained_by_the_next_command(
    record: Attacked,
) -> None:
    run = begin(record.environment)
    as_if_killed(run)
    run.update(verdict="succeeded", exit_code=0)

    assert seal_cut_off(record.store) == []
    assert record.told() == set()
    assert run.read()["verdict"] == "succeeded"
    assert list(running(record.store)) == []


def test_a_run_killed_after_it_was_chained_is_only_taken_off_the_list(record: Attacked) -> None:
    record.runs[3].mark()

    assert seal_cut_off(record.store) == []
    assert list(running(record.store)) == []
    assert verify(record.store).entries == 11


def test_a_line_whose_writer_was_killed_is_chained_by_the_next_command(record: Attacked) -> None:
    record.runs[3].mark()
    record.runs[3].journal.write("takeover", target="t")
    assert record.told() == set()

    seal_cut_off(record.store)
    assert verify(record.store).entries == 12
    assert record.told() == set()


def test_a_mark_without_a_run_stops_nobody(record: Attacked) -> None:
    Run(record.store, "20261124T084512Z-a-test-000000").mark()

    assert seal_cut_off(record.store) == []
    assert list(running(record.store)) == []


def test_only_one_of_many_commands_seals_a_run_that_was_cut_off(record: Attacked) -> None:
    run = begin(record.environment)
    as_if_killed(run)
    seen = run.read()

    assert [run.take(seen), run.take(seen)] == [True, False]


def seal_some(root: str, count: int) -> None:
    environment = environment_in(Path(root))
    for _ in range(count):
        seal(begin(environment), None)


def test_processes_that_seal_at_once_make_one_chain_without_a_gap(tmp_path: Path) -> None:
    context = get_context("fork")
    sealers = [context.Process(target=seal_some, args=(str(tmp_path), 15)) for _ in range(3)]
    for each in sealers:
        each.start()
    for each in sealers:
        each.join()

    verified = verify(store_of(environment_in(tmp_path)))
    assert [each.exitcode for each in sealers] == [0, 0, 0]
    assert verified.holds, verified.findings
    assert (verified.entries, verified.runs) == (45, 45)


# Anchors.


def test_an_anchor_is_written_once_and_never_over_another(record: Attacked, tmp_path: Path) -> None:
    at = FolderStore(tmp_path / "anchors")
    made = [anchor(record.store, at, environment="e", clock=SYSTEM_CLOCK) for _ in range(2)]
    record.seal_one()
    anchor(record.store, at, environment="e", clock=SYSTEM_CLOCK)

    assert made[0] == made[1]
    assert [each.sequence for each in ledger.all_anchors(at)] == [11, 12]


@pytest.mark.parametrize(
    ("store", "anchors", "expected"),
    [
        ("", "", "record/anchors/sandbox"),
        ("kept/here", "", "kept/anchors/sandbox"),
        ("kept/here", "elsewhere", "elsewhere"),
    ],
)
def test_anchors_lie_beside_the_record_or_where_the_environment_says(
    store: str, anchors: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    record = {"store": store, "anchor": anchors, "single_machine": True}
    found = anchors_of(environment_in(tmp_path).model_validate(
        {**environment_in(tmp_path).model_dump(), "record": record}
    ))  # fmt: skip
    assert isinstance(found, FolderStore)
    assert found.root == tmp_path.resolve() / expected


# On the command line.


def test_the_commands_anchor_and_verify_say_what_was_found_and_exit_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    sandbox = settings.load("sandbox")

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    assert isinstance(command("anchor").exception, BadInput)
    runs = [begin(sandbox) for _ in range(3)]
    for run in runs:
        seal(run, None)
    anchored = json.loads(command("anchor", "--json").stdout)
    assert anchored["sequence"] == 3
    assert command("verify", "--anchor").exit_code == 0

    Path(run.store.where("ledger/00000003.json")).unlink()
    Path(run.store.where(runs[0].key("run.json"))).write_text("{}")
    found = command("verify", "--anchor", "--json")
    document = json.loads(found.stdout)
    assert found.exit_code == 1
    assert document["holds"] is False
    assert {each["what"] for each in document["findings"]} == {"cut off", "changed", "unchained"}
    told = command("verify", "--anchor")
    assert told.exit_code == 1
    assert f"changed   {runs[0].key('run.json')}: the file is not as it was sealed." in told.stdout
    assert "3 runs, 2 files, 2 entries and 1 anchor(s) in" in told.stdout
