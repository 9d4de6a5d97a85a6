"""abusive-user: one user floods the gateway."""

from __future__ import annotations

import random

from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_CUSTOMERS = """
    SELECT users.id::text FROM users JOIN subscriptions ON user_id = users.id
    WHERE is_active AND status = 'active' ORDER BY users.id
"""

_LOOKS = 15


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "user": dice.choice(studio.rows(_CUSTOMERS))[0],
        "per_s": dice.randint(6, 15),
        "family": dice.choice(("chat", "image")),
    }


def _start(studio: Studio, details: Details) -> None:
    studio.order(
        "abusive-user",
        user_id=details["user"],
        per_s=details["per_s"],
        family=details["family"],
    )


def _judge(studio: Studio, details: Details) -> list[str]:
    """The user is blocked at the gateway, for a while or for good."""
    if studio.redis.exists(f"ratelimit:block:{details['user']}"):
        return []
    return ["the user who floods the gateway is not blocked there"]


def _clean_up(studio: Studio, details: Details) -> None:
    """The user is somebody like all others again, and not blocked any more."""
    studio.take_back("abusive-user")
    studio.redis.delete(f"ratelimit:block:{details['user']}")
    studio.rows("UPDATE users SET is_active = true WHERE id = %(user)s", user=details["user"])


def _mend(run: RunSection) -> None:
    """Look until somebody stands out: a flood that has just begun is a trickle."""
    for _ in range(_LOOKS):
        if run("throttle-user").get("plan"):
            plan_and_apply(run, "throttle-user")
            return


ABUSIVE_USER = Drill(
    name="abusive-user",
    symptom="The gateway is busier than it has ever been, and sales knows of no campaign.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("block {user}", "banned {user}"),
)
