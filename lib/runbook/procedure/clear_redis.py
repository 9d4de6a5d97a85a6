"""Clearing Redis: a family of keys, or all that may go; and the usage counters, reconciled first.

    found = clear_redis.read(rb.clients)
    found.table(), found.queue_table()
    found.plan(rb.clients, family="…", drop_queues=False)

    cache = clear_redis.read_usage(rb.clients)
    cache.table(), cache.plan()

Usage counters are never cleared blindly: what was counted and is not in the table yet would be
lost, and somebody would have used it for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbook.change.plan import Change, Plan
from runbook.clients import Clients
from runbook.errors import BadInput, Refused
from runbook.studio import redis_cache, redis_families, usage
from runbook.studio.redis_cache import Keys
from runbook.studio.redis_families import Families, Family
from runbook.studio.usage import Counter
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

ALL = "all"
_SHOWN = 20  # counters that a table shows


@dataclass(frozen=True)
class Cleared:
    """All keys by family."""

    found: Families

    def table(self) -> Table:
        """Each family with its keys, and what clearing it does, to be read."""
        import pandas as pd

        rows = [
            {"family": one.pattern, "keys": one.keys, "says": _says(one)}
            for one in self.found.families
        ]
        return Table(pd.DataFrame(rows), empty="Redis has no key.")

    def queue_table(self) -> Table:
        """What waits in the queues, to be read."""
        import pandas as pd

        rows = [{"queue": name, "waiting": count} for name, count in self.found.queued.items()]
        return Table(pd.DataFrame(rows), empty="Nothing is queued.")

    def plan(self, clients: Clients, *, family: str, drop_queues: bool) -> Plan:
        """The plan that removes a family, or all of them; without changes when none is named.

        Raises Refused: usage counters, a queue, or all while something is queued.
        """
        wanted = self._wanted(family.strip(), drop_queues=drop_queues)
        changes = [_change(clients, one, self.found) for one in wanted]
        kept = all(one.reversible for one in changes)
        count = sum(one.keys for one in wanted)
        return Plan(
            title=f"Remove {count:,} Redis keys of {len(wanted)} families",
            risk="destructive",
            changes=tuple(changes),
            way_back="undo restores each key with its value and expiry, unless it is there again."
            if kept
            else "There is no way back: the values of large families, and of queues, are not kept.",
            warnings=tuple(self._warnings(wanted, everything=family.strip() == ALL)),
        )

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        keys, queued = sum(one.keys for one in self.found.families), sum(self.found.queued.values())
        return {
            "status": "ok",
            "says": f"{keys:,} keys of {len(self.found.families)} families; "
            f"{queued:,} messages are queued.",
            "families": {one.pattern: one.keys for one in self.found.families},
            "queued": dict(self.found.queued),
        }

    def gone(self, changes: Iterable[Change]) -> bool:
        """Whether what was planned is gone, but for keys that are new."""
        now = {f"redis:{one.pattern}": one.keys for one in self.found.families}
        return all(now.get(one.target, 0) < one.before["keys"] for one in changes)

    def _wanted(self, family: str, *, drop_queues: bool) -> list[Family]:
        known = {one.pattern: one for one in self.found.families}
        if not family:
            return []
        if family != ALL:
            if family not in known:
                raise BadInput(
                    f"There is no family {family!r}.", next=f"There are {', '.join(known)}, or all."
                )
            return [self._allowed(known[family])]
        if self.found.queued and not drop_queues:
            told = ", ".join(f"{name} {count:,}" for name, count in self.found.queued.items())
            raise Refused(
                f"Messages are queued ({told}): all would drop them, paid webhooks among them.",
                next="Clear families one by one, or say drop_queues true.",
            )
        return [
            one
            for one in known.values()
            if (drop_queues or not one.broker) and not _counts_usage(one)
        ]

    def _warnings(self, wanted: list[Family], *, everything: bool) -> Iterator[str]:
        yield from (_says(one) for one in wanted if _says(one))
        if everything:
            left = [one.pattern for one in self.found.families if one not in wanted]
            yield f"What stays: {', '.join(left) or 'nothing'}."

    def _allowed(self, one: Family) -> Family:
        if one.broker:
            raise Refused(
                f"{one.pattern} is the Celery broker's: what is queued there would be lost.",
                next="A queue goes only with all, and drop_queues true.",
            )
        if _counts_usage(one):
            raise Refused(
                f"{one.pattern} counts what users have used, and may not be written yet.",
                next="Clear it by clear-usage-cache, which compares it with the table first.",
            )
        return one


def read(clients: Clients) -> Cleared:
    """Count all keys by family."""
    return Cleared(redis_families.read_families(clients.redis))


def _counts_usage(one: Family) -> bool:
    return one.pattern.split(":")[0] == usage.PATTERN.split(":")[0]


def _says(one: Family) -> str:
    if _counts_usage(one):
        return f"{one.pattern} counts usage: only clear-usage-cache clears it"
    if one.broker:
        return f"{one.pattern} is the broker's: work that somebody has paid for"
    large = one.keys > redis_cache.DUMPS_UP_TO
    return f"{one.pattern} has too many keys to be kept: no undo" if large else ""


def _change(clients: Clients, family: Family, found: Families) -> Change:
    """With the values kept where they are few; of the broker, for good."""
    if family.broker or family.keys > redis_cache.DUMPS_UP_TO:
        return redis_families.change_of(family)
    keys = redis_cache.read_keys(clients.redis, family.pattern)
    mine = tuple(key for key in keys.keys if redis_families.family_of(key.name) == family.pattern)
    (change,) = redis_cache.plan_clear(Keys(family.pattern, mine, found.queues)).changes
    return change


# usage counters


@dataclass(frozen=True)
class UsageCache:
    """Usage counters beside the table, read twice: those that differ both times are unwritten."""

    keys: Keys
    counters: Mapping[str, Counter]
    moving: frozenset[str]  # they differ, and have changed between the two readings

    @property
    def unwritten(self) -> list[Counter]:
        """Counted, not in the table, and not on its way there: most first."""
        found = [
            one for key, one in self.counters.items() if one.apart > 0 and key not in self.moving
        ]
        return sorted(found, key=lambda one: (-one.apart, one.key))

    @property
    def behind(self) -> list[Counter]:
        """Less counted than written: nothing is lost with those."""
        return [one for one in self.counters.values() if one.apart < 0]

    def plan(self) -> Plan:
        """The plan that removes every counter that the table has whole.

        Raises Refused while one has not been written.
        """
        if self.unwritten:
            total = sum(one.apart for one in self.unwritten)
            raise Refused(
                f"{len(self.unwritten):,} counters are ahead of the table by {total:,}: clearing "
                "them would give that away.",
                next="Write it down first: sync-usage. Why it was not: usage-not-updating",
            )
        safe = tuple(
            key
            for key in self.keys.keys
            if key.name in self.counters and self.counters[key.name].apart <= 0
        )
        plan = redis_cache.plan_clear(replace(self.keys, keys=safe))
        return replace(
            plan,
            title=f"Clear {len(safe):,} usage counters that the table has whole",
            risk="high" if plan.reversible else "destructive",
            warnings=(
                *plan.warnings,
                "The next request of a user counts anew; the product sets it to the table's sum.",
                *([f"{len(self.moving):,} counters are being written now, and are left alone."]
                  if self.moving else []),
            ),
        )  # fmt: skip

    def lacks(self, planned: Iterable[str]) -> bool:
        """Whether counters that were to go are gone: not each, since users begin new ones."""
        return any(key not in self.counters for key in planned)

    def table(self) -> Table:
        """How many counters agree with the table, by kind, to be read."""
        import pandas as pd

        kinds = sorted({one.kind for one in self.counters.values()})
        unwritten = self.unwritten
        rows = [
            {
                "kind": kind,
                "counters": sum(one.kind == kind for one in self.counters.values()),
                "agree": sum(one.kind == kind and not one.apart for one in self.counters.values()),
                "unwritten": sum(one.kind == kind for one in unwritten),
                "behind the table": sum(one.kind == kind for one in self.behind),
                "being written": sum(self.counters[key].kind == kind for key in self.moving),
            }
            for kind in kinds
        ]
        return Table(pd.DataFrame(rows), empty="There is no counter.")

    def difference_table(self) -> Table:
        """The counters that do not agree with the table, the largest difference first."""
        import pandas as pd

        rows = [
            {
                "user": one.user,
                "kind": one.kind,
                "month": one.month,
                "counted": one.counted,
                "written": one.written,
                "unwritten": one.apart,
            }
            for one in [*self.unwritten, *self.behind][:_SHOWN]
        ]
        return Table(pd.DataFrame(rows), empty="Every counter agrees with the table.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        unwritten = self.unwritten
        return {
            "status": "warning" if unwritten else "ok",
            "says": f"{len(self.counters):,} counters, {len(unwritten):,} of them not written, "
            f"{len(self.moving):,} being written.",
            "counters": len(self.counters),
            "unwritten": len(unwritten),
            "unwritten_amount": sum(one.apart for one in unwritten),
            "behind": len(self.behind),
        }


def read_usage(clients: Clients) -> UsageCache:
    """Read the counters, and those that differ again once what is on its way has been written.

    Their fingerprints are taken first: a counter that ticks after that is not removed.
    """
    redis, database = clients.redis, clients.database
    keys = redis_cache.read_keys(redis, usage.PATTERN)
    first = usage.read_counters(redis, database)
    if not any(one.apart for one in first.values()):
        return UsageCache(keys, first, frozenset())
    SYSTEM_CLOCK.sleep(clients.environment.promises.usage_settles_in_s)
    second = usage.read_counters(redis, database)
    moving = {
        key
        for key, one in second.items()
        if one.apart > 0 and (key not in first or first[key].apart != one.apart)
    }
    return UsageCache(keys, second, frozenset(moving))
