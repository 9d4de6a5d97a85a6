"""data-corrupted: a script has damaged rows at one moment, and committed that."""

from __future__ import annotations

import random
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio
from studio_sandbox.folder import write_private

# What of each table never changes once it is written: rows of before a moment have it for good.
_LASTING = {
    "users": "id, email, phone, created_at",
    "subscriptions": "id, user_id, plan_id, provider, created_at",
    "payments": "id, user_id, plan_id, amount_jod, created_at",
    "usage_logs": "id, user_id, kind, amount, created_at",
}
_CONTENT = """
    SELECT count(*), md5(string_agg(md5(({columns})::text), '' ORDER BY id))
    FROM {table} WHERE created_at < %(until)s::timestamp
"""
_WHICH = "created_at < %(until)s::timestamp AND left(md5(id::text || %(salt)s), 1) < %(share)s"
_CHEAPEST = """
    UPDATE subscriptions SET plan_id = (SELECT id FROM plans ORDER BY price_jod LIMIT 1)
"""
# Table, what was done to it, and the column that this is about; none where rows are gone.
_DAMAGES = {
    "subscriptions": (_CHEAPEST, "plan_id"),
    "payments": ("UPDATE payments SET amount_jod = 0", "amount_jod"),
    "users": ("UPDATE users SET email = left(md5(id::text), 12) || '@invalid.example'", "email"),
    "usage_logs": ("DELETE FROM usage_logs", ""),
}
_SCRIPTS = (
    r"fields @timestamp, message | filter message like /^scripts\./ "
    "| sort @timestamp desc | limit 1"
)
_BEFORE_ITS_LINE = timedelta(seconds=2)
_GRACE = timedelta(seconds=2)  # rows as young as that may still be about to be committed


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "table": dice.choice(sorted(_DAMAGES)),
        "share": dice.choice("48c"),
        "salt": str(dice.getrandbits(32)),
    }


def _start(studio: Studio, details: Details) -> None:
    _await_history(studio)
    details["where"] = urlsplit(studio.database_url).port
    table, column = details["table"], _DAMAGES[details["table"]][1]
    which = f"WHERE {_WHICH}"
    with _connect(studio, details) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (moment,) = cursor.fetchone()
        connection.rollback()  # the transaction that does the damage begins after it
        until = moment.astimezone(UTC).replace(tzinfo=None) - _GRACE
        details |= {"moment": moment.isoformat(), "until": until.isoformat()}
        details["content"] = lasting_content(cursor, details["until"])
        _keep(studio, cursor, table, cursor.mogrify(which, details).decode())
        # whoever mends it knows the moment from a log line, and not to the second
        studio.until(lambda: datetime.now(UTC) > moment + 2 * _BEFORE_ITS_LINE, "some seconds")
        cursor.execute(f"{_DAMAGES[table][0]} {which}", details)
        details["rows"] = cursor.rowcount
        connection.commit()
    _leave_a_line(studio, f"scripts.backfill_{table}: {details['rows']} rows, {column or 'purged'}")


def _await_history(studio: Studio) -> None:
    """Wait until some seconds before now can be restored: nobody knows the moment exactly."""

    def kept() -> bool:
        found = studio.aws("rds").describe_db_clusters(DBClusterIdentifier=names.DATABASE_CLUSTER)
        earliest = found["DBClusters"][0].get("EarliestRestorableTime")
        return earliest is not None and earliest < datetime.now(UTC) - 2 * _BEFORE_ITS_LINE

    studio.until(kept, "a base backup of the database")


def _connect(studio: Studio, details: Details) -> Any:
    """The database as it was when the drill began, with the login of now."""
    now = urlsplit(studio.database_url)
    login = now.netloc.rpartition("@")[0]
    url = now._replace(netloc=f"{login}@127.0.0.1:{details['where']}").geturl()
    return closing(psycopg2.connect(url, connect_timeout=3))


def lasting_content(cursor: Any, until: str) -> dict[str, list[Any]]:
    """What each table has of before a moment (naive, UTC): rows, and a checksum over what lasts."""
    found = {}
    for table, columns in _LASTING.items():
        cursor.execute(_CONTENT.format(table=table, columns=f"ROW({columns})"), {"until": until})
        found[table] = list(cursor.fetchone())
    return found


def _keep(studio: Studio, cursor: Any, table: str, which: str) -> None:
    """Keep the rows outside of the Studio, to end the drill with: nobody mends it with these."""
    write_private(_kept(studio), "")
    with _kept(studio).open("wb") as file:
        cursor.copy_expert(f"COPY (SELECT * FROM {table} {which}) TO STDOUT", file)  # noqa: S608


def _kept(studio: Studio) -> Path:
    return studio.box.folder / "drills" / "data-corrupted.rows"


def _leave_a_line(studio: Studio, message: str) -> None:
    """What the script has said of itself, in the worker's log."""
    logs = studio.pipeline("logs", session="Maintenance")
    about = {"logGroupName": names.LOG_GROUPS[names.WORKER], "logStreamName": "ecs/maintenance"}
    with suppress(logs.exceptions.ResourceAlreadyExistsException):  # from an earlier one
        logs.create_log_stream(**about)
    event = {
        "timestamp": int(time.time() * 1000),
        "message": f'{{"level": "INFO", "message": "{message}"}}',
    }
    logs.put_log_events(**about, logEvents=[event])


def _judge(studio: Studio, details: Details) -> list[str]:
    """The database that the secret names has all that was committed before, as it was."""
    with closing(psycopg2.connect(studio.database_url, connect_timeout=3)) as connection:
        found = lasting_content(connection.cursor(), details["until"])
    findings = [
        f"{table}: what was committed before is not there as it was ({found[table][0]} rows)"
        for table, content in details["content"].items()
        if found[table] != content
    ]
    findings += services.with_earlier_value(studio, names.DATABASE_URL)
    return findings + services.wrong(studio, services.consumers(studio, names.DATABASE_URL))


def _clean_up(studio: Studio, details: Details) -> None:
    """The damaged rows are as they were, in the database that was damaged, if it is there."""
    table, (_, column) = details["table"], _DAMAGES[details["table"]]
    if "rows" in details:
        given = f"DO UPDATE SET {column} = EXCLUDED.{column}" if column else "DO NOTHING"
        try:
            with _connect(studio, details) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE TEMPORARY TABLE image (LIKE {table})")
                with _kept(studio).open("rb") as file:
                    cursor.copy_expert("COPY image FROM STDIN", file)
                cursor.execute(
                    f"INSERT INTO {table} SELECT * FROM image ON CONFLICT (id) {given}"  # noqa: S608
                )
                connection.commit()
        except psycopg2.OperationalError:
            pass  # it is gone, and another one serves: whether that is well is looked at now
    services.until_well(studio, services.consumers(studio, names.DATABASE_URL))
    _kept(studio).unlink(missing_ok=True)


def _mend(run: RunSection) -> None:
    """When it began says the log: whatever script ran, ran just before its line was written."""
    said = run("query-logs", services="worker", query=_SCRIPTS)
    line = datetime.fromisoformat(said["result"]["first_rows"][0]["@timestamp"])
    moment = (line - _BEFORE_ITS_LINE).isoformat()
    plan_and_apply(run, "recover-database", moment=moment)  # restores
    plan_and_apply(run, "recover-database", moment=moment)  # switches


DATA_CORRUPTED = Drill(
    name="data-corrupted",
    symptom="Since some minutes ago customers see wrong plans, wrong sums, or nothing at all.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("secret AI_STUDIO_DATABASE_URL: version", "cluster *"),
)
