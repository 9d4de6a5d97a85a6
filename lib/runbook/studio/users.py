"""Users: who they are, whether they can be reached, and whether the gateway lets them in.

A block is the key `ratelimit:block:USER` in Redis: as long as it is there the gateway refuses the
user. It is planned with the time that it ends at, so that it is put back exactly.

Kind of change: `user-block` (value and end of the key, null where there is none); target
`redis:ratelimit:block:USER`.

Source: the runbook, 2.7 Throttle Abusive Users; https://redis.io/docs/latest/commands/set/ (PXAT)
and …/pexpiretime/; RFC 2606, top-level names that never exist: nobody signs up with one of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.record.journal import Intent
from runbook.studio.rows import Table, plan_update
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import redis
    import sqlalchemy

BLOCK = "user-block"
USERS = Table("users", key="id", stamp="", columns=("is_active",))
_BLOCKED = "1"
_KEY = "ratelimit:block:"

_UNREACHABLE = r"SELECT count(*) FROM users WHERE email ~* '\.(invalid|example|test|localhost)$'"
_SUBSCRIPTIONS = """
    SELECT plans.name AS plan, subscriptions.status, provider, renews_at
    FROM subscriptions JOIN plans ON plans.id = plan_id
    WHERE user_id = CAST(:id AS uuid) AND subscriptions.status IN ('pending', 'active')
    ORDER BY subscriptions.created_at
"""
_IN_FLIGHT = """
    SELECT kind, count(*) FROM jobs
    WHERE user_id = CAST(:id AS uuid) AND status IN ('pending', 'processing')
    GROUP BY kind ORDER BY kind
"""
_FILES = "SELECT count(*), coalesce(sum(bytes), 0) FROM files WHERE user_id = CAST(:id AS uuid)"
_USER = "SELECT id::text, created_at, is_active FROM users WHERE id = CAST(:id AS uuid)"


@dataclass(frozen=True)
class User:
    """One user, without anything that says who that is. `created_at` is UTC, naive."""

    id: str
    created_at: datetime
    is_active: bool


@dataclass(frozen=True)
class Block:
    """A user's block: until when (aware; None for ever), or none at all."""

    user: str
    value: str | None = None
    until: datetime | None = None

    @property
    def target(self) -> str:
        """What is locked and guarded."""
        return f"redis:{_KEY}{self.user}"

    @property
    def says(self) -> str:
        """In a few words."""
        if self.value is None:
            return "not blocked"
        return f"blocked until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else "blocked"

    def lasts_until(self, moment: datetime) -> bool:
        """Whether there is a block, and it ends no earlier than that."""
        return self.value is not None and (self.until is None or self.until >= moment)

    def image(self) -> Json:
        """How a plan has it."""
        return {"value": self.value, "until": self.until.isoformat() if self.until else None}


@dataclass(frozen=True)
class Holdings:
    """What a user has: subscriptions in words, jobs in flight by kind, files."""

    subscriptions: tuple[str, ...]
    jobs: Mapping[str, int]
    files: int
    bytes: int

    def facts(self) -> list[tuple[str, str]]:
        """Each thing in a few words."""
        jobs = ", ".join(f"{count} {kind}" for kind, count in self.jobs.items())
        return [
            ("subscriptions", "; ".join(self.subscriptions) or "none"),
            ("jobs in flight", jobs or "none"),
            ("files", f"{self.files:,}, {self.bytes / 1e6:,.1f} MB"),
        ]

    def doubts(self) -> list[str]:
        """What a ban leaves as it is."""
        doubts = []
        if self.subscriptions:
            doubts.append(
                f"The provider goes on charging: {'; '.join(self.subscriptions)}. A ban cancels "
                "nothing."
            )
        if self.jobs:
            doubts.append(f"{sum(self.jobs.values())} jobs in flight are finished all the same.")
        return doubts


def count_unreachable(database: sqlalchemy.Engine) -> int:
    """Users whose address is under a name that never exists: a script has written it."""
    import sqlalchemy

    with database.connect() as connection:
        return int(connection.execute(sqlalchemy.text(_UNREACHABLE)).scalar_one())


def read_user(database: sqlalchemy.Engine, user: str) -> User:
    """One user. Raises BadInput for an id that is none, or nobody's."""
    import sqlalchemy

    with database.connect() as connection:
        query = sqlalchemy.text(_USER)
        row = connection.execute(query, {"id": checked(user)}).one_or_none()
    if row is None:
        raise BadInput(f"user: nobody has the id {user}.", next="Ids are those of the logs.")
    return User(row.id, row.created_at, row.is_active)


def read_holdings(database: sqlalchemy.Engine, user: str) -> Holdings:
    """What a user has."""
    from sqlalchemy import text

    with database.connect() as connection:
        subscriptions = connection.execute(text(_SUBSCRIPTIONS), {"id": user}).all()
        jobs = connection.execute(text(_IN_FLIGHT), {"id": user}).all()
        files, size = connection.execute(text(_FILES), {"id": user}).one()
    told = [
        f"{one.plan} by {one.provider}, {one.status}"
        + (f", renews {one.renews_at:%Y-%m-%d}" if one.renews_at else "")
        for one in subscriptions
    ]
    return Holdings(tuple(told), {kind: int(count) for kind, count in jobs}, files, int(size))


def active_change(user: User, *, active: bool) -> Change:
    """The change that lets a user sign in, or not. Pure."""
    before, after = {"is_active": user.is_active}, {"is_active": active}
    row = {"key": user.id, "before": before, "after": after}
    return plan_update(USERS, [row], before=before, after=after)


def checked(user: str) -> str:
    """The id, as the product writes it. Raises BadInput when it is no UUID."""
    try:
        return str(uuid.UUID(user.strip()))
    except ValueError:
        raise BadInput(
            f"user: expected an id such as 5f0c…-…-…, found {user!r}.",
            next="An id stands in the logs as user_id; an e-mail address is not one.",
        ) from None


def read_block(redis: redis.Redis, user: str) -> Block:
    """Whether a user is blocked, and until when."""
    pipe = redis.pipeline(transaction=True)
    pipe.get(f"{_KEY}{user}")
    pipe.pexpiretime(f"{_KEY}{user}")
    value, until_ms = pipe.execute()
    if value is None:
        return Block(user)
    until = datetime.fromtimestamp(until_ms / 1000, UTC) if until_ms > 0 else None
    return Block(user, str(value), until)


def read_counters(redis: redis.Redis) -> dict[str, int]:
    """How often each user has asked in the rate limit's running window, all buckets together."""
    found: dict[str, int] = {}
    keys = [
        key
        for key in redis.scan_iter("ratelimit:*:*", count=1000)
        if not key.startswith(_KEY) and key.count(":") == 2
    ]
    for start in range(0, len(keys), 1000):
        batch = keys[start : start + 1000]
        values: Any = redis.mget(batch)
        for key, value in zip(batch, values, strict=True):
            user = key.split(":")[1]
            found[user] = found.get(user, 0) + int(value or 0)
    return found


def block_change(block: Block, *, until: datetime) -> Change:
    """The change that blocks a user until then, whatever block there is. Pure."""
    whole = until.replace(microsecond=0)
    after = Block(block.user, _BLOCKED, whole).image()
    return Change(BLOCK, block.target, block.image(), after)


def later(now: datetime, **wanted: float) -> datetime:
    """A time so much later, in whole seconds."""
    return (now + timedelta(**wanted)).replace(microsecond=0)


def ask_as(clients: Clients, user: str) -> int | None:
    """The status that the gateway answers a user with; None where nobody may ask in one's name.

    It is one request for a model: a user who is not blocked is charged for it.
    """
    settings = clients.environment.users
    place = clients.environment.endpoints.services[settings.gateway]
    if not settings.ask_path:
        return None
    headers = {
        "Host": place.host,
        "User-Agent": f"runbook/{clients.run_id}",
        settings.ask_header: user,
    }
    with closing(clients.http(place.host)) as connection:
        connection.request("POST", place.path + settings.ask_path, body=b"{}", headers=headers)
        return connection.getresponse().status


# the kind of change


def _read(clients: Clients, target: str) -> Json:
    return read_block(clients.redis, target.removeprefix(f"redis:{_KEY}")).image()


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Set the key with its end, or remove it. Twice does the same."""
    key, after = change.target.removeprefix("redis:"), change.after
    if after["value"] is None or _is_over(after):
        clients.redis.unlink(key)
        return
    until = after["until"]
    clients.redis.set(key, after["value"], pxat=_ms(until) if until else None)


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """As planned or as wanted; a block that has ended meanwhile is as good as none."""
    found = _read(clients, change.target)
    if _is_over(change.after):
        return Judgement("moved", (f"the block was to end at {change.after['until']}, now past",))
    gone = found["value"] is None and _is_over(change.before)
    if matches(change.before, found) or gone:
        return Judgement("to do")
    if matches(change.after, found):
        return Judgement("holds")
    return Judgement("moved", tuple(differences(change.before, found)))


def _take_back(change: Change, rows: Rows | None, done: list[tuple[Intent, Json]]) -> Change | None:
    """Back to the block that there was; one that would have ended by now is none."""
    if not done:
        return None
    none = Block("").image()
    after = none if _is_over(change.before) else change.before
    return Change(change.kind, change.target, change.after, after)


def _is_over(image: Mapping[str, Json]) -> bool:
    """Whether a block of that image has ended."""
    until = image["until"]
    return bool(until) and _ms(until) <= SYSTEM_CLOCK.now().timestamp() * 1000


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


register(
    BLOCK,
    read=_read,
    apply=_apply,
    judge=_judge,
    measure=lambda change: {"users": 1},
    take_back=_take_back,
)
