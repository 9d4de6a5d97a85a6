"""activate-subscription: one row, on the strength of one payment, and back to what it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

from studio_sandbox.drills import drill as drills
from studio_sandbox.drills.drill import Details

SLUG = "activate-subscription"


def rows(studio: MovingStudio) -> dict[str, tuple[str, str | None, str]]:
    """Every subscription, whole, as another client reads it."""
    found = studio.rows(
        "SELECT id::text, status, renews_at::text, updated_at::text FROM subscriptions"
    )
    return {row[0]: (row[1], row[2], row[3]) for row in found}


@pytest.fixture
def lost(studio: MovingStudio) -> Iterator[Details]:
    """A Studio whose customers have paid, and nobody was told."""
    studio.hush()
    one = drills.start(studio.box, "webhook-lost", seed=4)
    yield one.details
    drills.end(studio.box, one)


def test_one_is_activated_the_others_stay_and_undo_puts_back_the_row(
    studio: MovingStudio, lost: Details
) -> None:
    before = rows(studio)
    paid = max(lost["paid"], key=lambda one: one["minutes"])["id"]

    planned = run(studio, SLUG)
    assert planned["verdict"] == "planned", planned["error"]
    assert {one["subscription"] for one in planned["result"]["waiting"]} == {
        one["id"] for one in lost["paid"]
    }
    assert rows(studio) == before
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, SLUG, apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    after = rows(studio)
    assert {one for one in after if after[one] != before[one]} == {paid}
    assert after[paid][0] == "active"
    assert applied["result"]["status"] == "critical"  # others wait

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert rows(studio) == before


def test_what_is_not_paid_not_clear_or_refunded_meanwhile_is_refused(
    studio: MovingStudio, lost: Details
) -> None:
    paid = max(lost["paid"], key=lambda one: one["minutes"])
    unpaid = lost["given_up"][-1]
    planned = run(studio, SLUG)
    approve(studio, planned["plan"]["digest"])
    studio.rows("UPDATE payments SET status = 'failed' WHERE id = %s", paid["payment"])
    before = rows(studio)

    refunded = run(studio, SLUG, apply=planned["plan"]["digest"])
    never_paid = run(studio, SLUG, subscription=unpaid["id"])
    ambiguous = run(studio, SLUG, user=unpaid["user"])  # who has begun two checkouts

    assert refunded["error"]["class"] == "PlanStale"
    assert "completed" in refunded["error"]["message"]
    assert never_paid["error"]["message"].endswith("is pending.")
    assert "2 subscriptions that could be meant" in ambiguous["error"]["message"]
    assert [one["verdict"] for one in (refunded, never_paid, ambiguous)] == ["refused"] * 3
    assert rows(studio) == before
