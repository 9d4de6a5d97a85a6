"""A timeline is put in order, tells the same once, and shows what is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbook.change.plan import KNOWN_AFTER_APPLY
from runbook.incident import timeline
from runbook.incident.timeline import Moment

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def moment(minute: float, text: str = "text", source: str = "ecs") -> Moment:
    return Moment(START + timedelta(minutes=minute), source, "", text)


def test_moments_of_all_sources_stand_in_the_order_of_time() -> None:
    found = timeline.in_order([moment(3, "c"), moment(1, "a", "alarm"), moment(2, "b", "book")])

    assert [one.text for one in found] == ["a", "b", "c"]


def test_what_is_done_again_within_a_minute_is_told_once_with_how_often() -> None:
    found = timeline.in_order([moment(0), moment(0.5), moment(0.9), moment(5), moment(0.2, "b")])

    assert [(one.text, one.times) for one in found] == [("text", 3), ("b", 1), ("text", 1)]


def test_silences_longer_than_the_limit_are_gaps_and_shorter_ones_are_not() -> None:
    moments = [moment(-20), moment(5), moment(25), moment(39)]
    end = START + timedelta(minutes=60)

    found = timeline.gaps_in(moments, START, end, longer_than=timedelta(minutes=15))

    minutes = [((a - START).total_seconds() / 60, (b - START).total_seconds() / 60)
               for a, b in found]  # fmt: skip
    assert minutes == [(5, 25), (39, 60)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"before": {"desired_count": 2}, "after": {"desired_count": 4}}, "desired_count 2 → 4, "),
        ({"before": {"id": "a", "n": 1}, "after": {"id": KNOWN_AFTER_APPLY, "n": 1}},
         "id a → new, "),
        ({"before": None, "after": {"n": 1}}, ""),
        ({"before": {}, "after": {}, "rows": {"count": 1500}}, "1,500 rows, "),
        ({"before": {"text": ""}, "after": {"text": "x" * 80}}, f"text  → {'x' * 60}…, "),
    ],
)  # fmt: skip
def test_a_change_is_told_with_before_and_after(change: dict[str, object], says: str) -> None:
    assert timeline.in_short(change) == says


def test_what_ecs_writes_of_many_tasks_is_told_once_and_without_arns() -> None:
    group = "(target-group arn:aws:elasticloadbalancing:eu-1:1:targetgroup/web-tg/097d141e96f01840)"
    unhealthy = [
        timeline.without_ids(
            f"(service web) (task {task}-fae7-49ec) (port 80) is unhealthy in {group}"
        )
        for task in ("6e739b96", "725d4eeb")
    ]
    assert unhealthy == ["(service web) (port 80) is unhealthy in (target group web-tg)"] * 2
    started = "(service web) has started 2 tasks: (task 6e739b96-fae7) (task 725d4eeb-b895)."
    assert timeline.without_ids(started) == "(service web) has started 2 tasks."
