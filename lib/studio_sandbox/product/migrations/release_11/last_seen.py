"""when users were last seen"""

from __future__ import annotations

from alembic import op

revision, down_revision = "d2a85c7741ef", "b46d9e13f0a7"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN last_seen_at timestamp")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN last_seen_at")
