"""Redis: keys of a family, counted by SCAN and removed by UNLINK. Never KEYS, never FLUSHALL.

A key is removed only while it is as it was when the plan was made (the SHA-1 of its DUMP, and
when it expires): a counter that ticked since is not ours to throw away. Compared and unlinked in
one step, by a script; a batch is all of it or nothing. For small sets the plan's file carries the
dumps too, so that undo can restore them, never over a key that is there again. Keys of the Celery
broker are refused: what is queued there is work that somebody has paid for.

Kind of change: `redis-keys`, as a set of rows; a row is one key, absent where its side is null.

Source: https://redis.io/docs/latest/commands/scan/ and …/unlink/, …/dump/, …/restore/, …/eval/
(PEXPIRETIME: Redis 7). Keys of the broker: Kombu's Redis transport.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, Plan, RowSet
from runbook.clients import Clients
from runbook.errors import NotVerified, Refused
from runbook.record.journal import Intent
from runbook.studio.pieces import in_chunks, judged, some

if TYPE_CHECKING:
    import redis

KIND = "redis-keys"
CHUNK = 200  # keys of one script: it holds up the server for well under a millisecond a key
DUMPS_UP_TO = 10_000  # keys: larger sets are removed without a way back

# Kombu's own names; its queues are lists that it lists in sets named after them.
_BROKER = frozenset({"unacked", "unacked_index", "unacked_mutex", "celery"})
_BINDING = "_kombu.binding."
_PRIORITY = "\x06\x16"  # between a queue's name and its priority

# KEYS: the keys; ARGV: SHA-1 and expiry of each.
_UNLINK = """
for i, key in ipairs(KEYS) do
  local dump = redis.call('DUMP', key)
  if dump and redis.sha1hex(dump) == ARGV[2 * i - 1]
     and redis.call('PEXPIRETIME', key) == tonumber(ARGV[2 * i]) then
    redis.call('UNLINK', key)
  end
end
"""
# KEYS: the keys; ARGV: dump and expiry of each (-1: never, which RESTORE writes as 0).
_RESTORE = """
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 0 then
    local expires = tonumber(ARGV[2 * i])
    redis.call('RESTORE', key, math.max(expires, 0), ARGV[2 * i - 1], 'ABSTTL')
  end
end
"""

Row = dict[str, Json]
Numbered = tuple[int, Row]


@dataclass(frozen=True)
class Key:
    """One key as it was read. `expires_at_ms` is Unix time in milliseconds, -1 for never."""

    name: str
    sha1: str  # of its DUMP
    expires_at_ms: int
    dump: bytes | None = None

    def image(self) -> Row:
        """How a row has it."""
        image: Row = {"sha1": self.sha1, "expires_at_ms": self.expires_at_ms}
        if self.dump is not None:
            image["dump"] = base64.b64encode(self.dump).decode()
        return image


@dataclass(frozen=True)
class Keys:
    """The keys that fit a pattern, by name, and the queues that the server's broker has."""

    pattern: str
    keys: tuple[Key, ...]
    queues: frozenset[str]

    @property
    def restorable(self) -> bool:
        """Whether every key was read with its dump."""
        return all(key.dump is not None for key in self.keys)


def read_keys(redis: redis.Redis, pattern: str, *, dumps_up_to: int = DUMPS_UP_TO) -> Keys:
    """All keys that fit a glob pattern, each with its fingerprint and expiry.

    Dumps are kept when there are no more than `dumps_up_to` keys; give 0 for a family whose
    values must not be on record. Counters and limits are no secrets.
    """
    names = sorted(set(redis.scan_iter(match=pattern, count=1000)))
    keep = len(names) <= dumps_up_to
    found = (
        _key(name, dump, expires, keep)
        for chunk in in_chunks(names, CHUNK)
        for name, (dump, expires) in zip(chunk, _dumps(redis, chunk), strict=True)
        if dump is not None  # it expired meanwhile
    )
    return Keys(pattern, tuple(found), read_queues(redis))


def read_queues(redis: redis.Redis) -> frozenset[str]:
    """Names of the queues that the broker on this server has, Celery's default one always."""
    bindings = redis.scan_iter(match=f"{_BINDING}*", count=1000)
    return frozenset({"celery", *(str(name).removeprefix(_BINDING) for name in bindings)})


def is_of_broker(name: str, queues: Iterable[str]) -> bool:
    """Whether a key belongs to the Celery broker: a queue, its bindings, what is unacknowledged."""
    return name.split(_PRIORITY)[0] in {*queues, *_BROKER} or name.startswith(_BINDING)


def plan_clear(found: Keys) -> Plan:
    """The plan that removes these keys, as they were read. Pure; without changes for none.

    Raises Refused when a key of the Celery broker is among them.
    """
    queued = [key.name for key in found.keys if is_of_broker(key.name, found.queues)]
    if queued:
        raise Refused(
            f"{found.pattern!r} fits {some(queued)} of the Celery broker: what is queued there "
            "would be lost.",
            next="Clear one family of keys at a time, by a narrower pattern.",
        )
    count = len(found.keys)
    noun = "key" if count == 1 else "keys"
    warnings = [] if found.restorable else [f"{count:,} keys were not dumped: no undo."]
    return Plan(
        title=f"Remove {count:,} Redis {noun} ({found.pattern})",
        risk="high" if found.restorable else "destructive",
        changes=(_change(found),) if count else (),
        way_back="undo restores each key with its value and expiry, unless it is there again."
        if found.restorable
        else "There is no way back: the values are not kept.",
        warnings=(*warnings, "A key that has changed since this was planned is left alone."),
    )


def _change(found: Keys) -> Change:
    rows = [{"key": key.name, "before": key.image(), "after": None} for key in found.keys]
    return Change(
        KIND,
        f"redis:{found.pattern}",
        before={"keys": len(rows)},
        after={"keys": 0},
        reversible=found.restorable,
        rows=RowSet.of({"pattern": found.pattern}, rows),
    )


def _key(name: str, dump: bytes, expires_at_ms: int, keep: bool) -> Key:
    return Key(name, _sha1(dump), expires_at_ms, dump if keep else None)


def _sha1(dump: bytes) -> str:
    """As the script has it: a fingerprint, and no more."""
    return hashlib.sha1(dump, usedforsecurity=False).hexdigest()


def _dumps(redis: redis.Redis, names: Sequence[str]) -> list[tuple[bytes | None, int]]:
    """DUMP and PEXPIRETIME of each key, in one round trip; None where there is none."""
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.dump(name)
        pipe.pexpiretime(name)
    answers = pipe.execute()
    return list(zip(answers[::2], answers[1::2], strict=True))


# the kind of change


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Remove or restore what is still as planned, a batch at a time; each is read back."""
    total, seen, made = (change.rows.count if change.rows else 0), 0, 0
    for chunk in in_chunks(enumerate(rows), CHUNK):
        made += _apply_chunk(clients.redis, chunk, steps)
        seen += len(chunk)
        steps.progress(seen, total)
    return {**change.after, "rows": made, "as_left": made, "moved_on": total - made}


def _apply_chunk(redis: redis.Redis, chunk: Sequence[Numbered], steps: Steps) -> int:
    """One step: how many rows were carried out; the others had moved, or would have expired."""
    states = _states(redis, [row for _, row in chunk])
    mine = [one for one, state in zip(chunk, states, strict=True) if state == "before"]
    mine = [one for one in mine if not _expired(one[1])]
    if not mine:
        return 0
    # what became of a step is asked of the keys themselves, so its intent names them
    detail = {"keys": [[row["key"], _mark(row["before"]), _mark(row["after"])] for _, row in mine]}
    with steps.step(detail) as step:
        _run(redis, [row for _, row in mine])
        left = _carried_out(redis, mine)
        step.left["rows"] = left
    return len(left)


def _run(redis: redis.Redis, rows: Sequence[Row]) -> None:
    """Remove or restore all of these that are as they were, in one script."""
    removes = rows[0]["after"] is None
    arguments: list[Any] = []
    for row in rows:
        image = row["before"] if removes else row["after"]
        value = image["sha1"] if removes else base64.b64decode(image["dump"])
        arguments += [value, image["expires_at_ms"]]
    script = _UNLINK if removes else _RESTORE
    redis.eval(script, len(rows), *(row["key"] for row in rows), *arguments)


def _carried_out(redis: redis.Redis, mine: Sequence[Numbered]) -> list[int]:
    """Positions of the rows that are as planned now. Raises NotVerified when one did not change.

    The keys are asked, and not the script's answer: the client repeats a script whose answer was
    lost, and the second time there is nothing left to do.
    """
    states = _states(redis, [row for _, row in mine])
    numbered = list(zip(mine, states, strict=True))
    same = [row["key"] for (_, row), state in numbered if state == "before" and not _expired(row)]
    if same:
        raise NotVerified(
            f"{len(same):,} of {len(mine):,} keys read as before the change: {some(same)}.",
            next="Look at the server before doing anything else.",
        )
    return [index for (index, _), state in numbered if state == "after"]


def _states(redis: redis.Redis, rows: Sequence[Row]) -> list[str]:
    """Of each key: `before`, `after`, or `moved`."""
    found = _dumps(redis, [row["key"] for row in rows])
    states = []
    for row, (dump, expires_at_ms) in zip(rows, found, strict=True):
        now = None if dump is None else [_sha1(dump), expires_at_ms]
        sides = {side: _mark(row[side]) for side in ("before", "after")}
        states.append(next((side for side, image in sides.items() if image == now), "moved"))
    return states


def _mark(image: Row | None) -> Json:
    """What a key is compared by: fingerprint and expiry; None for a key that is not there."""
    return None if image is None else [image["sha1"], image["expires_at_ms"]]


def _expired(row: Row) -> bool:
    """Whether a key that is to come back would be gone again by now."""
    return row["after"] is not None and 0 <= row["after"]["expires_at_ms"] <= time.time() * 1000


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    if rows is None:
        return Judgement("moved", ("its keys are not on record",))
    redis = clients.redis
    return judged(rows, lambda piece: _states(redis, piece), chunk=CHUNK)


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    """A batch is all or nothing. None when some keys are as before and others as planned.

    None, too, when every key has moved on: nothing is left that could tell.
    """
    rows = [
        {"key": key, "before": _image(before), "after": _image(after)}
        for key, before, after in intent.detail["keys"]
    ]
    states = set(_states(clients.redis, rows)) - {"moved"}
    return states == {"after"} if len(states) == 1 else None


def _image(mark: Json) -> Row | None:
    return None if mark is None else {"sha1": mark[0], "expires_at_ms": mark[1]}


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Each key that was removed or restored, the other way round."""
    if rows is None:
        return None
    made = {index for intent, left in done for index in _made(rows, intent, left)}
    back = [
        {"key": row["key"], "before": row["after"], "after": row["before"]}
        for index, row in enumerate(rows)
        if index in made
    ]
    if not back:
        return None
    there, gone = {"keys": len(back)}, {"keys": 0}
    before, after = (there, gone) if change.before == gone else (gone, there)
    rows_back = RowSet.of(rows.header, back)
    return Change(KIND, change.target, before, after, rows=rows_back)


def _made(rows: Rows, intent: Intent, left: Json) -> list[int]:
    """Positions of the rows that a step carried out; of a settled one, all that it set out to."""
    if left and "rows" in left:
        return list(left["rows"])
    meant = {key for key, _, _ in intent.detail["keys"]}
    return [index for index, row in enumerate(rows) if row["key"] in meant]


def _measure(change: Change) -> Mapping[str, float]:
    return {"keys": change.rows.count if change.rows else 0}


register(
    KIND,
    read=lambda clients, target: {},  # a set is judged key by key, never as a whole
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=_measure,
    take_back=_take_back,
)
