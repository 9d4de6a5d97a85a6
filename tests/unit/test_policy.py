"""What a section needs of AWS is said once, in its first table, and becomes a policy."""

from __future__ import annotations

import re

import pytest

from runbook.run.policy import actions_in, policy
from runbook.run.sections import Section, find, sections


def actions(slug: str) -> set[str]:
    return {each for one in policy(find(slug))["Statement"] for each in one["Action"]}


def test_an_action_without_a_service_is_of_the_one_before_it() -> None:
    row = "`ecs:ListServices`, `DescribeServices`; `logs:GetLogEvents`; `UPDATE` on `jobs`"
    assert list(actions_in(row)) == [
        "ecs:ListServices",
        "ecs:DescribeServices",
        "logs:GetLogEvents",
    ]


def test_what_is_said_not_to_be_needed_is_left_out() -> None:
    assert "secretsmanager:GetSecretValue" not in actions("restore-secret")
    assert "secretsmanager:UpdateSecretVersionStage" in actions("restore-secret")


def test_a_section_that_is_named_brings_what_it_needs() -> None:
    assert actions("check-alarms") < actions("create-alarms")
    assert actions("create-alarms") - actions("check-alarms") == {"cloudwatch:PutMetricAlarm"}
    assert actions("check-health") | actions("high-latency") <= actions("mitigate")


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.slug)
def test_every_section_has_a_policy_that_iam_takes(section: Section) -> None:
    document = policy(section)

    assert document["Version"] == "2012-10-17"
    names = [each for one in document["Statement"] for each in one["Action"]]
    assert names == sorted(names)
    assert all(re.fullmatch(r"[a-z0-9-]+:[A-Z]\w*\*?", each) for each in names)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", one["Sid"]) for one in document["Statement"])


@pytest.mark.parametrize("section", [s for s in sections() if s.risk == "read"], ids=str)
def test_a_section_that_reads_may_change_nothing(section: Section) -> None:
    changing = re.compile(r":(Put|Update|Delete|Create|Modify|Register|Run|Send|Stop(?!Query))")
    mine = actions(section.slug) - {"ses:SendEmail"}  # telling is no change
    assert [each for each in mine if changing.search(each)] == []
