"""international phone numbers"""

from __future__ import annotations

from alembic import op

revision, down_revision = "8f2c41d7a9be", "4be7d05f1c82"


def upgrade() -> None:
    op.execute("UPDATE users SET phone = '+962' || substr(phone, 2) WHERE phone LIKE '0%'")


def downgrade() -> None:
    """Numbers stay as they are: the release before read these too."""
