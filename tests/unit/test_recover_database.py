"""What can be restored, and what was kept of the services that were stopped; nothing is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbook.errors import BadInput
from runbook.procedure.recover_database import COUNTS, Kept, choose, read_counts
from runbook.studio.aurora_backups import Snapshot, Window

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
WINDOW = Window("db", NOW - timedelta(days=7), NOW - timedelta(minutes=4), 7, encrypted=True)
SNAPSHOT = Snapshot("rds:db-2026-11-28", "db", "automated", "available", NOW, 46, encrypted=True)


@pytest.mark.parametrize("moment", ["2026-11-28T11:55:59", "2026-11-21T12:00:01+00:00"])
def test_a_moment_within_the_window_is_chosen_in_utc(moment: str) -> None:
    point = choose(moment, "", WINDOW, [SNAPSHOT])
    assert point.moment
    assert point.moment.tzinfo
    assert str(point).endswith("UTC")


@pytest.mark.parametrize("moment", ["2026-11-28T11:56:01", "2026-11-21T11:59:59", "yesterday"])
def test_another_moment_is_refused_with_what_there_is(moment: str) -> None:
    with pytest.raises(BadInput):
        choose(moment, "", WINDOW, [SNAPSHOT])


def test_a_snapshot_names_its_cluster_and_an_unknown_one_is_refused() -> None:
    assert choose("", SNAPSHOT.name, WINDOW, [SNAPSHOT]).suffix == "rds-db-2026-11-28"
    with pytest.raises(BadInput, match="no snapshot"):
        choose("", "other", WINDOW, [SNAPSHOT])


def test_both_are_refused_and_neither_chooses_nothing() -> None:
    with pytest.raises(BadInput, match="not both"):
        choose("2026-11-28T11:00:00", SNAPSHOT.name, WINDOW, [SNAPSHOT])
    assert choose("", "", WINDOW, [SNAPSHOT]).moment is None


def test_the_tag_keeps_how_many_tasks_there_were_and_their_range() -> None:
    assert read_counts({COUNTS: "web=3:2-10 job=1"}) == {
        "web": Kept(3, (2, 10)),
        "job": Kept(1, None),
    }
    assert read_counts({}) == {}
