"""When what can't be read is tried again: an object, or a content of which no object can be read.

Like the first, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("contents", "images")


def upgrade() -> None:
    """Add the columns, empty, and their indexes."""
    for table in _TABLES:
        inspector = sa.inspect(op.get_bind())
        if "retry_due" not in {column["name"] for column in inspector.get_columns(table)}:
            op.add_column(table, sa.Column("retry_due", _moment()))
        if f"ix_{table}_retry_due" not in {index["name"] for index in inspector.get_indexes(table)}:
            op.create_index(f"ix_{table}_retry_due", table, ["retry_due"])


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.drop_index(f"ix_{table}_retry_due", table)
        op.drop_column(table, "retry_due")


def _moment() -> sa.types.TypeEngine[Any]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
