"""usage-drift: a flush of usage was cut off; counters in Redis and rows in the table disagree."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

# This month's sums of users that have not asked for anything since the Studio began.
_SUMS = """
    SELECT user_id::text, sum(amount)::bigint FROM usage_logs
    WHERE kind = 'tokens' AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC')
      AND user_id NOT IN (
          SELECT users.id FROM users JOIN subscriptions ON user_id = users.id
          WHERE is_active AND status = 'active' ORDER BY users.created_at, users.id LIMIT 200
      )
    GROUP BY user_id ORDER BY user_id
"""
_SUM = """
    SELECT user_id::text, sum(amount)::bigint FROM usage_logs
    WHERE kind = 'tokens' AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC')
      AND user_id = ANY (%(users)s::uuid[])
    GROUP BY user_id
"""


def _draw(studio: Studio, dice: random.Random) -> Details:
    sums = studio.rows(_SUMS)
    chosen = dice.sample(sums, k=dice.randint(8, 30))
    lost = dice.randint(2, 5)  # the others' usage is counted, and not written
    return {
        "unwritten": {user: dice.randint(300, 40_000) for user, _ in chosen[lost:]},
        "uncounted": {user: dice.randint(1, max(1, total // 2)) for user, total in chosen[:lost]},
    }


def _start(studio: Studio, details: Details) -> None:
    users = [*details["unwritten"], *details["uncounted"]]
    sums = dict(studio.rows(_SUM, users=users))
    details["month"] = f"{datetime.now(UTC):%Y-%m}"
    details["expected"] = {
        user: sums.get(user, 0) + details["unwritten"].get(user, 0) for user in users
    }
    pipe = studio.redis.pipeline(transaction=True)
    for user, expected in details["expected"].items():
        pipe.set(_counter(details, user), expected - details["uncounted"].get(user, 0))
    pipe.execute()


def _counter(details: Details, user: str) -> str:
    return f"usage:tokens:{user}:{details['month']}"


def _judge(studio: Studio, details: Details) -> list[str]:
    """What was used is in the table once, and a counter says so or is gone."""
    expected: dict[str, int] = details["expected"]
    sums = dict(studio.rows(_SUM, users=list(expected)))
    counted = studio.redis.mget([_counter(details, user) for user in expected])
    less = [user for user, wanted in expected.items() if sums.get(user, 0) < wanted]
    more = [user for user, wanted in expected.items() if sums.get(user, 0) > wanted]
    apart = [
        user
        for user, counter in zip(expected, counted, strict=True)
        if counter is not None and int(counter) != sums.get(user, 0)
    ]
    told = {
        "users have used more than the table knows": less,
        "users have more in the table than they used: something was written twice": more,
        "users have a counter that differs from the table": apart,
    }
    return [f"{len(users)} {what}" for what, users in told.items() if users]


def _clean_up(studio: Studio, details: Details) -> None:
    """Counters say what the table says."""
    if "expected" not in details:
        return
    sums = dict(studio.rows(_SUM, users=list(details["expected"])))
    studio.redis.mset({_counter(details, user): sums.get(user, 0) for user in details["expected"]})


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "sync-usage")


USAGE_DRIFT = Drill(
    name="usage-drift",
    symptom="Customers see another usage on their page than the limit that they run into.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
)
