"""Requests by the time of their outcome, so that those that are old enough are found and forgotten.

Like the first, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = "ix_requests_occurred_at"


def upgrade() -> None:
    """Add the index; MySQL 8 and MariaDB let others read and write meanwhile."""
    if INDEX not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("requests")}:
        op.create_index(INDEX, "requests", ["occurred_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(INDEX, "requests")
