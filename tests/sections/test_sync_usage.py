"""sync-usage beside a Studio at work: the table has what was used, and traffic goes on."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections.running import run

from studio_sandbox.drills import drill as drills

SLUG = "sync-usage"
SUMS = """
    SELECT user_id::text, sum(amount)::bigint FROM usage_logs
    WHERE kind = 'tokens' AND user_id = ANY (%s::uuid[])
      AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') GROUP BY user_id
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
