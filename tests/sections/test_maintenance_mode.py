"""maintenance-mode: outsiders get the page, health and the allow-list go on, and it ends whole."""

from __future__ import annotations

import http.client
from contextlib import closing
from urllib.parse import urlsplit

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

SLUG = "maintenance-mode"
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"  # the allow-list has the second one only


def ask(studio: MovingStudio, source: str, host: str, path: str) -> tuple[int, str]:
    """What somebody at an address gets."""
    place = urlsplit(studio.box.endpoints_url)
    connection = http.client.HTTPConnection(
        str(place.hostname), place.port, timeout=10, source_address=(source, 0)
    )
    with closing(connection):
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def rules(studio: MovingStudio) -> list[tuple[str, str]]:
    found = studio.elb.describe_rules(ListenerArn=studio.listener())["Rules"]
    return sorted((one["Priority"], str(one["Conditions"])) for one in found)


def test_it_is_turned_on_resumed_where_it_was_cut_off_seen_by_outsiders_and_undone(
    put_back: MovingStudio,
) -> None:
    studio, before = put_back, rules(put_back)

    planned = run(studio, SLUG)
    assert planned["verdict"] == "planned", planned["error"]
    assert rules(studio) == before
    approve(studio, planned["plan"]["digest"])
    for change in planned["plan"]["changes"][:3]:  # as a run leaves it that was cut off
        studio.elb.create_rule(
            ListenerArn=studio.listener(),
            Priority=int(change["target"].rpartition("/")[2]),
            Conditions=change["after"]["conditions"],
            Actions=change["after"]["actions"],
        )
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 200  # the page comes last

    applied = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert applied["changes_applied"] == len(planned["plan"]["changes"]) - 3
    assert applied["verdict"] == "succeeded", applied["error"]
    assert applied["result"]["status"] == "warning"
    assert "MAINTENANCE MODE IS ON" in applied["result"]["says"]

    status, text = ask(studio, OUTSIDE, names.APP_HOST, "/")
    assert (status, "نعود قريبًا" in text, "Back soon" in text) == (503, True, True)
    assert ask(studio, OUTSIDE, names.API_HOST, "/v1/users/me")[0] == 503
    assert ask(studio, OUTSIDE, names.API_HOST, "/v1/health")[0] == 200
    assert ask(studio, OUTSIDE, names.GATEWAY_HOST, "/v1/health")[0] == 200
    assert ask(studio, INSIDE, names.APP_HOST, "/")[0] == 200
    assert ask(studio, INSIDE, names.API_HOST, "/v1/health")[0] == 200

    ending = run(studio, SLUG, turn="off")
    approve(studio, ending["plan"]["digest"])
    ended = run(studio, SLUG, apply=ending["plan"]["digest"])
    assert (ended["verdict"], ended["result"]["status"]) == ("succeeded", "ok"), ended["error"]
    assert rules(studio) == before
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 200

    assert undo(studio, ended["run_id"])["verdict"] == "succeeded"  # on again
    assert ask(studio, OUTSIDE, names.APP_HOST, "/")[0] == 503
