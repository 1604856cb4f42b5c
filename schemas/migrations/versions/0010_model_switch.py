"""Which models are served while one takes the place of another, and which of two a content's vector is stored for.

Like the others, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _name(length: int) -> sa.types.TypeEngine[str]:
    bytewise = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(bytewise, "mysql", "mariadb")


def upgrade() -> None:
    """Add the column, and the table with its one row."""
    bind = op.get_bind()
    found = sa.inspect(bind)
    if "other_model" not in {column["name"] for column in found.get_columns("contents")}:
        op.add_column("contents", sa.Column("other_model", _name(64)))
    if "model_switch" not in found.get_table_names():
        op.create_table(
            "model_switch",
            sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
            sa.Column("version", sa.BigInteger(), nullable=False),
            sa.Column("state", _name(16), nullable=False),
            sa.Column("old", sa.JSON()),
            sa.Column("new", sa.JSON()),
            sa.Column("changed_at", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")),
            mysql_charset="utf8mb4",
            mysql_engine="InnoDB",
            mysql_row_format="DYNAMIC",
        )
    # The row that is locked has to be there before it is: a shared lock of nothing keeps nobody out.
    if not bind.execute(sa.text("SELECT count(*) FROM model_switch")).scalar():
        bind.execute(sa.text("INSERT INTO model_switch (id, version, state) VALUES (1, 0, 'idle')"))


def downgrade() -> None:
    """Drop both."""
    op.drop_table("model_switch")
    op.drop_column("contents", "other_model")
