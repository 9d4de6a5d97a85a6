"""A record in S3: sealed, verified and attacked there; spooled here while it does not answer."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from tests.support import begin, bucket_with_locks, environment_on_s3

from runbook import settings
from runbook.errors import PlanUnknown, RecordUnavailable
from runbook.record.ledger import all_anchors, anchor, later
from runbook.record.runs import Run, anchors_of, find_run, running, runs, spool_of, store_of
from runbook.record.spool import at_hand, drain
from runbook.record.verify import verify
from runbook.run import request, sections
from runbook.run.verdict import seal, seal_cut_off
from runbook.settings import Environment
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox.box import Box

BUCKET = "ai-studio-test-ledger"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with bucket_with_locks(BUCKET) as client:
        yield client


@pytest.fixture
def environment(box: Box, s3: Any) -> Environment:
    return environment_on_s3(BUCKET, f"{secrets.token_hex(4)}/record", retain_days=1)


def sealed(environment: Environment, **about: Any) -> Run:
    run = begin(environment, **about)
    run.store.write(run.key("notebook.ipynb"), b"x" * 100)
    run.journal.write("note", text="one")
    seal(run, None)
    return run


def found(environment: Environment) -> set[tuple[str, str]]:
    anchors = all_anchors(anchors_of(environment))
    return {(each.what, each.where) for each in verify(store_of(environment), anchors).findings}


def test_a_record_in_s3_is_chained_kept_anchored_and_attacked(
    environment: Environment, s3: Any
) -> None:
    made = [sealed(environment) for _ in range(3)]
    store = store_of(environment)
    with later(made[0]) as journal:
        journal.write("takeover", target="t")
    anchor(store, anchors_of(environment), environment="sandbox", clock=SYSTEM_CLOCK)

    verified = verify(store, all_anchors(anchors_of(environment)))
    assert verified.holds, verified.findings
    assert (verified.entries, verified.runs, verified.files, verified.anchors) == (4, 3, 9, 1)
    assert [about["run_id"] for about in runs(store)] == sorted((r.id for r in made), reverse=True)
    for key in ("ledger/00000001.json", made[0].key("run.json"), made[0].key("journal.jsonl")):
        for name in store._objects(key):  # type: ignore[attr-defined]
            assert s3.head_object(Bucket=BUCKET, Key=name)["ObjectLockMode"] == "GOVERNANCE"

    store.write(made[1].key("run.json"), b"{}")  # a lock keeps the old version, and lets one write
    store.write(made[1].key("notes.txt"), b"mine")
    made[2].journal.write("note", text="never happened")
    store.remove("ledger/00000004.json")
    assert found(environment) == {
        ("changed", made[1].key("run.json")),
        ("inserted", made[1].key("notes.txt")),
        ("inserted", made[2].key("journal.jsonl")),
        ("inserted", made[0].key("journal.jsonl")),
        ("cut off", "ledger/00000004.json"),
    }


def seal_some(environment: Environment, count: int) -> None:
    for _ in range(count):
        seal(begin(environment), None)


def test_processes_that_seal_in_s3_at_once_make_one_chain(environment: Environment) -> None:
    context = get_context("fork")
    sealers = [context.Process(target=seal_some, args=(environment, 3)) for _ in range(2)]
    for each in sealers:
        each.start()
    for each in sealers:
        each.join()

    verified = verify(store_of(environment))
    assert [each.exitcode for each in sealers] == [0, 0]
    assert verified.holds, verified.findings
    assert (verified.entries, verified.runs) == (6, 6)


# While S3 does not answer.


@pytest.fixture
def cut(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bool], None]:
    """In a state folder of its own: cut the way to AWS, and mend it."""
    connection = settings.home() / environment.aws.connection
    content = json.loads(connection.read_text())
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    here = tmp_path / environment.aws.connection
    here.parent.mkdir()

    def set_to(is_cut: bool) -> None:
        endpoint = "http://127.0.0.1:1" if is_cut else content["endpoint_url"]
        here.write_text(json.dumps({**content, "endpoint_url": endpoint}))

    set_to(False)
    return set_to


@pytest.fixture
def impatient(environment: Environment) -> Environment:
    aws = environment.aws.model_copy(update={"attempts": 1})
    return environment.model_copy(update={"aws": aws})


def ask(environment: Environment, *, risk: str, break_glass: str = "") -> request.Request:
    """A request of a section of that risk."""

    class Section(sections.Section):
        @property
        def risk(self) -> str:
            return risk

    section = Section(sections.find("clear-stuck-jobs").path)
    return request.Request(section, environment, {}, break_glass=break_glass)


@pytest.mark.parametrize("risk", ["high", "destructive"])
def test_a_risky_section_is_refused_while_the_record_does_not_answer(
    impatient: Environment, cut: Callable[[bool], None], risk: str
) -> None:
    cut(True)
    with pytest.raises(RecordUnavailable, match="does not answer"):
        ask(impatient, risk=risk).begin()

    assert list(spool_of(impatient).keys("")) == []


def test_a_plan_that_cannot_be_looked_up_is_not_called_unknown(
    impatient: Environment, cut: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "load", lambda name: impatient)
    asked = {"apply": "plan-0123456789abcdef"}
    with pytest.raises(PlanUnknown):
        request.make("clear-stuck-jobs", given=asked)

    cut(True)
    with pytest.raises(RecordUnavailable, match="does not answer"):
        request.make("clear-stuck-jobs", given=asked)


@pytest.mark.parametrize(("risk", "glass"), [("read", ""), ("low", ""), ("high", "P0 at night")])
def test_another_is_spooled_aloud_and_moved_and_chained_once_the_record_answers(
    impatient: Environment,
    cut: Callable[[bool], None],
    caplog: pytest.LogCaptureFixture,
    risk: str,
    glass: str,
) -> None:
    before = sealed(impatient)
    cut(True)
    with caplog.at_level(logging.WARNING):
        run = ask(impatient, risk=risk, break_glass=glass).begin()
    assert "AUDIT PENDING" in caplog.text
    assert run.where in caplog.text
    assert find_run(impatient, run.id).store.where("") == run.store.where("")
    run.journal.write("note", text="one")
    run.journal.write("note", text="two")
    seal(run, None)
    assert next(runs(at_hand(impatient)))["run_id"] == run.id

    cut(False)
    store = at_hand(impatient)
    moved = Run(store, run.id)
    assert [about["run_id"] for about in runs(store)] == [run.id, before.id]
    assert [entry["text"] for entry in moved.journal.entries()] == ["one", "two"]
    assert moved.read()["break_glass"] == (glass or None)
    with later(moved) as journal:
        journal.write("takeover", target="t")
    verified = verify(store)
    assert verified.holds, verified.findings
    assert verified.entries == 3
    assert spool_of(impatient).names("runs") == []
    assert list(running(store)) == []


def test_a_move_that_was_cut_off_is_done_over(
    impatient: Environment, cut: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(True)
    run = ask(impatient, risk="low").begin()
    for number in range(3):
        run.journal.write("note", text=str(number))
    seal(run, None)
    cut(False)
    store = store_of(impatient)
    kept = Run(store, run.id)
    kept.mark()
    first = (run.store.root / run.key("journal.jsonl")).read_bytes().splitlines()[0]  # type: ignore[attr-defined]
    store.append(kept.key("journal.jsonl"), first)
    assert seal_cut_off(store) == []  # another machine leaves alone what is not whole yet
    assert [each.id for each in running(store)] == [run.id]

    assert drain(impatient) == [run.id]
    assert [entry["text"] for entry in kept.journal.entries()] == ["0", "1", "2"]
    assert verify(store).holds


def test_what_still_runs_stays_in_the_spool(
    impatient: Environment, cut: Callable[[bool], None]
) -> None:
    cut(True)
    run = ask(impatient, risk="low").begin()
    cut(False)

    assert drain(impatient) == []
    assert find_run(impatient, run.id).read()["verdict"] == "running"
