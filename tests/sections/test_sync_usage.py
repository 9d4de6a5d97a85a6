"""sync-usage beside a Studio at work: the table has what was used, and traffic goes on."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
from tests.moving_studio import MovingStudio
from tests.sections.running import run

from studio_sandbox.drills import drill as drills

SLUG = "sync-usage"
SUMS = """
    SELECT user_id::text, sum(amount)::bigint FROM usage_logs
    WHERE kind = 'tokens' AND user_id = ANY (%s::uuid[])
      AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') GROUP BY user_id
"""

OF_MONTH = """
    SELECT sum(amount)::bigint FROM usage_logs
    WHERE kind = 'tokens' AND user_id = %s AND to_char(created_at, 'YYYY-MM') = %s
"""


def test_what_was_counted_is_written_once_and_a_second_time_refused(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    expected = drills.start(studio.box, "usage-drift", seed=2).details["expected"]
    users = list(expected)
    before = dict(studio.rows(SUMS, users))

    planned = run(studio, SLUG)
    assert planned["verdict"] == "planned", planned["error"]
    assert dict(studio.rows(SUMS, users)) == before
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert dict(studio.rows(SUMS, users)) == expected

    again = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert again["verdict"] in ("no_change", "refused")
    assert dict(studio.rows(SUMS, users)) == expected
    assert list(studio.redis.scan_iter("usage-aside:*")) == []


def test_the_products_own_script_writes_every_month_once_and_a_second_time_nothing(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    studio.hush()
    expected = drills.start(studio.box, "usage-drift", seed=2).details["expected"]
    users = list(expected)
    month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    earlier = f"usage:tokens:{users[0]}:{month}"
    ((written,),) = studio.rows(OF_MONTH, users[0], month)
    studio.redis.set(earlier, written + 77)
    before = dict(studio.rows(SUMS, users))

    planned = run(studio, SLUG, by="script")
    assert planned["verdict"] == "planned", planned["error"]
    assert dict(studio.rows(SUMS, users)) == before
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert dict(studio.rows(SUMS, users)) == expected
    assert studio.rows(OF_MONTH, users[0], month) == [(written + 77,)]
    again = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert again["verdict"] in ("no_change", "refused")
    assert run(studio, SLUG, by="script")["verdict"] == "no_change"


def test_the_script_is_not_run_beside_somebody_who_writes_usage_without_the_lock(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    studio.hush()
    expected = drills.start(studio.box, "usage-drift", seed=2).details["expected"]
    before = dict(studio.rows(SUMS, list(expected)))
    planned = run(studio, SLUG, by="script")
    with closing(psycopg2.connect(studio.box.database_url)) as writer:
        writer.cursor().execute("UPDATE usage_logs SET amount = amount WHERE false")

        refused = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert (refused["verdict"], refused["changes_applied"]) == ("refused", 0)
    assert "does not hold the shared lock" in refused["error"]["message"]
    assert dict(studio.rows(SUMS, list(expected))) == before
    applied = run(studio, SLUG, apply=run(studio, SLUG, by="script")["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert dict(studio.rows(SUMS, list(expected))) == expected


def test_another_way_to_sync_is_refused_before_anything_is_read(studio: MovingStudio) -> None:
    told = run(studio, SLUG, by="hand")
    assert told["error"]["class"] == "BadInput"
    assert "expected runbook or script" in told["error"]["message"]
