"""Blocks and bans as data, and who stands out, from rows alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from runbook import settings
from runbook.change.kinds import kind_of
from runbook.errors import BadInput
from runbook.procedure import throttle
from runbook.studio import users
from runbook.studio.users import Block
from runbook.wait import SYSTEM_CLOCK

USER = "5f0c1c9e-0000-4000-8000-000000000001"
ENVIRONMENT = settings.load("sandbox")


@pytest.mark.parametrize(
    ("requests", "total", "quiet_s", "wanted"),
    [
        (61, 200, 0, True),
        (60, 200, 0, False),
        (61, 61 * 4, 10, True),
        (61, 61 * 4 + 1, 0, False),
        (61, 200, 11, False),
    ],
)
def test_who_stands_out_still_asks_more_than_is_allowed_and_much_of_all(
    requests: int, total: int, quiet_s: int, wanted: bool
) -> None:
    now = pd.Timestamp("2026-11-28T12:00")
    rows = [
        {"user_id": USER, "requests": requests, "last": now - timedelta(seconds=quiet_s)},
        {"user_id": "another", "requests": 1, "last": now},
    ]
    frame = pd.DataFrame(rows)
    frame["share"] = 100 * frame.requests / total
    assert throttle.standing_out(frame, ENVIRONMENT) == ([USER] if wanted else [])


def test_a_block_is_taken_back_to_the_one_before_unless_that_has_ended() -> None:
    now = SYSTEM_CLOCK.now()
    for before, wanted in (
        (Block(USER), {"value": None, "until": None}),
        (Block(USER, "1"), {"value": "1", "until": None}),
        (Block(USER, "1", now - timedelta(seconds=1)), {"value": None, "until": None}),
    ):
        change = users.block_change(before, until=users.later(now, hours=1))
        left: Any = [(None, {"found": change.after})]
        back = kind_of(change).take_back(change, None, left)
        assert back is not None
        assert (back.before, back.after) == (change.after, wanted)


@pytest.mark.parametrize("text", ["", "nobody", "a@b.example", "5f0c1c9e"])
def test_an_id_is_a_uuid_and_nothing_else(text: str) -> None:
    with pytest.raises(BadInput, match="expected an id"):
        users.checked(text)
