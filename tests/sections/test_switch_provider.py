"""switch-provider on a Studio that moves: the gateway asks another provider, and goes back."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, plan_and_apply, run, undo

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.studio import Studio

SERVICE = names.GATEWAY


def settings(studio: MovingStudio) -> dict[str, str]:
    """The settings of the revision that the gateway runs, as another client reads them."""
    return services.settings(Studio(studio.box), studio.service(SERVICE)["taskDefinition"])


def provider_of(studio: MovingStudio, path: str) -> str:
    answer = studio.ask(path, method="POST", x_user_id="somebody", body={})
    return str(answer.data()["provider"]) if answer.status == 200 else ""


def test_families_leave_a_provider_in_trouble_and_undo_brings_them_back(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, settings(put_back)
    running = studio.service(SERVICE)["taskDefinition"]
    studio.order("provider-slow", provider="openai", factor=8)

    planned = run(studio, "switch-provider")
    assert planned["verdict"] == "planned", planned["error"]
    assert planned["result"]["sick"] == ["openai"]
    approve(studio, planned["plan"]["digest"])
    studio.update(SERVICE, forceNewDeployment=True)  # the same revision: nothing has moved
    applied = run(studio, "switch-provider", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    wanted = before | {
        "PROVIDER_CHAT": "anthropic", "PROVIDER_CHAT_FALLBACK": "openai",
        "PROVIDER_IMAGE": "google", "PROVIDER_IMAGE_FALLBACK": "openai",
    }  # fmt: skip
    assert settings(studio) == wanted
    studio.until(
        lambda: provider_of(studio, "/gateway/v1/images/generate") == "google",
        "images come from google",
    )

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert settings(studio) == before
    assert studio.service(SERVICE)["taskDefinition"] == running


def test_a_stale_plan_and_a_stranger_are_refused(put_back: MovingStudio) -> None:
    studio = put_back
    stranger = run(studio, "switch-provider", away_from="openai", families="video", to="anthropic")
    assert stranger["verdict"] in ("no_change", "refused")
    refused = run(studio, "switch-provider", away_from="google", to="anthropic")
    assert refused["verdict"] == "refused"
    assert refused["error"]["message"] == "to: 'anthropic' has no models for video."

    planned = run(studio, "switch-provider", away_from="google")
    approve(studio, planned["plan"]["digest"])
    assert plan_and_apply(studio, "switch-provider", away_from="google")["verdict"] == "succeeded"
    now = settings(studio)
    stale = run(studio, "switch-provider", apply=planned["plan"]["digest"])
    assert stale["verdict"] in ("refused", "no_change")
    assert settings(studio) == now
