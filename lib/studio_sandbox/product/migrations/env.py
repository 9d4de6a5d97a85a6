"""How alembic reaches the database: by the DSN that the task was given when it started."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, make_url, pool


def _url() -> str:
    given = make_url(os.environ["AI_STUDIO_DATABASE_URL"])
    driven = given.set(drivername="postgresql+psycopg2")  # a plain URL would mean psycopg 3
    return driven.render_as_string(hide_password=False)


def _offline() -> None:
    """Write the SQL and run none of it: `--sql`."""
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _online() -> None:
    """Run all of it in one transaction."""
    engine = create_engine(_url(), poolclass=pool.NullPool, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()


_offline() if context.is_offline_mode() else _online()
