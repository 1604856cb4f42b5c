"""The tables of the first release.

Each step looks first whether it was taken already: MySQL commits after each statement, so a setup that was killed half
way is finished by the next one.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OPTIONS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB", "mysql_row_format": "DYNAMIC"}


def _hex(length: int) -> Any:
    return sa.CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def _name(length: int) -> Any:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


def _key() -> Any:
    return sa.LargeBinary(1024).with_variant(mysql.VARBINARY(1024), "mysql", "mariadb")


def _moment() -> Any:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _seq() -> Any:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create what is not there."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for table, create in (
        ("contents", _create_contents),
        ("images", _create_images),
        ("requests", _create_requests),
        ("progress", _create_progress),
    ):
        if table not in there:
            create()
    _create_indexes()


def downgrade() -> None:
    """Drop everything, the images first, since they refer to the contents."""
    for table in ("progress", "requests", "images", "contents"):
        op.drop_table(table)


def _create_contents() -> None:
    op.create_table(
        "contents",
        sa.Column("bucket", _name(63), nullable=False),
        sa.Column("sha256", _hex(64), nullable=False),
        sa.Column("vector_id", sa.BigInteger(), nullable=False),
        sa.Column("state", _name(16), nullable=False),
        sa.Column("md5", _hex(32)),
        sa.Column("reason", _name(512)),
        sa.Column("limits", _name(128)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("model", _name(64)),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("dirty_since", _moment()),
        sa.Column("resend_due", _moment()),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("format", _name(16)),
        sa.Column("nearest", sa.JSON(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("indexed_at", _moment()),
        sa.Column("retired", sa.JSON()),
        sa.PrimaryKeyConstraint("bucket", "sha256"),
        sa.UniqueConstraint("vector_id", name="uq_contents_vector_id"),
        **_OPTIONS,
    )


def _create_images() -> None:
    op.create_table(
        "images",
        sa.Column("seq", _seq(), nullable=False, autoincrement=True),
        sa.Column("id", _hex(32), nullable=False),
        sa.Column("bucket", _name(63), nullable=False),
        sa.Column("object_key", _key(), nullable=False),
        sa.Column("external_id", _name(255)),
        sa.Column("content_sha256", _hex(64)),
        sa.Column("etag", _name(128)),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("last_modified", _moment()),
        sa.Column("content_type", _name(255), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("reason", _name(512)),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("published_version", sa.BigInteger(), nullable=False),
        sa.Column("published_state", _name(640)),
        sa.Column("publish_due", _moment()),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id", name="uq_images_id"),
        # The foreign key's own index comes with the table, so that MySQL makes none of its choosing.
        sa.ForeignKeyConstraint(
            ["bucket", "content_sha256"],
            ["contents.bucket", "contents.sha256"],
            name="fk_images_content",
            ondelete="RESTRICT",
        ),
        sqlite_autoincrement=True,
        **_OPTIONS,
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", _name(255), nullable=False),
        sa.Column("outcome", _name(16)),
        sa.Column("reason", _name(512)),
        sa.Column("image_id", _hex(32)),
        sa.Column("bucket", _name(63)),
        sa.Column("object_key", _key()),
        sa.Column("expected", sa.JSON()),
        sa.Column("occurred_at", _moment()),
        sa.Column("publish_due", _moment()),
        sa.Column("created_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
        **_OPTIONS,
    )


def _create_progress() -> None:
    op.create_table(
        "progress",
        sa.Column("name", _name(190), nullable=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        **_OPTIONS,
    )


def _create_indexes() -> None:
    for table, columns_of in {
        "contents": {
            "ix_contents_dirty_since": ["dirty_since"],
            "ix_contents_resend_due": ["resend_due"],
            "ix_contents_state": ["state"],
            "ix_contents_sha256": ["sha256"],
            "ix_contents_md5": ["md5"],
        },
        "images": {
            "ix_images_content": ["bucket", "content_sha256"],
            "ix_images_key": ["bucket", "object_key"],
            "ix_images_external_id": ["external_id"],
            "ix_images_publish_due": ["publish_due"],
            "ix_images_created_at": ["created_at"],
        },
        "requests": {"ix_requests_publish_due": ["publish_due"]},
    }.items():
        there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}
        for name, columns in columns_of.items():
            if name not in there:
                op.create_index(name, table, columns)
