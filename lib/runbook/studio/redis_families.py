"""Redis: keys counted by family, and a whole family removed, however many keys it has.

A family is what names have in common once ids, months and numbers are taken out of them:
`usage:tokens:*:*`. A large one is removed inside the server, some hundred keys a script (SCAN, then
UNLINK, which frees memory in the background): no name travels. A script takes as long as the way to
the server and back, so that whoever is as near as we are waits about twice as long as ever, at
most. There is no way back from that; small families are removed with their values kept
(`redis_cache`).

Kind of change: `redis-family`; target `redis:FAMILY`, before and after say whether there are keys.

Source: https://redis.io/docs/latest/commands/scan/ and …/unlink/
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json
from runbook.clients import Clients
from runbook.record.journal import Intent
from runbook.studio import redis_cache

if TYPE_CHECKING:
    import redis

KIND = "redis-family"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9-]+", re.IGNORECASE)
_AT_ONCE = 1000  # keys of one SCAN
_REMOVED_AT_ONCE = (60, 250)  # keys of one script, for which everybody else waits
_SECONDS_A_KEY = 2.5e-6  # that a script takes
_UUID = "%-".join("%x" * length for length in (8, 4, 4, 4, 12))
# KEYS: none. ARGV: cursor, glob, the family with numbers for ids, with anything for ids (both as
# Lua matches it), count. A cluster's shards are not looked at. The glob also lets through names
# with more parts, and with a word where the family has an id: they are another family's.
_REMOVE = f"""
local function are_ids(...)
  local parts = {{...}}
  for _, part in ipairs(parts) do
    if string.find(part, '[^%d-]') and not string.find(part, '^{_UUID}$') then return false end
  end
  return #parts > 0
end
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[5])
local gone = {{}}
for _, key in ipairs(found[2]) do
  if string.find(key, ARGV[3]) or are_ids(string.match(key, ARGV[4])) then gone[#gone + 1] = key end
end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
return {{found[1], #gone}}
"""


@dataclass(frozen=True)
class Family:
    """Keys that are named alike. `broker`: they are Celery's, and what is in them is work."""

    pattern: str
    keys: int
    broker: bool = False


@dataclass(frozen=True)
class Families:
    """All keys of a server by family, most first, and what waits in the broker's queues."""

    families: tuple[Family, ...]
    queued: Mapping[str, int]  # by queue; those that are not empty
    queues: frozenset[str]


def read_families(redis: redis.Redis) -> Families:
    """Count all keys by family, by SCAN: the server answers others meanwhile."""
    queues = redis_cache.read_queues(redis)
    counts: Counter[str] = Counter()
    broker: set[str] = set()
    for name in redis.scan_iter(count=_AT_ONCE):
        if redis_cache.is_of_broker(str(name), queues):
            broker.add(str(name))
        counts[str(name) if str(name) in broker else family_of(str(name))] += 1
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    found = [Family(name, count, name in broker) for name, count in ranked]
    return Families(tuple(found), _queued(redis, queues, broker), queues)


def family_of(name: str) -> str:
    """A name without its ids, months and numbers. Pure."""
    return ":".join("*" if _ID.fullmatch(part) else part for part in name.split(":"))


def change_of(family: Family) -> Change:
    """The change that removes a family, for good."""
    return Change(
        KIND,
        f"redis:{family.pattern}",
        before={"keys": family.keys},
        after={"keys": KNOWN_AFTER_APPLY},  # others write meanwhile
        reversible=False,
    )


def remove(redis: redis.Redis, pattern: str) -> int:
    """Remove all keys of a family; how many. Safe to be cut off, and to be repeated."""
    cursor, removed = "0", 0
    script = redis.register_script(_REMOVE)
    names = (_lua(pattern, "[%d-]+"), _lua(pattern, "([^:]+)"))
    family = (_glob(pattern), *names, _at_once(redis))
    while True:
        answer: Any = script(args=[cursor, *family])
        cursor, gone = str(answer[0]), int(answer[1])
        removed += gone
        if cursor == "0":
            return removed


def _at_once(redis: redis.Redis) -> int:
    """How many keys a script takes on: as many as it removes in the time of one way and back."""
    least, most = _REMOVED_AT_ONCE
    return min(most, max(least, round(_way_and_back_s(redis) / _SECONDS_A_KEY)))


def _way_and_back_s(redis: redis.Redis) -> float:
    """The shortest of a few: what else is going on is not the distance."""
    took = []
    for _ in range(8):
        began = time.perf_counter()
        redis.ping()
        took.append(time.perf_counter() - began)
    return min(took)


def _glob(pattern: str) -> str:
    """The family as SCAN matches it: what is not an asterisk is meant literally."""
    return "*".join(re.sub(r"([\[\]?\\^])", r"\\\1", part) for part in pattern.split("*"))


def _lua(pattern: str, part: str) -> str:
    """The family as Lua matches it: an asterisk is one part of a name, and not several."""
    parts = (re.sub(r"(\W)", r"%\1", one) for one in pattern.split("*"))
    return f"^{part.join(parts)}$"


def _queued(redis: redis.Redis, queues: Iterable[str], broker: Iterable[str]) -> dict[str, int]:
    """How much waits in each queue, priorities counted in, and what is not acknowledged."""
    found: Counter[str] = Counter()
    for name in broker:
        kind = redis.type(name)
        if kind == "list":
            found[name.partition("\x06")[0]] += int(redis.llen(name))
        elif kind == "hash":
            found[name] += int(redis.hlen(name))
    return dict(sorted(found.items()))


# the kind of change


def _names(redis: redis.Redis, pattern: str) -> Iterator[str]:
    names = redis.scan_iter(match=_glob(pattern), count=_AT_ONCE)
    return (str(name) for name in names if family_of(str(name)) == pattern)


def _read(clients: Clients, target: str) -> Json:
    return {"keys": sum(1 for _ in _names(clients.redis, target.removeprefix("redis:")))}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    removed = remove(clients.redis, change.target.removeprefix("redis:"))
    print(f"{change.target}: {removed:,} keys", flush=True)


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do while there is a key: their number moves by itself."""
    left = next(_names(clients.redis, change.target.removeprefix("redis:")), None)
    return Judgement("to do" if left is not None else "holds")


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """What is left of it decides; whoever repeats it removes the rest."""
    return bool(_read(clients, change.target)["keys"] == 0)


register(
    KIND,
    read=_read,
    apply=_apply,
    judge=_judge,
    settled=_settled,
    measure=lambda change: {"keys": change.before["keys"]},
    take_back=lambda change, rows, done: None,
)
