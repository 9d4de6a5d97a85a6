"""throttle-user on a Studio that moves: who floods is found, refused by the gateway, and let in."""

from __future__ import annotations

import time
from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import run, undo

SLUG = "throttle-user"
ORDINARY = "SELECT id::text FROM users WHERE is_active ORDER BY id LIMIT 1"


def block(studio: MovingStudio, user: str) -> tuple[Any, int]:
    """Value and end (ms, -2 for none) of a user's block, as another client reads them."""
    key = f"ratelimit:block:{user}"
    return studio.redis.get(key), studio.redis.pexpiretime(key)


def asked(studio: MovingStudio, user: str) -> int:
    return studio.ask("/gateway/v1/chat/complete", method="POST", body={}, X_User_Id=user).status


def test_who_floods_is_named_by_the_evidence_and_nobody_before(put_back: MovingStudio) -> None:
    studio = put_back
    ((user,),) = studio.rows(ORDINARY)
    assert run(studio, SLUG)["verdict"] == "no_change"

    studio.order("abusive-user", user_id=user, per_s=60)
    planned = studio.until(
        lambda: (found := run(studio, SLUG))["verdict"] == "planned" and found,
        "somebody stands out",
    )

    assert planned["result"]["user"] == user
    assert planned["plan"]["changes"][0]["target"] == f"redis:ratelimit:block:{user}"
    assert block(studio, user) == (None, -2)


def test_a_user_is_refused_for_so_long_and_let_in_again_by_undo(put_back: MovingStudio) -> None:
    studio = put_back
    ((user,),) = studio.rows(ORDINARY)
    key, ends = f"ratelimit:block:{user}", round(time.time()) + 300
    studio.redis.set(key, "1", exat=ends)  # somebody has blocked the user already

    stale = run(studio, SLUG, user=user, seconds=600)["plan"]["digest"]
    studio.redis.delete(key)
    refused = run(studio, SLUG, apply=stale)
    assert (refused["verdict"], block(studio, user)) == ("refused", (None, -2))

    studio.redis.set(key, "1", exat=ends)
    planned = run(studio, SLUG, user=user, seconds=600)
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    value, until_ms = block(studio, user)
    assert value == "1"
    assert 300 < until_ms / 1000 - time.time() <= 600
    assert asked(studio, user) == 403

    assert undo(studio, applied["run_id"])["verdict"] == "succeeded"
    assert block(studio, user) == ("1", ends * 1000)


def test_a_block_that_lasts_longer_is_not_shortened(put_back: MovingStudio) -> None:
    studio = put_back
    ((user,),) = studio.rows(ORDINARY)
    ends = round(time.time()) + 86_000  # as a ban's
    studio.redis.set(f"ratelimit:block:{user}", "1", exat=ends)

    assert run(studio, SLUG, user=user, seconds=600)["verdict"] == "no_change"
    assert block(studio, user) == ("1", ends * 1000)


def test_nobody_is_blocked_by_a_wrong_name_or_for_ever(studio: MovingStudio) -> None:
    for given, said in (
        ({"user": "someone@example.com"}, "expected an id"),
        ({"user": "00000000-0000-4000-8000-000000000000"}, "nobody has the id"),
        ({"user": studio.rows(ORDINARY)[0][0], "seconds": 90_000}, "expected 1 to 86,400"),
    ):
        refused = run(studio, SLUG, **given)
        assert refused["verdict"] == "refused"
        assert said in refused["error"]["message"]
