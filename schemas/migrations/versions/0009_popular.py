"""An index that finds what was not published yet of a content, however many images refer to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES = {"ix_images_published": ("images", ["bucket", "content_sha256", "published_state"])}


def upgrade() -> None:
    """Add those that are not there: MySQL commits after each statement."""
    found = sa.inspect(op.get_bind())
    for name, (table, columns) in _INDEXES.items():
        if name not in {index["name"] for index in found.get_indexes(table)}:
            op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop them."""
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
