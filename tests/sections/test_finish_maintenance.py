"""finish-maintenance: everybody in and watched; when it degrades the page is back by itself."""

from __future__ import annotations

import base64

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run
from tests.sections.test_maintenance_mode import OUTSIDE, ask, rules

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.github import FILE

SLUG = "finish-maintenance"
SHORT = 0.5  # minutes, a tenth of that here


def turned_on(studio: MovingStudio) -> None:
    planned = run(studio, "maintenance-mode")
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "maintenance-mode", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]


def test_it_ends_is_watched_and_told_and_comes_back_when_it_degrades(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, rules(put_back)
    studio.hush()
    turned_on(studio)
    on = rules(studio)

    planned = run(studio, SLUG, watch_minutes=SHORT)
    assert planned["verdict"] == "planned", planned["error"]
    assert "MAINTENANCE MODE IS ON" in planned["result"]["says"]
    studio.client("sesv2").put_account_sending_attributes(SendingEnabled=False)
    degraded = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert degraded["verdict"] == "failed"
    assert "It degrades" in degraded["error"]["message"]
    assert rules(studio) == on
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 503

    studio.client("sesv2").put_account_sending_attributes(SendingEnabled=True)
    planned = run(studio, SLUG, watch_minutes=SHORT)
    ended = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert ended["verdict"] == "succeeded", ended["error"]
    assert rules(studio) == before
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 200
    assert f"runbook {ended['run_id']}" in activity(studio)

    assert run(studio, SLUG)["verdict"] == "no_change"


def activity(studio: MovingStudio) -> str:
    """What the product's file of deployments says."""
    found = studio.ask(f"/github/repos/pulse-studio/ai-studio/contents/{FILE}").data()
    return base64.b64decode(found["content"]).decode()
