"""initial schema"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision, down_revision = "4be7d05f1c82", None

_SCHEMA = Path(__file__).parents[3] / "sql" / "schema"
_TABLES = ("jobs", "files", "usage_logs", "payments", "subscriptions", "plans", "users")


def upgrade() -> None:
    for part in ("tables", "indexes", "foreign_keys"):
        for statement in (_SCHEMA / f"{part}.sql").read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP TABLE {', '.join(_TABLES)}")
