"""What rolling back chooses and refuses, before anything is asked of AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.errors import BadInput
from runbook.procedure.roll_back import RollBack
from runbook.studio import iam
from runbook.studio.ecs import Deployment, Service
from runbook.studio.migrations import Head
from runbook.studio.revisions import Revision, _tag
from runbook.studio.stopped import has_failed, telling

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD, MIDDLE, NEW = (sign * 40 for sign in "abc")
AGES = {OLD: 9, MIDDLE: 5, NEW: 1}


def revision(service: str, number: int, commit: str) -> Revision:
    registered = NOW - timedelta(days=AGES[commit])
    return Revision(service, f"{service}:{number}", commit, registered, "GitHubActions")


def running(service: str, number: int, state: str = "COMPLETED") -> Service:
    name = f"{service}:{number}"
    deployment = Deployment("ecs-svc/1", "PRIMARY", name, state, "", 2, 2, 0, None)
    return Service("cluster", service, name, 2, 2, 0, (deployment,))


# web has revisions of all three commits, job none of the middle one
WEB = tuple(revision("web", n, commit) for n, commit in ((3, NEW), (2, MIDDLE), (1, OLD)))
JOB = tuple(revision("job", n, commit) for n, commit in ((2, NEW), (1, OLD)))


def found(web: int, job: int, *, named: tuple[str, ...] = (), to: str = "") -> RollBack:
    return RollBack(
        (running("web", web), running("job", job)),
        {"web": WEB, "job": JOB},
        Head(("1f3a",)),
        NOW,
        named,
        to,
    )


def went(rolled: RollBack) -> dict[str, str]:
    """Each change, by its service."""
    return {
        change.target.rpartition("/")[2]: change.after["task_definition"]
        for change in rolled.plan().changes
    }


def without(rolled: RollBack, service: str, number: int, **changed: object) -> RollBack:
    """The same, with one revision changed."""
    known = tuple(
        replace(one, **changed) if one.number == number else one  # type: ignore[arg-type]
        for one in rolled.revisions[service]
    )
    return replace(rolled, revisions={**rolled.revisions, service: known})


def test_half_of_a_release_goes_back_to_what_the_other_half_runs() -> None:
    assert went(found(3, 1)) == {"web": "web:2"}  # the job ran its first then, and does now
    assert went(without(found(3, 1), "web", 2, faults=("its image has left ECR",))) == {
        "web": "web:1"
    }


def test_a_commit_is_passed_over_when_tasks_of_it_failed_lately() -> None:
    assert went(without(found(3, 1), "web", 2, failed=2)) == {"web": "web:1"}


def test_what_runs_now_is_good_although_a_task_of_it_failed() -> None:
    assert went(without(found(3, 1), "job", 1, failed=1)) == {"web": "web:2"}


@pytest.mark.parametrize(("hours", "back_to"), [(2, "job:1"), (0.5, None)])
def test_what_others_run_is_good_unless_it_is_new_and_fails(
    hours: float, back_to: str | None
) -> None:
    # web runs the old commit, and job's tasks of it failed: a database was away, or it is new
    registered = NOW - timedelta(hours=hours)
    failed = without(found(1, 2), "job", 1, failed=3, registered_at=registered)
    commits = replace(
        failed,
        revisions={
            "web": (replace(WEB[2], registered_at=registered),),
            "job": (replace(JOB[0], registered_at=NOW), failed.revisions["job"][1]),
        },
    )
    if back_to:
        assert went(commits) == {"job": back_to}
    else:
        with pytest.raises(BadInput, match="No commit before"):
            commits.plan()


def test_when_no_earlier_commit_can_start_it_is_refused() -> None:
    broken = without(without(found(3, 1), "web", 1, faults=("x",)), "web", 2, faults=("x",))
    with pytest.raises(BadInput, match="No commit before cccccccccccc"):
        broken.plan()


def test_one_healthy_commit_is_nothing_to_roll_back() -> None:
    assert found(3, 2).plan().changes == ()


def test_on_one_commit_only_the_sick_service_goes_back() -> None:
    sick = replace(found(3, 2), services=(running("web", 3, "IN_PROGRESS"), running("job", 2)))
    plan = sick.plan()
    assert [change.after for change in plan.changes] == [{"task_definition": "web:2"}]
    assert any("still being rolled out" in warning for warning in plan.warnings)


def test_a_named_service_goes_back_by_one_that_can_start() -> None:
    assert went(found(3, 2, named=("web",))) == {"web": "web:2"}
    gone = without(found(3, 2, named=("web",)), "web", 2, faults=("its image has left ECR",))
    assert went(gone) == {"web": "web:1"}


def test_a_commit_is_named_by_its_first_signs_and_taken_by_all() -> None:
    assert went(found(3, 2, to=MIDDLE[:7])) == {"web": "web:2", "job": "job:1"}


@pytest.mark.parametrize("to", ["b", "bbbbbb", "ddddddd", "web:9", "job:9"])
def test_what_is_not_there_or_not_one_is_refused(to: str) -> None:
    with pytest.raises(BadInput, match=r"^to: "):
        found(3, 2, to=to).plan()


def test_a_revision_is_named_whole_and_refused_when_it_cannot_start() -> None:
    asked = found(3, 2, to="web:1")
    assert went(asked) == {"web": "web:1"}
    with pytest.raises(BadInput, match="web:1 cannot start: its image has left ECR"):
        without(asked, "web", 1, faults=("its image has left ECR",)).plan()


def test_the_plan_says_why_and_where_the_schema_stays() -> None:
    why, schema, *_ = found(3, 1).plan().warnings
    assert why.startswith("bbbbbbbbbbbb is the newest commit before cccccccccccc")
    assert "What had no part in it gets what ran then: job" in why
    assert "stays at migration 1f3a" in schema
    unknown = replace(found(3, 1), head=Head((), why="OperationalError")).plan().warnings[1]
    assert "not known (OperationalError)" in unknown


ALLOW = {"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "arn:one*"}
DENY = {"Effect": "Deny", "Action": "*", "Resource": "arn:one-b"}


@pytest.mark.parametrize(
    ("resource", "statements", "allowed"),
    [
        ("arn:one-a", [ALLOW], True),
        ("arn:two", [ALLOW], False),
        ("arn:one-a", [], False),
        ("arn:one-a", [ALLOW, DENY], True),
        ("arn:one-b", [ALLOW, DENY], False),
        ("arn:one-a", [{"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:two"}], True),
        ("arn:two", [{"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:two"}], False),
    ],
)
def test_a_policy_allows_what_it_says_and_nothing_that_one_denies(
    resource: str, statements: list[dict[str, str]], allowed: bool
) -> None:
    documents = [{"Statement": one} for one in statements]
    assert iam.allows(documents, "secretsmanager:GetSecretValue", resource) is allowed


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("1.dkr.ecr.eu.amazonaws.com/web:abc", "abc"),
        ("localhost:5000/web", "latest"),
        ("web@sha256:0f", "0f"),
        ("web:abc@sha256:0f", "0f"),
    ],
)
def test_an_image_names_its_commit(image: str, tag: str) -> None:
    assert _tag(image) == tag


@pytest.mark.parametrize(
    ("task", "failed"),
    [
        ({"stopCode": "TaskFailedToStart"}, True),
        ({"stopCode": "EssentialContainerExited"}, True),
        ({"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Scaling activity"}, False),
        ({"stopCode": "ServiceSchedulerInitiated",
          "stoppedReason": "Task failed ELB health checks in (target-group x)"}, True),
        ({"stopCode": "UserInitiated", "stoppedReason": "node maintenance"}, False),
    ],
)  # fmt: skip
def test_a_task_that_was_sent_away_has_not_failed(task: dict[str, str], failed: bool) -> None:
    assert has_failed(task) is failed


def test_the_first_errors_tell_most_and_without_one_the_last_lines() -> None:
    assert telling(["a", "ImportError: x", "b", "ERROR y"]) == ["ImportError: x", "ERROR y"]
    assert telling(["1", "2", "3", "4"]) == ["2", "3", "4"]
