"""The sequencer of the announcement after which an object was looked at, so that its repetition needs no second look.

Like the first, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty. MySQL 8 and MariaDB do that at once, however many rows there are."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("images")}
    if "sequencer" not in there:
        op.add_column("images", sa.Column("sequencer", _sequencer()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("images", "sequencer")


def _sequencer() -> sa.types.TypeEngine[str]:
    return sa.String(64).with_variant(mysql.VARCHAR(64, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
