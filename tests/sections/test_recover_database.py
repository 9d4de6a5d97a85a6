"""recover-database and restore-database: restored, compared, switched to, and back again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import aurora
from tests.moving_studio import MovingStudio
from tests.sections import running
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

READERS = (names.BACKEND, names.WORKER)
ALIKE = (
    "DBSubnetGroup", "VpcSecurityGroups", "DBClusterParameterGroup", "EngineVersion",
    "ServerlessV2ScalingConfiguration", "StorageEncrypted", "DeletionProtection",
)  # fmt: skip
USERS = "SELECT count(*) FROM users"


def desired(studio: MovingStudio) -> dict[str, list[int]]:
    """Tasks and range of each service that reads the database, as another client reads them."""
    ranges = {
        one["ResourceId"].rpartition("/")[2]: [one["MinCapacity"], one["MaxCapacity"]]
        for one in studio.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="ecs"
        )["ScalableTargets"]
    }
    found = running.services(studio)
    return {name: [found[name]["desiredCount"], *ranges[name]] for name in READERS}


def clusters(studio: MovingStudio) -> dict[str, dict[str, Any]]:
    found = studio.client("rds").describe_db_clusters()["DBClusters"]
    return {one["DBClusterIdentifier"]: one for one in found}


def secret(studio: MovingStudio) -> str:
    """The DSN, as another client reads it."""
    client = studio.client("secretsmanager")
    return str(client.get_secret_value(SecretId=names.DATABASE_URL)["SecretString"])


def applied(studio: MovingStudio, slug: str, **parameters: Any) -> dict[str, Any]:
    """Plan, have it approved, apply."""
    planned = run(studio, slug, **parameters)
    assert planned["verdict"] == "planned", planned["error"]
    approve(studio, planned["plan"]["digest"])
    done = run(studio, slug, apply=planned["plan"]["digest"])
    assert done["verdict"] == "succeeded", done["error"]
    return done


@pytest.fixture
def before(put_back: MovingStudio) -> datetime:
    """A moment that can be restored, after which a table was emptied."""
    rds = put_back.client("rds")
    # the earliest moment is known before the latest: a base backup is whole, and not sealed yet
    put_back.until(lambda: aurora.cluster(rds).get("LatestRestorableTime"), "a base backup")
    moment = datetime.now(UTC) + timedelta(seconds=1)
    put_back.until(lambda: aurora.cluster(rds)["LatestRestorableTime"] > moment, "it is archived")
    put_back.rows("UPDATE users SET is_active = FALSE")
    put_back.rows("INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'late@comer.example')")
    return moment


def test_the_moment_before_is_restored_compared_switched_to_and_all_of_it_is_undone(
    put_back: MovingStudio, before: datetime
) -> None:
    studio, moment = put_back, before.isoformat()
    counts, dsn = desired(studio), secret(studio)

    restored = applied(studio, "recover-database", moment=moment)

    name = restored["result"]["cluster"]
    new, old = clusters(studio)[name], clusters(studio)[names.DATABASE_CLUSTER]
    for key in ALIKE:
        assert new[key] == old[key], key
    assert list(desired(studio).values()) == [[0, 0, 0], [0, 0, 0]]  # auto scaling starts none
    assert secret(studio) == dsn
    compared = restored["result"]["comparison"]
    assert compared["lost"]["users"] == 1
    assert compared["differ"]["users"] > 5000
    assert set(compared["orphans"].values()) == {0}

    switched = applied(studio, "recover-database", moment=moment)

    assert switched["result"]["stage"] == "switched"
    assert switched["result"]["recovery_s"] > 0
    assert secret(studio) == aurora.dsn(studio.box, new)
    assert aurora.psql(secret(studio), f"{USERS} WHERE is_active") != "0"
    assert aurora.psql(secret(studio), f"{USERS} WHERE email = 'late@comer.example'") == "0"
    assert desired(studio) == counts
    assert studio.ask("/v1/health", host=names.API_HOST).status == 200

    for one in (switched, restored):
        taken_back = undo(studio, one["run_id"])
        assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert secret(studio) == dsn
    assert clusters(studio).keys() == {names.DATABASE_CLUSTER}
    assert desired(studio) == counts


def test_what_cannot_be_restored_is_refused_with_what_can(studio: MovingStudio) -> None:
    refused = run(studio, "recover-database", moment="2020-01-01T00:00:00")
    assert refused["verdict"] == "refused"
    assert "cannot be restored to 2020-01-01 00:00:00, but from" in refused["error"]["message"]

    neither = run(studio, "restore-database")
    assert neither["verdict"] == "no_change"
    assert "to any moment from" in neither["result"]["says"]


def test_a_snapshot_is_restored_while_the_studio_goes_on_and_a_stale_plan_is_refused(
    put_back: MovingStudio,
) -> None:
    studio, counts, dsn = put_back, desired(put_back), secret(put_back)
    taken = studio.client("rds").describe_db_cluster_snapshots(SnapshotType="automated")
    newest = max(taken["DBClusterSnapshots"], key=lambda one: one["SnapshotCreateTime"])
    snapshot = newest["DBClusterSnapshotIdentifier"]

    restored = applied(studio, "restore-database", snapshot=snapshot)

    assert restored["result"]["comparison"]["lost"]["usage_logs"] > 0
    assert (desired(studio), secret(studio)) == (counts, dsn)

    planned = run(studio, "restore-database", snapshot=snapshot)
    assert [one["kind"] for one in planned["plan"]["changes"]] == [
        "dsn-address", "ecs-restart", "ecs-restart",
    ]  # fmt: skip
    studio.client("secretsmanager").put_secret_value(SecretId=names.DATABASE_URL, SecretString=dsn)
    approve(studio, planned["plan"]["digest"])
    refused = run(studio, "restore-database", apply=planned["plan"]["digest"])
    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "PlanStale")
    assert secret(studio) == dsn
