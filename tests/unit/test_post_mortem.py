"""A post-mortem says when the trouble began, what it cost, and what is not of this incident."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook.incident import state
from runbook.incident.book import Event, Incident
from runbook.incident.post_mortem import PostMortem
from runbook.incident.timeline import Moment, Timeline
from runbook.settings import Incidents
from runbook.studio.logs.failures import Failures
from runbook.studio.logs.search import Window

OPENED = datetime(2026, 11, 25, 3, 0, 20, tzinfo=UTC)
FIRST = OPENED.replace(second=0) - timedelta(minutes=30)
INCIDENT = Incident("INC-20261125-0300-4fa2", "Videos do not start.", "P1", "sara", OPENED)


def moment(minute: float, source: str, text: str, **more: Any) -> Moment:
    return Moment(OPENED + timedelta(minutes=minute), source, more.pop("who", "ci"), text, **more)


def failures(percent: dict[int, float], users: int = 3) -> Failures:
    """Requests from half an hour before it was opened until ten minutes after: 100 a minute."""
    minutes = pd.DataFrame({"minute": [FIRST + timedelta(minutes=n) for n in range(40)]})
    minutes["requests"] = 100
    minutes["failed"] = [percent.get(n - 30, 0.0) for n in range(40)]
    minutes["percent"] = minutes["failed"].astype(float)
    window = Window(FIRST, FIRST + timedelta(minutes=40))
    return Failures(window, 4000, int(sum(percent.values())), users, minutes, 2.0)


def post_mortem(
    moments: Sequence[Moment] = (),
    failed: Failures | None = None,
    runs: Sequence[dict[str, Any]] = (),
    suspects: Sequence[dict[str, Any]] = (),
) -> PostMortem:
    events = [Event(OPENED + timedelta(minutes=6), "sara", "mitigated", "x", {}),
              Event(OPENED + timedelta(minutes=9), "sara", "resolved", "well", {})]  # fmt: skip
    now = OPENED + timedelta(minutes=10)
    found = state.of(INCIDENT, events, runs, settings=Incidents(), now=now)
    timeline = Timeline(INCIDENT, FIRST, found.until, tuple(moments), (), {})
    return PostMortem(found, timeline, failed, tuple(suspects), 1)


def run(section: str) -> dict[str, Any]:
    ended = OPENED + timedelta(minutes=5)
    return {"run_id": f"run-{section}", "section": section, "verdict": "succeeded", "result": None,
            "changes_applied": 2, "finished_at": ended.isoformat(), "operator": "sara"}  # fmt: skip


def test_the_summary_tells_what_mended_it_and_is_made_of_whole_sentences() -> None:
    told = post_mortem(failed=failures({0: 40, 1: 20}), runs=[run("roll-back")]).summary()
    assert told == (
        "Videos do not start (P1). It began at 2026-11-25 03:00 UTC and lasted 9 min; from 02:30 "
        "to 03:10 UTC 60 of 4,000 requests failed (1.5 %), of 3 users; 2 minutes were bad (2 % or "
        "more). Mended by roll-back, 6 min after it was opened."
    )


@pytest.mark.parametrize(
    ("percent", "minute"),
    [
        ({}, None),
        ({-4: 9, -3: 9, 0: 9}, -4),
        ({-25: 9, -24: 9, 0: 9}, 0),  # another one's, which was over
        ({-25: 9}, None),
        ({1: 9, 9: 9}, 1),  # it came back: still this one's
        ({-5: 9, 9: 9}, -5),
    ],
)
def test_failures_that_were_over_long_before_are_not_its_beginning(
    percent: dict[int, float], minute: int | None
) -> None:
    since = failures(percent).bad_since(OPENED, apart=timedelta(minutes=5))
    assert since == (None if minute is None else FIRST + timedelta(minutes=30 + minute))


def test_the_impact_is_counted_since_it_began_too() -> None:
    draft = post_mortem(failed=failures({-30: 1, 0: 40, 1: 20})).markdown()
    assert "60 of them failed among the 1,000 requests since it began (6.0 %)." in draft


def test_an_alarm_that_was_over_long_before_was_not_raised_by_it() -> None:
    earlier = [
        moment(-25, "alarm", "5xx Alarm updated from OK to ALARM"),
        moment(-20, "alarm", "5xx Alarm updated from ALARM to OK"),
    ]
    assert post_mortem(earlier).raised is None
    assert post_mortem(earlier).began == OPENED
    again = moment(-2, "alarm", "5xx Alarm updated from OK to ALARM")
    assert post_mortem([*earlier, again]).raised == again
    just_over = moment(-1, "alarm", "5xx Alarm updated from ALARM to OK")
    assert post_mortem([*earlier, again, just_over]).began == again.at


def test_what_others_changed_before_it_was_opened_is_a_cause_and_not_a_fault_of_the_answer() -> (
    None
):
    found = post_mortem(
        [
            moment(-2, "cloudtrail", "ecs UpdateService on videos", outside=True, times=2),
            moment(-2, "cloudtrail", "ecr PutImage on videos", outside=True),
            moment(3, "cloudtrail", "ecs StopTask on videos", outside=True, who="user/omar"),
        ]
    )
    assert [line for line in found.went_badly() if "past the runbook" in line] == [
        "user/omar made 1 change past the runbook: ecs StopTask"
    ]
    cause = found.markdown().partition("## Cause")[2].partition("##")[0]
    assert "- ci: ecs UpdateService (×2), ecr PutImage\n" in cause
    assert "StopTask" not in cause
    assert [one for one in found.proposals() if "PutImage" in one] == []


def test_it_says_who_noticed_and_what_was_done_when() -> None:
    raised = moment(-1, "alarm", "web-5xx from OK to ALARM")
    found = post_mortem([raised], runs=[run("roll-back")])
    assert found.detection() == (
        "The alarm web-5xx was raised at 02:59:20 UTC, 0 s after the first sign; the incident was "
        "opened 1 min after that."
    )
    assert "- 03:05:20 UTC: roll-back by sara: 2 changes, succeeded (`run-roll-back`)" in (
        found.markdown()
    )
