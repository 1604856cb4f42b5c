"""How much there is of pictures whose files were cut short.

Like the others, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column if it is not there."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("contents")}
    if "decoded_share" not in columns:
        op.add_column("contents", sa.Column("decoded_share", sa.Double()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("contents", "decoded_share")
