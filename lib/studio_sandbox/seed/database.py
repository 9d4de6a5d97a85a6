"""The product's database: role, schema and rows, made by the server itself from sql/."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from studio_sandbox.folder import Passwords
from studio_sandbox.postgres import DATABASE, ROLE, superuser_url

_SQL = Path(__file__).resolve().parents[1] / "sql"
_KEPT = ("postgres", "template0", "template1", DATABASE)
# In this order: each stands on those before it.
_NOUNS = ("plans", "users", "subscriptions", "payments", "jobs", "files", "usage")

# Sessions that would keep a table from being replaced. Idle ones, a pool's, stay connected.
_IN_THE_WAY = """
    SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = %s
      AND pid IN (SELECT pid FROM pg_locks)
"""


def seed(passwords: Passwords, *, port: int, anchor: datetime, still: bool) -> None:
    """Replace the product's database by the Studio at `anchor`; others see it whole, or not yet.

    Databases that were made since (a restore) are dropped, and the role has its password again.
    """
    _prepare(passwords, port)
    connection = psycopg2.connect(superuser_url(passwords, port, DATABASE))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_IN_THE_WAY, (DATABASE,))
            _fill(cursor, anchor, still=still)
    finally:
        connection.close()


def _prepare(passwords: Passwords, port: int) -> None:
    """Role and database, as they have to be; outside of a transaction, as CREATE DATABASE wants."""
    connection = psycopg2.connect(superuser_url(passwords, port))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            # what is written from here on is no history: a restore goes back to the seed at most
            cursor.execute("ALTER SYSTEM SET archive_command = 'true'")
            cursor.execute("SELECT pg_reload_conf()")
            role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (ROLE,))
            verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                    verb, role, sql.Literal(passwords.studio)
                )
            )
            cursor.execute("SELECT datname FROM pg_database")
            found = {row[0] for row in cursor.fetchall()}
            for extra in sorted(found.difference(_KEPT)):
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
                cursor.execute(drop.format(sql.Identifier(extra)))
            if DATABASE not in found:
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
            cursor.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))
    finally:
        connection.close()


def _fill(cursor: Any, anchor: datetime, *, still: bool) -> None:
    cursor.execute("DROP SCHEMA IF EXISTS public CASCADE")
    cursor.execute(f"CREATE SCHEMA public AUTHORIZATION {ROLE}")
    cursor.execute(f"SET LOCAL ROLE {ROLE}")
    cursor.execute("SET LOCAL work_mem = '64MB'")
    cursor.execute("SET LOCAL maintenance_work_mem = '128MB'")
    cursor.execute(_text("schema/tables"))
    moment = anchor.astimezone(UTC).replace(tzinfo=None)
    cursor.execute(
        _text("seed/moment"), {"anchor": moment, "still": still, "grain_s": 60 if still else 1}
    )
    for noun in _NOUNS:
        cursor.execute(_text(f"seed/{noun}"))
    cursor.execute(_text("schema/indexes"))
    cursor.execute(_text("schema/foreign_keys"))
    cursor.execute("ANALYZE")


def _text(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
