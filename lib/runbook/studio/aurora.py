"""The database: who is connected, who waits for whom, what is large, how far readers lag.

All but a snapshot reads; `select` and `explain` are for the operator's own SELECT. What PostgreSQL
shows of other people's sessions needs `pg_monitor`, or the role that they have too. Sessions of the
runbook's own are left out.


Source: https://www.postgresql.org/docs/current/monitoring-stats.html and
https://www.postgresql.org/docs/current/functions-info.html (pg_blocking_pids);
https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusters.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook.clients import APPLICATION
from runbook.errors import BadInput
from runbook.headline import Status
from runbook.settings import Database, DatabaseLimits
from runbook.studio.reading import explain as explain
from runbook.studio.reading import select as select
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

_LAG_METRIC, _LAG_MINUTES = "AuroraReplicaLag", 15
_LONGEST_QUERY = 200  # characters that are shown

SHOWN = f"left(regexp_replace(query, '\\s+', ' ', 'g'), {_LONGEST_QUERY})"  # a query's text
_SESSIONS = f"""
    SELECT pid, usename AS "user", application_name AS application, host(client_addr) AS client,
           coalesce(state, 'unknown') AS state,
           coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float
               AS transaction_s,
           coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float AS state_s,
           backend_start AS began, xact_start AS transaction_began,
           wait_event_type = 'Lock' AS waits,
           pg_blocking_pids(pid) AS blocked_by,
           {SHOWN} AS query
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
      AND application_name NOT LIKE '{APPLICATION} %'
    ORDER BY pid
"""  # noqa: S608  constants of ours
# Measuring waits for whoever has a table for himself: such a one is as its last ANALYZE found it.
_TABLES = """
    SELECT "table", rows, table_mib, indexes_mib, dead_rows, dead_percent FROM (
        SELECT c.oid::regclass::text AS "table", greatest(c.reltuples, 0)::bigint AS rows,
               CASE WHEN held THEN c.relpages * page
                    ELSE pg_relation_size(c.oid)
                         + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
               END / 1048576.0 AS table_mib,
               CASE WHEN held THEN page * (SELECT coalesce(sum(relpages), 0) FROM pg_index
                                           JOIN pg_class ON oid = indexrelid WHERE indrelid = c.oid)
                    ELSE pg_indexes_size(c.oid)
               END / 1048576.0 AS indexes_mib,
               s.n_dead_tup AS dead_rows,
               100.0 * s.n_dead_tup / greatest(s.n_dead_tup + s.n_live_tup, 1) AS dead_percent
        FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
        CROSS JOIN LATERAL (
            SELECT EXISTS (SELECT FROM pg_locks WHERE relation = c.oid
                           AND mode = 'AccessExclusiveLock') AS held,
                   current_setting('block_size')::numeric AS page
        ) AS lock
    ) AS measured
    ORDER BY round(table_mib + indexes_mib, 1) DESC, 1  -- as they are shown
    LIMIT :at_most
"""
_SERVER = f"""
    SELECT current_setting('server_version') AS version, current_database() AS database,
           pg_is_in_recovery() AS replica,
           current_setting('max_connections')::int AS max_connections,
           (SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND application_name NOT LIKE '{APPLICATION} %'
           )::int AS connections
"""  # noqa: S608  a constant of ours


@dataclass(frozen=True)
class Cluster:
    """An Aurora cluster as AWS describes it."""

    name: str
    endpoint: str
    reader_endpoint: str
    version: str
    status: str
    acu: str
    instances: tuple[tuple[str, str, str, str], ...]  # name, role, status, zone: the writer first

    def table(self) -> Table:
        """Its endpoints and instances, to be read."""
        import pandas as pd

        rows = [
            ("endpoint", f"{self.endpoint} (writer)"),
            ("reader endpoint", self.reader_endpoint),
            ("version", f"{self.version}, {self.status}, {self.acu}"),
            *((role, f"{name}, {status}, {zone}") for name, role, status, zone in self.instances),
        ]
        return Table(pd.DataFrame(rows, columns=["what", self.name]))


def read_cluster(rds: Any, *, cluster: str) -> Cluster:
    """The cluster with its instances. Raises BadInput when there is none of that name."""
    try:
        found = rds.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"][0]
    except rds.exceptions.DBClusterNotFoundFault as error:
        raise BadInput(f"There is no database cluster {cluster!r}.") from error
    only = [{"Name": "db-cluster-id", "Values": [cluster]}]
    pages = rds.get_paginator("describe_db_instances").paginate(Filters=only)
    by_name = {one["DBInstanceIdentifier"]: one for page in pages for one in page["DBInstances"]}
    members = sorted(
        found["DBClusterMembers"],
        key=lambda one: (not one["IsClusterWriter"], one["DBInstanceIdentifier"]),
    )
    scaling = found.get("ServerlessV2ScalingConfiguration")
    return Cluster(
        cluster,
        found["Endpoint"],
        found.get("ReaderEndpoint", ""),
        f"{found['Engine']} {found['EngineVersion']}",
        found["Status"],
        f"{scaling['MinCapacity']:g} to {scaling['MaxCapacity']:g} ACU" if scaling else "no ACU",
        tuple(_member(one, by_name) for one in members),
    )


def _member(member: Mapping[str, Any], by_name: Mapping[str, Any]) -> tuple[str, str, str, str]:
    name = member["DBInstanceIdentifier"]
    about = by_name.get(name, {})
    role = "writer" if member["IsClusterWriter"] else "reader"
    return (name, role, about.get("DBInstanceStatus", "?"), about.get("AvailabilityZone", "?"))


@dataclass(frozen=True)
class Lag:
    """How far readers are behind, in milliseconds; `ms` is None where nobody measures it."""

    ms: float | None
    source: str

    def __str__(self) -> str:
        return "not measured" if self.ms is None else f"{self.ms:,.0f} ms ({self.source})"


def read_lag(cloudwatch: Any, *, cluster: str, now: datetime | None = None) -> Lag:
    """The largest lag of the last minutes, as CloudWatch has it.

    A cluster without a reader has none. Source:
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.AuroraMonitoring.Metrics.html
    """
    end = now or datetime.now(UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/RDS",
        MetricName=_LAG_METRIC,
        Dimensions=[{"Name": "DBClusterIdentifier", "Value": cluster}],
        StartTime=end - timedelta(minutes=_LAG_MINUTES),
        EndTime=end,
        Period=60,
        Statistics=["Maximum"],
    )
    points = [point["Maximum"] for point in answer["Datapoints"]]
    return Lag(max(points, default=None), f"most of {_LAG_MINUTES} min")


@dataclass(frozen=True)
class Session:
    """One session that waits or that others wait for."""

    pid: int
    depth: int  # 0: it waits for nobody
    user: str
    application: str
    state: str
    transaction_s: float
    state_s: float
    query: str
    behind: int  # how many sessions wait for it, directly or not


@dataclass(frozen=True)
class Activity:
    """The database at one moment. `sessions` and `tables` are DataFrames, for whoever wants more.

    sessions: pid, user, application, client, state, transaction_s, state_s, waits, blocked_by,
    query. tables: table, rows, table_mib, indexes_mib, dead_rows, dead_percent.
    """

    version: str
    database: str
    replica: bool
    connections: int
    max_connections: int
    sessions: pd.DataFrame
    tables: pd.DataFrame
    limits: DatabaseLimits
    lag: Lag = Lag(None, "")
    chain: tuple[Session, ...] = ()

    def by_state(self) -> Table:
        """Connections of others by user, application and state, most first."""
        keys = ["user", "application", "state"]
        counted = self.sessions.groupby(keys, dropna=False).agg(
            connections=("pid", "size"), longest_s=("state_s", "max")
        )
        ordered = counted.sort_values("connections", ascending=False, kind="stable").reset_index()
        return Table(ordered, empty="Nobody else is connected.")

    def long_transactions(self) -> Table:
        """Transactions that have been open for longer than the environment's limit."""
        columns = ["pid", "user", "application", "state", "transaction_s", "query"]
        return Table(
            self._long()[columns].astype({"pid": str}),
            empty=f"No transaction has been open for {self.limits.transaction_s:g} s.",
        )

    def chains(self) -> Table:
        """Who waits for whom, as a tree: a session stands below the one that it waits for."""
        return tree(self.chain)

    def largest(self) -> Table:
        """The largest tables with their dead rows: what a vacuum would make free."""
        return Table(self.tables.round(1), empty="There is no table.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        doubts = self.doubts
        return {
            "status": self.status,
            "says": " ".join(doubts) if doubts else self._healthy(),
            "connections": self.connections,
            "max_connections": self.max_connections,
            "waiting": sum(one.depth > 0 for one in self.chain),
            "blockers": [one.pid for one in self.chain if not one.depth],
            "long_transactions": len(self._long()),
            "bloated": list(self._bloated()),
            "lag_ms": self.lag.ms,
        }

    @property
    def status(self) -> Status:
        """Critical when somebody has waited too long or connections run out."""
        if self._waited_too_long() or self._share >= self.limits.connections_percent:
            return "critical"
        return "warning" if self.doubts else "ok"

    @property
    def doubts(self) -> list[str]:
        """What is over a limit, worst first, each as a sentence."""
        found = []
        waiting = [one for one in self.chain if one.depth]
        if waiting:
            root = max((one for one in self.chain if not one.depth), key=lambda one: one.behind)
            longest = max(one.state_s for one in waiting)
            found.append(
                f"{len(waiting)} sessions wait for a lock, the longest for {longest:.0f} s; "
                f"{root.behind} of them behind pid {root.pid} ({root.application or root.user}, "
                f"{root.state}, in its transaction for {root.transaction_s:.0f} s)."
            )
        if self._share >= self.limits.connections_percent:
            found.append(
                f"{self.connections} of {self.max_connections} connections are in use "
                f"({self._share:.0f} %)."
            )
        long = self._long()
        if len(long):
            oldest = long.iloc[0]
            found.append(
                f"{len(long)} transactions have been open for more than "
                f"{self.limits.transaction_s:g} s, pid {oldest.pid} for "
                f"{oldest.transaction_s:,.0f} s."
            )
        if self.lag.ms is not None and self.lag.ms >= self.limits.lag_ms:
            found.append(f"Readers are {self.lag.ms:,.0f} ms behind.")
        bloated = list(self._bloated())
        if bloated:
            found.append(f"Many dead rows in {', '.join(bloated)}: is autovacuum held up?")
        return found

    def _healthy(self) -> str:
        return (
            f"Nobody waits for a lock, no transaction is older than "
            f"{self.limits.transaction_s:g} s; {self._share:.0f} % of {self.max_connections} "
            f"connections in use, replication lag {self.lag}."
        )

    @property
    def _share(self) -> float:
        return 100 * self.connections / self.max_connections

    def _waited_too_long(self) -> bool:
        return any(one.depth and one.state_s >= self.limits.blocked_s for one in self.chain)

    def _long(self) -> pd.DataFrame:
        over = self.sessions[self.sessions.transaction_s >= self.limits.transaction_s]
        return over.sort_values("transaction_s", ascending=False)

    def _bloated(self) -> Sequence[str]:
        limits, tables = self.limits, self.tables
        over = (tables.dead_percent >= limits.dead_percent) & (tables.dead_rows >= limits.dead_rows)
        return [str(name) for name in tables[over]["table"]]


def read_activity(
    database: sqlalchemy.Engine, settings: Database, *, lag: Lag = Lag(None, ""), tables: int = 10
) -> Activity:
    """Sessions, locks and tables at this moment; the `tables` largest ones."""
    import sqlalchemy

    sessions = read_sessions(database)
    with database.connect() as connection:
        server = connection.execute(sqlalchemy.text(_SERVER)).one()
    return Activity(
        server.version,
        server.database,
        server.replica,
        server.connections,
        server.max_connections,
        sessions,
        read_tables(database, at_most=tables),
        settings.limits,
        lag,
        tuple(chains(sessions)),
    )


def read_tables(database: sqlalchemy.Engine, *, at_most: int) -> pd.DataFrame:
    """The largest tables. Columns: table, rows, table_mib, indexes_mib, dead_rows, dead_percent."""
    import pandas as pd
    import sqlalchemy

    with database.connect() as connection:
        return pd.read_sql_query(sqlalchemy.text(_TABLES), connection, params={"at_most": at_most})


def read_sessions(database: sqlalchemy.Engine) -> pd.DataFrame:
    """Everybody's sessions but the runbook's own; takes no lock, so nobody can hold it up.

    Columns: pid, user, application, client, state, transaction_s, state_s, began,
    transaction_began (aware), waits, blocked_by, query.
    """
    import pandas as pd
    import sqlalchemy

    with database.connect() as connection:
        return pd.read_sql_query(sqlalchemy.text(_SESSIONS), connection)


def chains(sessions: pd.DataFrame) -> list[Session]:
    """Sessions that wait, each below the one that it waits for, in the order of a tree. Pure.

    A session that waits for several stands below the first of them. A blocker that is not among
    the sessions (it is one of the runbook's own, or has just gone) has the state `unknown`.
    """
    rows = {int(row.pid): row for row in sessions.itertuples()}
    parents = {pid: int(row.blocked_by[0]) for pid, row in rows.items() if len(row.blocked_by)}
    below: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        below.setdefault(parent, []).append(pid)
    found: list[Session] = []
    seen: set[int] = set()

    def walk(pid: int, depth: int) -> int:
        """Add a session and what is behind it; returns how many that are."""
        seen.add(pid)
        place = len(found)
        found.append(_session(pid, depth, rows.get(pid)))
        behind = 0
        for child in below.get(pid, ()):
            if child not in seen:  # a deadlock goes round until the server breaks it
                behind += 1 + walk(child, depth + 1)
        found[place] = replace(found[place], behind=behind)
        return behind

    roots = [pid for pid in below if pid not in parents]
    for pid in [*roots, *parents]:
        if pid not in seen:
            walk(pid, 0)
    return found


def tree(chain: Sequence[Session]) -> Table:
    """Sessions as `chains` gives them, to be read."""
    import pandas as pd

    rows = [
        {
            "session": f"{'   ' * (one.depth - 1)}└─ {one.pid}" if one.depth else str(one.pid),
            "state": "waits" if one.depth else one.state,
            "for_s": one.state_s if one.depth else one.transaction_s,
            "behind_it": one.behind,
            "user": one.user,
            "application": one.application,
            "query": one.query,
        }
        for one in chain
    ]
    return Table(pd.DataFrame(rows), empty="Nobody waits for anybody.")


def _session(pid: int, depth: int, row: Any) -> Session:
    if row is None:
        return Session(pid, depth, "", "", "unknown", 0.0, 0.0, "", 0)
    return Session(
        pid, depth, row.user, row.application, row.state, row.transaction_s, row.state_s,
        row.query, 0,
    )  # fmt: skip
