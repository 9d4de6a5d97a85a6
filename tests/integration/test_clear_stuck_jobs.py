"""clear-stuck-jobs, run as people run it: the database agrees with the plan to the row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import psycopg2
import pytest

from runbook import settings
from runbook.record.runs import Run, store_of
from runbook.run import warm
from runbook.wait import Wait
from studio_sandbox.box import Box
from studio_sandbox.drills import drill as drills

RUNBOOK = [sys.executable, "-P", "-m", "runbook"]
SLUG = "clear-stuck-jobs"


@dataclass(frozen=True)
class Told:
    code: int
    json: Any
    err: str


def runbook(*arguments: str) -> Told:
    done = warm.command(*arguments, "--json", within_s=120)
    return Told(done.returncode, json.loads(done.stdout or "null"), done.stderr)


def jobs(box: Box) -> dict[str, tuple[str, str]]:
    with closing(psycopg2.connect(box.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id::text, status, updated_at::text FROM jobs")
        return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}


def statuses(found: dict[str, tuple[str, str]]) -> Counter[str]:
    return Counter(status for status, _ in found.values())


@pytest.fixture
def broken(fresh_box: Box) -> Iterator[drills.Running]:
    """A Studio whose worker died."""
    one = drills.start(fresh_box, "stuck-jobs", seed=5)
    yield one
    drills.end(fresh_box, one)


@pytest.fixture
def plan(broken: drills.Running) -> dict[str, Any]:
    told = runbook("run", SLUG)
    assert told.code == 0, told.err
    planned: dict[str, Any] = told.json
    return planned


def test_planning_changes_nothing_and_finds_every_stuck_job(
    fresh_box: Box, broken: drills.Running
) -> None:
    before = jobs(fresh_box)
    told = runbook("run", SLUG)
    assert (told.code, told.json["verdict"]) == (0, "planned")
    assert jobs(fresh_box) == before
    change = told.json["plan"]["changes"][0]
    assert change["before"] == {"rows": len(broken.details["victims"]), "status": "processing"}
    assert told.json["result"]["stuck"] == len(broken.details["victims"])
    assert told.json["changes_applied"] == 0


def test_the_plan_is_applied_to_the_row_judged_and_undone(
    fresh_box: Box, broken: drills.Running, plan: dict[str, Any]
) -> None:
    before = jobs(fresh_box)
    digest = plan["plan"]["digest"]
    applied = runbook("run", SLUG, "--apply", digest).json
    assert (applied["verdict"], applied["changes_applied"]) == ("succeeded", 1)
    after = jobs(fresh_box)
    moved = {job for job in before if before[job] != after[job]}
    assert moved == set(broken.details["victims"])
    assert {after[job][0] for job in moved} == {"pending"}
    rows = plan["plan"]["changes"][0]["before"]["rows"]
    assert statuses(after)["pending"] - statuses(before)["pending"] == rows
    assert runbook("drill", "judge", "stuck-jobs").json["mended"] is True

    again = runbook("run", SLUG, "--apply", digest)
    assert again.json["verdict"] in ("refused", "no_change")
    assert jobs(fresh_box) == after

    undo = runbook("undo", applied["run_id"]).json
    assert undo["verdict"] == "planned"
    assert jobs(fresh_box) == after
    undone = runbook("undo", applied["run_id"], "--apply", undo["plan"]["digest"]).json
    assert undone["verdict"] == "succeeded"
    assert jobs(fresh_box) == before
    judged = runbook("drill", "judge", "stuck-jobs")
    assert (judged.code, judged.json["mended"]) == (1, False)


def test_the_record_holds_the_executed_notebook_and_what_led_to_the_verdict(
    plan: dict[str, Any],
) -> None:
    folder = Path(plan["notebook"]).parent
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert {cell.metadata.papermill.status for cell in code} == {"completed"}
    about = json.loads((folder / "run.json").read_text())
    assert about["run_id"] == plan["run_id"] == folder.name
    assert (about["verdict"], about["operator"]) == ("planned", "user/oncall")
    assert about["finished_at"] > about["started_at"]
    saved = json.loads((folder / "plan.json").read_text())
    assert saved["digest"] == plan["plan"]["digest"]
    entries = [json.loads(line)["entry"] for line in (folder / "journal.jsonl").open()]
    assert entries == ["plan"]
    assert not list((folder.parent.parent / "running").iterdir())


def test_other_parameters_than_the_plans_are_refused_and_nothing_moves(
    fresh_box: Box, plan: dict[str, Any]
) -> None:
    before = jobs(fresh_box)
    told = runbook("run", SLUG, "--apply", plan["plan"]["digest"], "-p", "outcome", "failed")
    assert (told.code, told.json["verdict"]) == (2, "refused")
    assert "planned 'pending', given 'failed'" in told.json["error"]["message"]
    assert jobs(fresh_box) == before


def test_jobs_that_were_finished_since_the_plan_are_left_alone(
    fresh_box: Box, broken: drills.Running, plan: dict[str, Any]
) -> None:
    finished = broken.details["victims"][:4]
    with closing(psycopg2.connect(fresh_box.database_url)) as connection, connection:
        connection.cursor().execute(
            "UPDATE jobs SET status = 'completed', updated_at = now() AT TIME ZONE 'UTC' "
            "WHERE id = ANY (%s::uuid[])",
            (finished,),
        )
    applied = runbook("run", SLUG, "--apply", plan["plan"]["digest"]).json
    assert applied["verdict"] == "succeeded"
    after = jobs(fresh_box)
    assert {after[job][0] for job in finished} == {"completed"}
    assert {after[job][0] for job in broken.details["victims"][4:]} == {"pending"}


def test_a_plan_whose_jobs_have_all_moved_is_stale(fresh_box: Box, plan: dict[str, Any]) -> None:
    with closing(psycopg2.connect(fresh_box.database_url)) as connection, connection:
        connection.cursor().execute(
            "UPDATE jobs SET status = 'completed' WHERE status = 'processing'"
        )
    before = jobs(fresh_box)
    told = runbook("run", SLUG, "--apply", plan["plan"]["digest"])
    assert (told.code, told.json["error"]["class"]) == (2, "PlanStale")
    assert told.json["changes_applied"] == 0
    assert jobs(fresh_box) == before


def test_unattended_applies_where_the_environment_allows_it(
    fresh_box: Box, broken: drills.Running
) -> None:
    told = runbook("run", SLUG, "--apply", "unattended")
    assert (told.code, told.json["verdict"]) == (0, "succeeded")
    assert runbook("drill", "judge").json["findings"] == []
    refused = runbook("run", "undo-run", "--apply", "unattended")
    assert (refused.code, refused.json["error"]["class"]) == (2, "GuardrailHit")


def test_giving_up_payment_webhooks_is_warned_of_and_is_not_mended(broken: drills.Running) -> None:
    planned = runbook("run", SLUG, "-p", "outcome", "failed").json
    assert any("somebody has paid" in warning for warning in planned["plan"]["warnings"])
    runbook("run", SLUG, "--apply", planned["plan"]["digest"])
    judged = runbook("drill", "judge", "stuck-jobs")
    assert judged.code == 1
    assert any("payment webhooks were given up" in each for each in judged.json["findings"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "older_than_minute", "5"],
        ["-p", "older_than_minutes", "007"],
        ["-p", "older_than_minutes", "5", "-p", "older_than_minutes", "6"],
        ["--environment", "nowhere"],
        ["--apply", "123456"],
        ["--apply", "plan-abcdef"],
    ],
)
def test_bad_requests_are_refused_before_a_kernel_starts(box: Box, arguments: list[str]) -> None:
    store = store_of(settings.load("sandbox"))
    before = set(store.keys("runs"))
    told = runbook("run", SLUG, *arguments)
    assert (told.code, told.json["verdict"], told.json["run_id"]) == (2, "refused", None)
    assert told.json["error"]["message"]
    assert told.json["error"]["next"]
    assert "Traceback" not in told.err
    assert set(store.keys("runs")) == before


def test_nothing_stuck_is_no_change(fresh_box: Box) -> None:
    told = runbook("run", SLUG)
    assert (told.code, told.json["verdict"], told.json["plan"]) == (0, "no_change", None)
    assert told.json["result"]["status"] == "ok"


def test_fail_on_turns_what_was_found_into_exit_4(broken: drills.Running) -> None:
    told = runbook("run", SLUG, "--fail-on", "warning")
    assert (told.code, told.json["verdict"], told.json["exit_code"]) == (4, "planned", 4)
    assert runbook("run", SLUG, "--fail-on", "critical").code == 0


# Until the lock is free; the first one gives up when the session's lock_timeout is over.
FOR_A_LOCK = "PERFORM pg_advisory_xact_lock(4711)"
PATIENTLY = "WHILE NOT pg_try_advisory_xact_lock(4711) LOOP PERFORM pg_sleep(0.02); END LOOP"


@contextmanager
def commits_wait(box: Box, wait: str) -> Iterator[Any]:
    """Whoever has changed jobs waits on committing it, until the block ends; gives a session."""
    with closing(psycopg2.connect(box.database_url)) as session:
        session.autocommit = True
        cursor = session.cursor()
        cursor.execute(
            "CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {wait}; RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION waits()"
        )
        cursor.execute("SELECT pg_advisory_lock(4711)")
        yield cursor
        cursor.execute("SELECT pg_advisory_unlock(4711)")
        cursor.execute("DROP TRIGGER waits ON jobs")
        cursor.execute("DROP FUNCTION waits")


@pytest.mark.parametrize("committed", [True, False])
def test_a_runner_killed_in_the_middle_is_unknown_then_reconciled_then_resumed(
    fresh_box: Box, plan: dict[str, Any], committed: bool
) -> None:
    """The commit is on its way: the server carries it out, or notices first who is gone."""
    before = jobs(fresh_box)
    digest = plan["plan"]["digest"]
    with commits_wait(fresh_box, PATIENTLY) as session:
        runner = subprocess.Popen(
            [*RUNBOOK, "run", SLUG, "--apply", digest], stdout=subprocess.DEVNULL
        )
        cut_off = Wait(timeout_s=30, interval_s=0.05).until(_with_an_intent, what="an intent")
        family = psutil.Process(runner.pid).children(recursive=True)
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, "the kernel outlived its runner"
        told = runbook("runs")
        assert "was cut off" in told.err
        assert next(r for r in told.json if r["run_id"] == cut_off.id)["verdict"] == "unknown"
        assert [each["outcome"] for each in runbook("reconcile").json] == ["unknown"]
        if not committed:
            session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE wait_event = 'PgSleep'"
            )
    Wait(timeout_s=10, interval_s=0.05).until(
        lambda: (jobs(fresh_box) == before) is not committed, what="the transaction to end"
    )

    refused = runbook("run", SLUG, "--apply", digest)
    assert (refused.code, refused.json["error"]["class"]) == (2, "Unresolved")
    settled = runbook("reconcile")
    assert [each["outcome"] for each in settled.json] == ["done" if committed else "failed"]

    resumed = runbook("run", SLUG, "--apply", digest)
    wanted = "no_change" if committed else "succeeded"
    assert (resumed.code, resumed.json["verdict"]) == (0, wanted)
    assert runbook("drill", "judge", "stuck-jobs").json["mended"] is True


def test_sigterm_ends_the_run_gently_and_nothing_is_left_open(
    fresh_box: Box, plan: dict[str, Any]
) -> None:
    before = jobs(fresh_box)
    with commits_wait(fresh_box, FOR_A_LOCK):
        runner = subprocess.Popen(
            [*RUNBOOK, "run", SLUG, "--apply", plan["plan"]["digest"], "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        Wait(timeout_s=30, interval_s=0.05).until(_with_an_intent, what="an intent")
        runner.send_signal(signal.SIGTERM)
        out, _ = runner.communicate(timeout=30)
    told = json.loads(out)
    assert (runner.returncode, told["verdict"]) == (1, "failed")
    assert jobs(fresh_box) == before
    assert runbook("locks").json == []


def _with_an_intent() -> Run | None:
    store = store_of(settings.load("sandbox"))
    for key in store.keys("running"):
        run = Run(store, key.split("/")[1])
        if run.journal.unresolved():
            return run
    return None


def test_papermill_with_the_engine_gives_the_same_record_and_exit_code(
    broken: drills.Running, tmp_path: Path
) -> None:
    papermill = [str(Path(sys.executable).with_name("papermill")), "--engine", "runbook"]
    original = str(settings.checkout() / f"notebooks/2-operations/{SLUG}.ipynb")
    out = tmp_path / "out.ipynb"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*papermill, original, str(out), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        )

    planned = run("-r", "older_than_minutes", "61")
    assert planned.returncode == 0, planned.stderr
    record = Path(planned.stderr.split("planned: ")[1].strip())
    assert nbformat.read(out, as_version=4) == nbformat.read(record, as_version=4)
    about = json.loads((record.parent / "run.json").read_text())
    assert about["parameters"]["older_than_minutes"] == 61
    assert about["verdict"] == "planned"

    out.unlink()
    assert run("-r", "older_than_minute", "61").returncode == 2
    retyped = run("-p", "outcome", "7")
    assert retyped.returncode == 2
    assert "-r" in retyped.stderr
    assert not out.exists()

    in_a_cell = run("-r", "outcome", "nonsense")
    assert in_a_cell.returncode == 2
    cells = [c for c in nbformat.read(out, as_version=4).cells if c.cell_type == "code"]
    labels = [cell.metadata.papermill.status for cell in cells]
    failed = labels.index("failed")
    assert "plan_requeue" in cells[failed].source
    assert labels[:failed] == ["completed"] * failed
    assert labels[failed + 1 :] == ["not run"] * len(labels[failed + 1 :]) != []


def test_papermill_without_the_engine_only_plans_and_says_so(
    fresh_box: Box, broken: drills.Running, tmp_path: Path
) -> None:
    before = jobs(fresh_box)
    original = settings.checkout() / f"notebooks/2-operations/{SLUG}.ipynb"
    papermill = str(Path(sys.executable).with_name("papermill"))
    out = tmp_path / "out.ipynb"
    subprocess.run([papermill, str(original), str(out)], capture_output=True, check=True)
    text = out.read_text()
    assert "without the runbook's engine a section only plans" in text
    assert jobs(fresh_box) == before
    refused = subprocess.run(
        [papermill, str(original), str(out), "-r", "apply", "unattended"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "a section only plans" in refused.stderr
    assert jobs(fresh_box) == before
