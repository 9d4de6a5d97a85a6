"""When a maintenance may be, how much notice it needs, and what is written down for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.errors import BadInput
from runbook.procedure import plan_maintenance
from runbook.procedure.plan_maintenance import Planned
from runbook.settings import Maintenance
from runbook.studio.aurora_backups import Window
from runbook.studio.migrations import Head
from runbook.studio.notices import Quota

NOW = datetime(2026, 12, 3, 10, 0, tzinfo=UTC)  # a Thursday
SUNDAY = datetime(2026, 12, 6, 2, 0, tzinfo=UTC)
WANTED = Maintenance(
    notice="maintenance-notice.txt",
    banner="maintenance-banner.txt",
    local="Asia/Amman",
    sender="no-reply@studio.example",
)


def planned(**changed: Any) -> Planned:
    about: dict[str, Any] = {
        "start": SUNDAY,
        "end": SUNDAY + timedelta(hours=1),
        "what": "A new release.",
        "rollback": "Roll back all services.",
        "wanted": WANTED,
        "services": (),
        "tags": {},
        "head": Head(("1f3a",)),
        "window": Window("db", None, None, 7, encrypted=True),
        "snapshots": (),
        "audience": ("u1", "u2"),
        "quota": Quota(100, 14.0),
    }
    return Planned(**(about | changed))


@pytest.mark.parametrize(
    ("now", "start"),
    [
        (NOW, SUNDAY),
        (SUNDAY - timedelta(hours=48), SUNDAY),
        (SUNDAY - timedelta(hours=47, minutes=59), SUNDAY + timedelta(days=7)),
    ],
)
def test_the_next_window_is_the_first_one_with_enough_notice(
    now: datetime, start: datetime
) -> None:
    assert plan_maintenance.next_start(WANTED, now) == start


@pytest.mark.parametrize(
    ("start", "minutes", "fits"),
    [
        (SUNDAY, 120, True),
        (SUNDAY, 121, False),
        (SUNDAY - timedelta(minutes=1), 60, False),
        (SUNDAY + timedelta(minutes=61), 60, False),
        (SUNDAY + timedelta(days=1), 60, False),
        (SUNDAY, 0, False),
    ],
)
def test_a_maintenance_begins_and_ends_within_the_window(
    start: datetime, minutes: int, fits: bool
) -> None:
    if fits:
        plan_maintenance.refuse_outside(WANTED, start, minutes=minutes)
        return
    with pytest.raises(BadInput, match=r"Maintenance is for Sun 02:00-04:00 UTC"):
        plan_maintenance.refuse_outside(WANTED, start, minutes=minutes)


def test_less_than_48_hours_of_notice_are_refused_with_the_next_time() -> None:
    late = SUNDAY - timedelta(hours=47)
    with pytest.raises(BadInput, match=r"48 hours before; this begins in 47\.0") as refused:
        plan_maintenance.refuse_short_notice(WANTED, SUNDAY, late)
    assert "2026-12-13 02:00" in refused.value.next
    plan_maintenance.refuse_short_notice(WANTED, SUNDAY, SUNDAY - timedelta(hours=48))


def test_a_start_is_a_time_in_utc() -> None:
    assert plan_maintenance.parse("2026-12-06 02:00") == SUNDAY
    with pytest.raises(BadInput, match="start: expected a time"):
        plan_maintenance.parse("Sunday")


def test_the_plan_takes_a_snapshot_and_tells_everybody_and_cannot_be_taken_back() -> None:
    plan = planned().plan()
    snapshot, notice = plan.changes
    assert snapshot.target == "snapshot:pre-maintenance-20261206-0200"
    assert notice.target == "mail:notice/maintenance-20261206-0200"
    assert notice.rows
    assert notice.rows.count == 2
    assert not plan.reversible
    assert plan.way_back.startswith("none")


def test_more_mails_than_the_quota_has_left_are_refused() -> None:
    planned(quota=Quota(2, 1.0)).plan()
    with pytest.raises(BadInput, match="2 mails are to be sent, and SES lets this account send 1"):
        planned(quota=Quota(1, 1.0)).plan()


def test_the_mail_says_when_in_both_languages_by_local_time_and_utc() -> None:
    subject, text = planned().notice()
    assert "2026-12-06" in subject
    assert text.count("05:00") == text.count("06:00") == 2
    assert "02:00–03:00 UTC" in text
    assert "{" not in subject + text + planned().banner()


def test_the_document_has_versions_schema_and_the_way_back() -> None:
    text = planned().document()
    for part in ("Roll back all services.", "schema: 1f3a", "pre-maintenance-20261206-0200"):
        assert part in text
