"""Sections killed outright once they have begun, and taken up again: done whole, and done once."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections import test_ban_user as ban
from tests.sections import test_clean_up_storage as clean_up
from tests.sections import test_resize_data_stores as resize
from tests.sections import test_rotate_secrets as rotate
from tests.sections import test_switch_provider as switch
from tests.sections.running import approve, cut_off, intents, resume, run

from studio_sandbox.control_plane import names


def resumed(studio: MovingStudio, slug: str, **parameters: Any) -> None:
    """Plan, apply, kill at the first intent on record, find out, and apply again."""
    planned = run(studio, slug, **parameters)
    assert planned["verdict"] == "planned", planned["error"]
    digest, known = planned["plan"]["digest"], intents(studio, slug)
    approve(studio, digest)

    cut_off(
        studio,
        slug,
        apply=digest,
        when=lambda: intents(studio, slug) > known,
        what="the first intent is on record",
    )
    done = resume(studio, slug, digest)

    # nothing is left to do when what was begun came to its end without us
    assert done["verdict"] in ("succeeded", "no_change"), done["error"]


def test_a_family_is_switched_by_one_new_revision(put_back: MovingStudio) -> None:
    studio, before = put_back, switch.settings(put_back)
    known = revisions(studio)

    resumed(studio, "switch-provider", away_from="openai", families="chat", to="anthropic")

    chat = {"PROVIDER_CHAT": "anthropic", "PROVIDER_CHAT_FALLBACK": "openai"}
    assert switch.settings(studio) == before | chat
    assert revisions(studio) == known + 1


def revisions(studio: MovingStudio) -> int:
    found = studio.client("ecs").list_task_definitions(familyPrefix=switch.SERVICE)
    return len(found["taskDefinitionArns"])


def test_the_sessions_secret_has_one_new_version_that_all_consumers_have_read(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, rotate.labels(put_back, rotate.JWT)

    resumed(studio, "rotate-jwt-secret")

    after = rotate.labels(studio, rotate.JWT)
    assert after["AWSPREVIOUS"] == before["AWSCURRENT"]
    assert len(bytes.fromhex(rotate.value(studio, rotate.JWT))) == 32
    assert rotate.all_tasks_read_it(studio, names.BACKEND, rotate.JWT)


def test_files_past_their_time_are_removed_whole_and_each_object_once(
    put_back: MovingStudio,
) -> None:
    studio = put_back
    few = clean_up.Few(studio)

    resumed(studio, clean_up.SLUG, at_most=clean_up.KEPT)

    assert few.state() == ([], [], [])
    markers = [
        marker["Key"]
        for key in few.keys
        for marker in studio.client("s3")
        .list_object_versions(Bucket=names.ASSETS_BUCKET, Prefix=key)
        .get("DeleteMarkers", ())
    ]
    assert sorted(markers) == sorted(few.keys)


def test_a_banned_user_is_inactive_and_blocked(put_back: MovingStudio) -> None:
    studio = put_back
    ((user,),) = studio.rows(ban.SUBSCRIBED)

    resumed(studio, ban.SLUG, user=user)

    assert ban.state(studio, user)[:2] == (False, "1")
    assert ban.asked(studio, user) == 403


def test_the_cache_has_the_wanted_nodes(put_back: MovingStudio) -> None:
    studio = put_back

    resumed(studio, resize.SLUG, node_type="cache.m7g.large")

    found = resize.group(studio)
    assert (found["Status"], found["CacheNodeType"]) == ("available", "cache.m7g.large")
