"""ban-user on a Studio that moves: the row, the block, and what the gateway answers."""

from __future__ import annotations

import time
from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

SLUG = "ban-user"
SUBSCRIBED = """
    SELECT users.id::text FROM users JOIN subscriptions ON user_id = users.id
    WHERE is_active AND status = 'active' ORDER BY users.id LIMIT 1
"""


def state(studio: MovingStudio, user: str) -> tuple[bool, Any, int]:
    """Active or not, the block's value and its end (ms), as other clients read them."""
    ((active,),) = studio.rows("SELECT is_active FROM users WHERE id = %s", user)
    key = f"ratelimit:block:{user}"
    return active, studio.redis.get(key), studio.redis.pexpiretime(key)


def asked(studio: MovingStudio, user: str) -> int:
    path = "/v1/chat/complete"
    return studio.ask(path, host=names.GATEWAY_HOST, method="POST", body={}, X_User_Id=user).status


def test_a_user_is_kept_out_until_no_token_is_valid_and_let_in_again(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    ((user,),) = studio.rows(SUBSCRIBED)
    before = state(studio, user)
    assert before == (True, None, -2)

    digest = run(studio, SLUG, user=user)["plan"]["digest"]
    assert state(studio, user) == before
    unapproved = run(studio, SLUG, apply=digest)
    assert (unapproved["verdict"], state(studio, user)) == ("refused", before)
    approve(studio, digest)
    applied = run(studio, SLUG, apply=digest)

    assert applied["verdict"] == "succeeded", applied["error"]
    active, value, until_ms = state(studio, user)
    assert (active, value) == (False, "1")
    assert until_ms / 1000 >= time.time() + 24 * 3600
    assert asked(studio, user) == 403
    assert run(studio, SLUG, user=user)["verdict"] == "no_change"

    assert undo(studio, applied["run_id"])["verdict"] == "succeeded"
    assert state(studio, user) == before
    assert asked(studio, user) != 403


def test_a_user_whom_somebody_blocked_meanwhile_is_not_banned_by_the_old_plan(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    ((user,),) = studio.rows(SUBSCRIBED)
    digest = run(studio, SLUG, user=user)["plan"]["digest"]
    studio.redis.set(f"ratelimit:block:{user}", "1", ex=60)
    approve(studio, digest)

    stale = run(studio, SLUG, apply=digest)

    assert stale["verdict"] == "refused"
    assert state(studio, user)[0] is True
