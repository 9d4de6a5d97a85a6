"""payments by status and age"""

from __future__ import annotations

from alembic import op

revision, down_revision = "b46d9e13f0a7", "8f2c41d7a9be"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_payments_status_created_at ON payments (status, created_at)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_payments_status_created_at")
