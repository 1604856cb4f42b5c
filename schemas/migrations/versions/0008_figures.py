"""The state of each image as a column, and figures that are kept rather than counted.

Like the others, this step looks whether it was taken already: MySQL commits after each statement.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 50_000
_OPTIONS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB", "mysql_row_format": "DYNAMIC"}

_STATE = """CASE
 WHEN etag IS NULL THEN 'removed'
 WHEN reason IS NOT NULL THEN 'rejected'
 WHEN substr(published_state, 9, 64) = content_sha256 AND substr(published_state, 1, 8) = 'indexed:' THEN 'indexed'
 WHEN substr(published_state, 10, 64) = content_sha256 AND substr(published_state, 1, 9) = 'rejected:' THEN 'rejected'
 ELSE 'pending' END"""
"""What ``lifecycle.listed_state`` says, as it was when this was written."""


def upgrade() -> None:
    """Add what is not there, and count once."""
    bind = op.get_bind()
    found = sa.inspect(bind)
    if "state" not in {column["name"] for column in found.get_columns("images")}:
        op.add_column("images", sa.Column("state", _name(16)))
    _state_all(bind)
    indexes = {index["name"] for table in ("images", "contents") for index in found.get_indexes(table)}
    for name, table, columns in (
        ("ix_images_state", "images", ["state"]),
        ("ix_images_bucket_state", "images", ["bucket", "state"]),
        ("ix_contents_bucket_dirty_since", "contents", ["bucket", "dirty_since"]),
        ("ix_contents_bucket_vector_id", "contents", ["bucket", "vector_id"]),
    ):
        if name not in indexes:
            op.create_index(name, table, columns)
    if not found.has_table("count_changes"):
        op.create_table("count_changes", sa.Column("seq", _seq(), primary_key=True, autoincrement=True),
                        *_figure(key=False), sqlite_autoincrement=True, **_OPTIONS)  # fmt: skip
    if not found.has_table("counts"):
        op.create_table("counts", *_figure(key=True), **_OPTIONS)
    if not bind.scalar(sa.text("SELECT count(*) FROM counts")):
        _count(bind)


def downgrade() -> None:
    """Drop it all."""
    op.drop_table("counts")
    op.drop_table("count_changes")
    op.drop_index("ix_contents_bucket_vector_id", "contents")
    op.drop_index("ix_contents_bucket_dirty_since", "contents")
    op.drop_index("ix_images_bucket_state", "images")
    op.drop_index("ix_images_state", "images")
    op.drop_column("images", "state")


def _state_all(bind: sa.Connection) -> None:
    last = bind.scalar(sa.text("SELECT max(seq) FROM images")) or 0
    update = sa.text(f"UPDATE images SET state = {_STATE} WHERE seq > :after AND seq <= :upto AND state IS NULL")  # noqa: S608
    for after in range(0, last, _ROWS_AT_ONCE):
        bind.execute(update, {"after": after, "upto": after + _ROWS_AT_ONCE})


def _count(bind: sa.Connection) -> None:
    """Count all that is there, in one statement."""
    images = sa.table("images", *map(sa.column, ("bucket", "state", "size", "etag")), sa.column("reason", sa.String),
                      sa.column("published_state", sa.String))  # fmt: skip
    contents = sa.table("contents", sa.column("bucket"), sa.column("state"))
    reason = sa.func.coalesce(images.c.reason, sa.func.substr(images.c.published_state, 75))
    slug = sa.func.substr(reason, 1, sa.func.instr(reason + ":", ":") - 1)
    number, size = sa.func.count(), sa.func.sum(images.c.size)
    by_state = sa.select(sa.literal("images"), images.c.bucket, images.c.state, number, size)
    by_slug = sa.select(sa.literal("rejected"), images.c.bucket, slug, number, size)
    by_bucket = sa.select(sa.literal("contents"), contents.c.bucket, sa.literal(""), number, sa.literal(0))
    counted = sa.union_all(
        by_state.where(images.c.etag.is_not(None)).group_by(images.c.bucket, images.c.state),
        by_slug.where(images.c.state == "rejected").group_by(images.c.bucket, slug),
        by_bucket.where(contents.c.state != "deleting").group_by(contents.c.bucket),
    )
    columns = ["kind", "bucket", "label", "number", "bytes"]
    bind.execute(sa.insert(sa.table("counts", *map(sa.column, columns))).from_select(columns, counted))


def _figure(*, key: bool) -> list[sa.Column[object]]:
    return [
        sa.Column("kind", _name(16), primary_key=key, nullable=False),
        sa.Column("bucket", _name(63), primary_key=key, nullable=False),
        sa.Column("label", _name(64), primary_key=key, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
    ]


def _seq() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _name(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )
