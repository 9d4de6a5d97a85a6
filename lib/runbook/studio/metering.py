"""Usage on its way from Redis to the table: the cache, the counters, the meter's complaints.

found = metering.read(rb.clients)
found.findings(), found.redis.table(), found.drift_table(), found.line_table()
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.headline import Status, in_short, worst
from runbook.settings import Redis
from runbook.studio import redis_health, usage
from runbook.studio.logs.query import query
from runbook.studio.logs.search import Window
from runbook.studio.redis_health import RedisHealth
from runbook.studio.usage import Apart
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd

_LINES = """
    filter @message like /usage_meter/ and (level = "ERROR" or level = "WARN")
    | stats count(*) as lines, max(@timestamp) as last by message
    | sort lines desc | limit 20
"""
_DEADLINE_S = 30.0
_GONE = ("Counters cannot be compared: Redis does not answer.",)


@dataclass(frozen=True)
class Metering:
    """What was found. `apart` is None where Redis or the database does not answer."""

    redis: RedisHealth
    limits: Redis
    counters: int
    apart: tuple[Apart, ...] | None
    lines: pd.DataFrame
    unseen: tuple[str, ...] = ()

    @property
    def users(self) -> tuple[int, int]:
        """Users with more counted than written, and the other way."""
        drift = {(one.kind, one.user): one.amount for one in self.apart or ()}
        return usage.summed(drift)

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        more, less = self.users
        return {
            "status": self._status(),
            "says": self._sentence(),
            "redis": self.redis.answers,
            "users_with_more_counted": more,
            "users_with_more_written": less,
            "apart": [
                {"user": one.user, "kind": one.kind, "counted": one.counted, "written": one.written}
                for one in (self.apart or ())[:50]
            ],
            "meter_errors": int(self.lines.lines.sum()) if len(self.lines) else 0,
            "unseen": list(self.unseen),
        }

    def drift_table(self, *, rows: int = 20) -> Table:
        """Counters beside what the table adds up to, the furthest apart first, to be read."""
        import pandas as pd

        shown = [
            {"user": one.user, "kind": one.kind, "counted": one.counted, "written": one.written,
             "apart": one.amount}
            for one in (self.apart or ())[:rows]
        ]  # fmt: skip
        empty = "Every counter is what the table adds up to."
        return Table(pd.DataFrame(shown), empty=empty if self.apart is not None else self.unseen[0])

    def line_table(self) -> Table:
        """What the meter complains of, to be read."""
        return Table(self.lines, empty="The meter has not complained within the hour.")

    def _status(self) -> Status:
        problems = self._problems()
        gone: Status = "critical" if not self.redis.answers else "ok"
        bad: Status = (
            "warning" if problems or self.apart or self.unseen or len(self.lines) else "ok"
        )
        return worst(gone, bad)

    def _problems(self) -> list[str]:
        limits = self.limits
        return self.redis.problems(memory_percent=limits.memory_percent, slow_ms=limits.slow_ms)

    def _sentence(self) -> str:
        told = self._problems()
        if self.apart:
            more, less = self.users
            told.append(f"{more:,} users used more than the table has, {less:,} less")
        if len(self.lines):
            told.append(f"the meter complains: {self.lines.message.iloc[0]}")
        told += [one for one in self.unseen if self.redis.answers]
        if told:
            return in_short(told)
        return f"Redis answers, and all {self.counters:,} counters are what the table adds up to."


def read(clients: Clients) -> Metering:
    """Ask Redis, the database and the logs side by side."""
    for service in ("secretsmanager", "elasticache", "logs"):
        clients.aws(service)
    with ThreadPoolExecutor(2, thread_name_prefix="metering") as pool:
        lines = pool.submit(_lines, clients)
        redis = redis_health.read(clients)
        counters, apart, unseen = _drift(clients) if redis.answers else (0, None, _GONE)
    return Metering(redis, clients.environment.redis, counters, apart, lines.result(), unseen)


def _drift(clients: Clients) -> tuple[int, tuple[Apart, ...] | None, tuple[str, ...]]:
    import sqlalchemy

    settle_s = clients.environment.promises.usage_settles_in_s
    counters = usage.count_counters(clients.redis)
    try:
        return counters, usage.read_apart(clients.redis, clients.database, settle_s=settle_s), ()
    except (sqlalchemy.exc.SQLAlchemyError, RunbookError) as error:
        why = f"Counters cannot be compared: the database does not answer ({type(error).__name__})."
        return counters, None, (why,)


def _lines(clients: Clients) -> pd.DataFrame:
    environment, end = clients.environment, SYSTEM_CLOCK.now()
    answer = query(
        clients.aws("logs"),
        environment.logs,
        _LINES,
        window=Window(end - timedelta(hours=1), end),
        deadline_s=_DEADLINE_S,
        factor=environment.waits.factor,
    )
    return answer.frame
