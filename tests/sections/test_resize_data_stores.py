"""resize-data-stores on a Studio that moves: what AWS has afterwards, and whether Redis answers."""

from __future__ import annotations

from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

from studio_sandbox.control_plane import names

SLUG = "resize-data-stores"


def capacity(studio: MovingStudio) -> tuple[float, float]:
    """Aurora's range, as another client reads it."""
    (cluster,) = studio.client("rds").describe_db_clusters(
        DBClusterIdentifier=names.DATABASE_CLUSTER
    )["DBClusters"]
    scaling = cluster["ServerlessV2ScalingConfiguration"]
    return scaling["MinCapacity"], scaling["MaxCapacity"]


def group(studio: MovingStudio) -> dict[str, Any]:
    """The cache's group, as another client reads it."""
    (found,) = studio.client("elasticache").describe_replication_groups(
        ReplicationGroupId=names.REDIS_GROUP
    )["ReplicationGroups"]
    return dict(found)


def set_capacity(studio: MovingStudio, least: float, most: float) -> None:
    studio.client("rds").modify_db_cluster(
        DBClusterIdentifier=names.DATABASE_CLUSTER,
        ServerlessV2ScalingConfiguration={"MinCapacity": least, "MaxCapacity": most},
    )


def applied_from(studio: MovingStudio, **wanted: Any) -> dict[str, Any]:
    digest = run(studio, SLUG, **wanted)["plan"]["digest"]
    approve(studio, digest)
    applied = run(studio, SLUG, apply=digest)
    assert applied["verdict"] == "succeeded", applied["error"]
    return applied


def test_auroras_range_is_set_as_planned_and_put_back(put_back: MovingStudio) -> None:
    studio = put_back
    least, most = capacity(studio)

    planned = run(studio, SLUG, max_acu=most + 8)
    assert planned["verdict"] == "planned"
    assert capacity(studio) == (least, most)
    approve(studio, planned["plan"]["digest"])
    set_capacity(studio, least, most + 2)
    stale = run(studio, SLUG, apply=planned["plan"]["digest"])
    assert (stale["verdict"], capacity(studio)) == ("refused", (least, most + 2))

    set_capacity(studio, least, most)
    applied = applied_from(studio, max_acu=most + 8)
    assert capacity(studio) == (least, most + 8)
    assert undo(studio, applied["run_id"])["verdict"] == "succeeded"
    assert capacity(studio) == (least, most)


def test_the_cache_gets_other_nodes_and_a_key_of_before_is_there(put_back: MovingStudio) -> None:
    studio = put_back
    before = group(studio)["CacheNodeType"]
    studio.redis.set("kept", "1")

    refused = run(studio, SLUG, node_type="cache.t1.micro")
    assert refused["verdict"] == "refused"
    assert "It may become" in refused["error"]["next"]

    applied_from(studio, node_type="cache.m7g.large")

    found = group(studio)
    assert (found["Status"], found["CacheNodeType"]) == ("available", "cache.m7g.large")
    assert found["CacheNodeType"] != before
    assert studio.redis.get("kept") == "1"


def test_one_thing_at_a_time_and_nothing_unless_it_is_called_for(studio: MovingStudio) -> None:
    assert run(studio, SLUG)["verdict"] == "no_change"
    refused = run(studio, SLUG, max_acu=16, node_type="cache.m7g.large")
    assert refused["verdict"] == "refused"
    assert "One thing at a time" in refused["error"]["message"]
