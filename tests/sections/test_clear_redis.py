"""clear-redis and clear-usage-cache: what goes, what must not, and what comes back."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.moving_studio import MovingStudio
from tests.sections.running import approve, run, undo

FAMILY, LARGE = "preview:*", "thumbnail:*:*"


def keys(studio: MovingStudio, pattern: str) -> dict[str, tuple[Any, int]]:
    """Value and expiry of each, as another client reads them."""
    found = sorted(studio.redis.scan_iter(pattern, count=1000))
    return {key: (studio.redis.get(key), studio.redis.pexpiretime(key)) for key in found}


def test_a_small_family_goes_and_comes_back_with_values_and_expiry(put_back: MovingStudio) -> None:
    studio, redis = put_back, put_back.redis
    for n in range(40):
        redis.set(f"preview:{uuid.uuid4()}", n, ex=3600 if n % 2 else None)
    redis.set("preview:settings", "another family")
    before = keys(studio, "preview:*-*")

    planned = run(studio, "clear-redis", family=FAMILY)
    assert planned["verdict"] == "planned", planned["error"]
    approve(studio, planned["plan"]["digest"])
    assert keys(studio, "preview:*-*") == before
    applied = run(studio, "clear-redis", apply=planned["plan"]["digest"])

    assert applied["verdict"] == "succeeded", applied["error"]
    assert keys(studio, "preview:*-*") == {}
    assert redis.get("preview:settings") == "another family"

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert keys(studio, "preview:*-*") == before


def test_a_large_family_goes_for_good_and_queues_and_counters_are_refused(
    put_back: MovingStudio,
) -> None:
    studio, redis = put_back, put_back.redis
    pipe = redis.pipeline(transaction=False)
    for n in range(12_000):
        pipe.set(f"thumbnail:{n}:{n % 7}", n)
    pipe.set("thumbnail:1:2:3", "of another family")
    pipe.execute()

    planned = run(studio, "clear-redis", family=LARGE)
    assert not planned["plan"]["changes"][0]["reversible"]
    approve(studio, planned["plan"]["digest"])
    applied = run(studio, "clear-redis", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert list(redis.scan_iter("thumbnail:*", count=1000)) == ["thumbnail:1:2:3"]

    counting = run(studio, "clear-redis", family="usage:tokens:*:*")
    assert counting["verdict"] == "refused"
    assert "clear-usage-cache" in counting["error"]["next"]

    redis.sadd("_kombu.binding.slow", "slow")
    redis.lpush("slow", "somebody has paid")  # nobody takes from it
    queued = run(studio, "clear-redis", family="all")
    assert queued["verdict"] == "refused"
    assert "slow 1" in queued["error"]["message"]
    assert redis.llen("slow") == 1


def test_usage_counters_go_once_they_are_written_and_not_before(put_back: MovingStudio) -> None:
    studio, redis = put_back, put_back.redis
    studio.hush()
    month = time.strftime("%Y-%m", time.gmtime())
    ahead = next(redis.scan_iter(f"usage:tokens:*:{month}"))
    redis.incrby(ahead, 777)

    refused = run(studio, "clear-usage-cache")
    assert refused["verdict"] == "refused"
    assert "ahead of the table by 777" in refused["error"]["message"]
    assert redis.get(ahead)

    redis.decrby(ahead, 777)
    before = keys(studio, "usage:*")
    planned = run(studio, "clear-usage-cache")
    assert planned["verdict"] == "planned", planned["error"]
    approve(studio, planned["plan"]["digest"])
    redis.incrby(ahead, 5)  # after it was planned
    stale = run(studio, "clear-usage-cache", apply=planned["plan"]["digest"])
    assert stale["verdict"] == "refused"
    assert len(keys(studio, "usage:*")) == len(before)

    redis.decrby(ahead, 5)
    applied = run(studio, "clear-usage-cache", apply=planned["plan"]["digest"])
    assert applied["verdict"] == "succeeded", applied["error"]
    assert keys(studio, "usage:*") == {}

    taken_back = undo(studio, applied["run_id"])
    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert keys(studio, "usage:*") == before
