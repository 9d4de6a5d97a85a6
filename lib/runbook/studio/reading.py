"""The operator's own SELECT: the server refuses whatever else it may turn out to be.

A session that is read-only by default can be talked out of it by one more statement. So:

- the transaction begins READ ONLY and has a snapshot and a savepoint before the operator's text
  is seen: from then on the server refuses to make it read-write, whoever asks;
- the text becomes a cursor of the server's: one statement that returns rows, and never a second
  one behind a semicolon, nor COMMIT, nor SET;
- in the end the transaction is rolled back and the connection is closed, never used again.

What this does not hold off: functions that act outside of tables (`pg_terminate_backend`), as far
as the role may call them.

Source: https://www.postgresql.org/docs/current/sql-set-transaction.html and
https://www.postgresql.org/docs/current/plpgsql-cursors.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.errors import BadInput, Failed
from runbook.table import Table

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy

_KEEP = "SELECT set_config('runbook.statement', :text, true)"
_OPEN = """
    DO $$
    DECLARE rows refcursor := 'runbook';
    BEGIN
        OPEN rows NO SCROLL FOR EXECUTE current_setting('runbook.statement');
    END $$
"""
_CANCELED = "57014"  # SQLSTATE: a time-out


@dataclass(frozen=True)
class Selected:
    """Rows of a SELECT. `more`: there were more than were asked for."""

    frame: pd.DataFrame
    more: bool
    seconds: float

    def table(self) -> Table:
        """The rows, to be read."""
        return Table(self.frame, empty="No row.", plain=True)

    @property
    def says(self) -> str:
        """How many, in one sentence."""
        count = len(self.frame)
        noun = "row" if count == 1 else "rows"
        return f"{'The first ' if self.more else ''}{count:,} {noun}."


def select(database: sqlalchemy.Engine, text: str, *, at_most: int = 200) -> Selected:
    """Run one SELECT and give its first rows; nothing can be written by it.

    Raises BadInput with the server's own words when it refuses the text, Failed when it takes
    longer than the environment's `statement_timeout_s`.
    """
    import pandas as pd
    import sqlalchemy

    if not text.strip():
        raise BadInput("sql: expected a SELECT, found nothing.")
    if at_most < 1:
        raise BadInput(f"at_most: expected 1 or more, found {at_most}.")
    asked = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    reading = database.execution_options(**asked)
    began = time.monotonic()
    with reading.connect() as connection:
        try:
            connection.execute(sqlalchemy.text("SELECT pg_current_snapshot()"))
            connection.execute(sqlalchemy.text("SAVEPOINT operator"))
            connection.execute(sqlalchemy.text(_KEEP), {"text": text.rstrip().rstrip(";")})
            connection.exec_driver_sql(_OPEN)
            found = connection.exec_driver_sql(f"FETCH {at_most + 1} FROM runbook")
            columns, rows = list(found.keys()), found.fetchall()
        except sqlalchemy.exc.DBAPIError as error:
            raise _in_our_words(error) from error
        finally:
            connection.invalidate()
    frame = pd.DataFrame([tuple(row) for row in rows[:at_most]], columns=columns)
    return Selected(frame, len(rows) > at_most, time.monotonic() - began)


def explain(database: sqlalchemy.Engine, text: str) -> Table:
    """The server's plan for a SELECT; it is not run."""
    return select(database, f"EXPLAIN {text}", at_most=10_000).table()


def _in_our_words(error: Any) -> Exception:
    """What the server said, without our own statements around it."""
    code = getattr(error.orig, "pgcode", None)
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig).strip()
    if code is None:
        return Failed(f"The connection to the database broke: {said}")
    if code == _CANCELED:
        return Failed(
            f"The server stopped the query: {said}.",
            next="Narrow it, look at its plan, or give the environment a longer timeout.",
        )
    return BadInput(
        f"sql: the server refused it: {said}.",
        next="One SELECT is read, without a second statement; whatever writes is refused.",
    )
