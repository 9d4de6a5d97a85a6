"""A family of keys is removed on a real server: all of its names, and no other's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from runbook.studio.redis_families import remove
from studio_sandbox.box import Box


@pytest.fixture
def server(fresh_box: Box) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(fresh_box.redis_url, decode_responses=True)
    yield client
    client.close()


def fill(server: redis.Redis, names: list[str]) -> None:
    pipe = server.pipeline(transaction=False)
    for name in names:
        pipe.set(name, 1)
    pipe.execute()


def names(server: redis.Redis, glob: str) -> set[str]:
    return set(server.scan_iter(glob, count=1000))


@pytest.mark.parametrize(
    ("family", "named", "others"),
    [
        ("thumb:*", "thumb:{}", ["thumb:{}:1", "thumbs:{}", "athumb:{}"]),
        ("thumb:*:*", "thumb:{}:1", ["thumb:{}", "thumb:{}:1:2"]),
        ("thumb:*:last", "thumb:{}:last", ["thumb:{}:1:last", "thumb:{}:lasts"]),
        ("*:thumb", "{}:thumb", ["1:{}:thumb"]),
        ("thumb:[a]?:*", "thumb:[a]?:{}", ["thumb:a1:{}", "thumb:[a]?:{}:1"]),
        ("thumb", "thumb", ["thumb:{}"]),
        # a word where the family has an id: another family, which nobody has asked to remove
        ("thumb:*", "thumb:{}", ["thumb:settings{}", "thumb:v-{}", "thumb:"]),
        ("thumb:*:*", "thumb:{}:2026-11", ["thumb:{}:size", "thumb:user:{}"]),
        (
            "thumb:*",
            "thumb:0f8fad5b-d9cb-469f-a165-70867728{:04x}",
            ["thumb:0f8fad5b-d9cb-469f-a165-{:04x}", "thumb:{}f8fad5b"],
        ),
    ],
)
def test_all_names_of_a_family_go_and_those_with_other_parts_stay(
    server: redis.Redis, family: str, named: str, others: list[str]
) -> None:
    mine = {named.format(n) for n in range(3000)}
    kept = {other.format(n) for other in others for n in range(0, 3000, 9)}
    fill(server, [*mine, *kept])

    assert remove(server, family) == len(mine)
    assert names(server, "*thumb*") == kept

    assert remove(server, family) == 0
    assert names(server, "*thumb*") == kept
