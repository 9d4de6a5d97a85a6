"""roll-back on a Studio that moves: deployments are followed, refused, and taken back."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections import running
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.studio import Studio

SERVICE = names.BACKEND


def revisions(studio: MovingStudio) -> dict[str, str]:
    """What each service runs, as another client reads it."""
    return {
        name: one["taskDefinition"].rpartition("/")[2]
        for name, one in running.services(studio).items()
    }


def earlier(revision: str) -> str:
    family, _, number = revision.rpartition(":")
    return f"{family}:{int(number) - 1}"


def test_a_service_goes_back_a_revision_and_undo_brings_it_forward(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, revisions(put_back)
    wanted = before | {SERVICE: earlier(before[SERVICE])}

    planned = run(studio, "roll-back", services=SERVICE)
    assert planned["verdict"] == "planned", planned["error"]
    assert revisions(studio) == before

    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "roll-back", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert revisions(studio) == wanted
    (deployment,) = studio.service(SERVICE)["deployments"]
    assert deployment["rolloutState"] == "COMPLETED"

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert revisions(studio) == before


def test_a_revision_that_crashes_fails_the_run_which_says_why(put_back: MovingStudio) -> None:
    studio, before = put_back, revisions(put_back)
    wanted = earlier(before[SERVICE])
    sha = services.image_tag(Studio(studio.box), wanted)
    Studio(studio.box).behave("crash", service=SERVICE, tag=sha, log=["ImportError: no scopes"])

    planned = run(studio, "roll-back", to=wanted)
    approve(studio, planned["plan"]["digest"])
    failed = run(studio, "roll-back", apply=planned["plan"]["digest"])

    assert failed["verdict"] == "failed"
    assert f"tasks of {wanted} failed" in failed["error"]["message"]
    assert "ImportError: no scopes" in failed["error"]["message"]
    assert revisions(studio) == before  # by the circuit breaker


def test_a_revision_whose_image_has_left_ecr_is_refused(studio: MovingStudio) -> None:
    oldest = f"{SERVICE}:38"

    refused = run(studio, "roll-back", to=oldest, revisions=12)

    assert refused["verdict"] == "refused"
    assert refused["error"]["message"] == f"{oldest} cannot start: its image has left ECR."
