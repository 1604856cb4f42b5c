"""How many objects each content has, and indexes, so that a popular content costs what any other does.

Like the others, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

from itertools import pairwise

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_contents_shared": ("contents", ["shared", "bucket", "sha256"]),
    "ix_contents_format": ("contents", ["bucket", "format"]),
    "ix_images_published": ("images", ["bucket", "content_sha256", "published_state"]),
    "ix_images_size": ("images", ["bucket", "size"]),
}
_COUNT = """UPDATE contents SET objects = (SELECT count(*) FROM images WHERE images.bucket = contents.bucket
 AND images.content_sha256 = contents.sha256 AND images.etag IS NOT NULL) WHERE sha256 >= :first AND sha256 < :beyond"""
_PARTS = [*(f"{number:02x}" for number in range(256)), "g"]


def upgrade() -> None:
    """Add what is not there, and count."""
    bind = op.get_bind()
    found = sa.inspect(bind)
    columns = {column["name"] for column in found.get_columns("contents")}
    if "objects" not in columns:
        op.add_column("contents", sa.Column("objects", sa.BigInteger(), nullable=False, server_default="0"))
    for first, beyond in pairwise(_PARTS):
        bind.execute(sa.text(_COUNT), {"first": first, "beyond": beyond})
    if "shared" not in columns:
        op.add_column("contents", sa.Column("shared", sa.SmallInteger(), sa.Computed("objects > 1", persisted=False)))
    for name, (table, indexed) in _INDEXES.items():
        if name not in {index["name"] for index in found.get_indexes(table)}:
            op.create_index(name, table, indexed)


def downgrade() -> None:
    """Drop it all."""
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    op.drop_column("contents", "shared")
    op.drop_column("contents", "objects")
