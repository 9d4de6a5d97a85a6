"""plan-maintenance: everybody gets one mail, whoever was told before a break is not told again."""

from __future__ import annotations

from tests.moving_studio import MovingStudio
from tests.sections.running import run

from studio_sandbox.control_plane import names

SLUG = "plan-maintenance"
LEAVE_30 = """
    UPDATE users SET is_active = false WHERE id NOT IN (SELECT id FROM users ORDER BY id LIMIT 30)
"""


def sent(studio: MovingStudio) -> int:
    return int(studio.client("sesv2").get_account()["SendQuota"]["SentLast24Hours"])


def snapshots(studio: MovingStudio) -> list[str]:
    found = studio.client("rds").describe_db_cluster_snapshots(
        DBClusterIdentifier=names.DATABASE_CLUSTER, SnapshotType="manual"
    )["DBClusterSnapshots"]
    return [one["DBClusterSnapshotIdentifier"] for one in found if one["Status"] == "available"]


def test_users_have_notice_once_and_a_snapshot_is_there(put_back: MovingStudio) -> None:
    studio = put_back
    studio.hush()
    studio.rows(LEAVE_30)
    users = [row[0] for row in studio.rows("SELECT id::text FROM users WHERE is_active")]

    planned = run(studio, SLUG, minutes=90)
    assert planned["verdict"] == "planned", planned["error"]
    before = sent(studio)
    assert not [one for one in snapshots(studio) if "maintenance" in one]
    assert "@" not in str(planned["plan"])  # nobody's address but the sender's, which is in a file

    studio.control("POST", "faults", {"service": "ses", "action": "SendEmail", "name": "denied"})
    stopped = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert stopped["verdict"] == "failed", stopped["error"]
    assert [one for one in snapshots(studio) if "maintenance" in one]
    name = planned["result"]["name"]
    studio.redis.sadd(f"runbook:notice:{name}", *users[:10])  # as far as a cut off run came

    applied = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert applied["result"]["told"] == len(users)
    # 20 users, and the team once by each of the channels that are mail
    assert sent(studio) - before == len(users) - 10 + 1

    again = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert again["verdict"] in ("refused", "no_change")
    assert sent(studio) - before == len(users) - 10 + 1


def test_a_time_outside_of_the_window_or_too_soon_is_refused(studio: MovingStudio) -> None:
    monday = run(studio, SLUG, start="2027-01-04 02:00")
    passed = run(studio, SLUG, start="2026-01-04 02:00")

    assert "Maintenance is for Sun 02:00-04:00 UTC" in monday["error"]["message"]
    assert "48 hours before" in passed["error"]["message"]
    assert (monday["verdict"], passed["verdict"]) == ("refused", "refused")
