"""restore-mail: what can be done is done, what AWS decides is waited for, the switch goes back."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import run, undo

from studio_sandbox.control_plane import names
from studio_sandbox.drills import drill as drills

SLUG = "restore-mail"


def account(studio: MovingStudio) -> tuple[bool, str | None, str]:
    """Sending, the review of production access, and DKIM, as another client reads them."""
    found = studio.client("sesv2").get_account()
    identity = studio.client("sesv2").get_email_identity(EmailIdentity=names.MAIL_DOMAIN)
    review: Any = found.get("Details", {}).get("ReviewDetails", {})
    return found["SendingEnabled"], review.get("Status"), identity["DkimAttributes"]["Status"]


def test_mail_is_restored_in_steps_resumed_where_one_failed_and_the_switch_goes_back(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    drills.start(studio.box, "mail-sandboxed", seed=1)
    broken = (False, None, "FAILED")

    planned = run(studio, SLUG)
    assert planned["verdict"] == "planned", planned["error"]
    assert len(planned["plan"]["changes"]) == 3
    assert account(studio) == broken

    studio.control(
        "POST", "faults", {"service": "ses", "action": "PutAccountDetails", "name": "denied"}
    )
    stopped = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert (stopped["verdict"], stopped["changes_applied"]) == ("failed", 2)
    assert account(studio) == (True, None, "SUCCESS")

    resumed = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert (resumed["verdict"], resumed["changes_applied"]) == ("succeeded", 1), resumed["error"]
    assert account(studio) == (True, "PENDING", "SUCCESS")
    assert resumed["result"]["status"] == "warning"
    assert len(resumed["result"]["waits_for_aws"]) == 1

    again = run(studio, SLUG)
    assert again["verdict"] == "no_change"

    taken_back = undo(studio, stopped["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    sending, review, dkim = account(studio)
    assert (sending, dkim) == (False, "SUCCESS")
    assert review in ("PENDING", "GRANTED")  # what was asked of AWS is not unasked


def test_what_somebody_else_has_done_meanwhile_is_not_done_again(put_back: MovingStudio) -> None:
    studio, mail = put_back, put_back.client("sesv2")
    mail.put_account_sending_attributes(SendingEnabled=False)
    planned = run(studio, SLUG)
    mail.put_account_sending_attributes(SendingEnabled=True)

    assert run(studio, SLUG, apply=planned["plan"]["digest"])["verdict"] == "no_change"
    assert account(studio)[0]
