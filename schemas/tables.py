"""The SQL tables, for MySQL 8 / MariaDB and SQLite. Alembic migrations in ``schemas/migrations`` create them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    JSON,
    BigInteger,
    Column,
    Computed,
    DateTime,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

from schemas.records import KEY_MAX_BYTES


class ObjectKey(TypeDecorator[str]):
    """An object key as its UTF-8 bytes: no collation may think that two different keys are one."""

    impl = LargeBinary(KEY_MAX_BYTES)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """VARBINARY on MySQL, so that it can be indexed; BLOB on SQLite."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.VARBINARY(KEY_MAX_BYTES))
        return dialect.type_descriptor(LargeBinary(KEY_MAX_BYTES))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode()


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in Python, UTC without a zone in the database, to the microsecond."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """MySQL keeps whole seconds unless told otherwise."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone can't be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


_Seq = BigInteger().with_variant(Integer, "sqlite")
_Ascii: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB", "mysql_row_format": "DYNAMIC"}


def _hex(length: int) -> Any:
    """Hexadecimal text, compared byte by byte."""
    return CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def _name(length: int) -> Any:
    """Short text that is compared byte by byte."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


metadata = MetaData()

contents = Table(
    "contents",
    metadata,
    Column("bucket", _name(63), primary_key=True),
    Column("sha256", _hex(64), primary_key=True),
    Column("vector_id", BigInteger, nullable=False),
    Column("state", _name(16), nullable=False),
    Column("md5", _hex(32)),
    Column("reason", _name(512)),
    Column("limits", _name(128)),
    Column("attempts", Integer, nullable=False),
    Column("model", _name(64)),
    Column("version", BigInteger, nullable=False),
    Column("dirty_since", UtcDateTime),
    Column("resend_due", UtcDateTime),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", _name(16)),
    Column("nearest", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("indexed_at", UtcDateTime),
    Column("retired", JSON),
    Column("retry_due", UtcDateTime),
    Column("objects", BigInteger, nullable=False, server_default="0"),
    Column("shared", SmallInteger, Computed("objects > 1", persisted=False)),
    Column("other_model", _name(64)),
    Column("decoded_share", Double),
    UniqueConstraint("vector_id", name="uq_contents_vector_id"),
    Index("ix_contents_dirty_since", "dirty_since"),
    Index("ix_contents_bucket_dirty_since", "bucket", "dirty_since"),
    Index("ix_contents_bucket_vector_id", "bucket", "vector_id"),
    Index("ix_contents_resend_due", "resend_due"),
    Index("ix_contents_state", "state"),
    Index("ix_contents_sha256", "sha256"),
    Index("ix_contents_md5", "md5"),
    Index("ix_contents_retry_due", "retry_due"),
    Index("ix_contents_shared", "shared", "bucket", "sha256"),
    Index("ix_contents_format", "bucket", "format"),
    **_Ascii,
)
"""``objects`` is a kept figure: how many images of objects refer to the content. See ``stores.catalog.figures``."""

images = Table(
    "images",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", _hex(32), nullable=False),
    Column("bucket", _name(63), nullable=False),
    Column("object_key", ObjectKey, nullable=False),
    Column("external_id", _name(255)),
    Column("content_sha256", _hex(64)),
    Column("etag", _name(128)),
    Column("size", BigInteger, nullable=False),
    Column("last_modified", UtcDateTime),
    Column("content_type", _name(255), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("reason", _name(512)),
    Column("sequencer", _name(64)),
    Column("version", BigInteger, nullable=False),
    Column("published_version", BigInteger, nullable=False),
    Column("published_state", _name(640)),
    Column("publish_due", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("retry_due", UtcDateTime),
    Column("state", _name(16)),
    UniqueConstraint("id", name="uq_images_id"),
    ForeignKeyConstraint(
        ["bucket", "content_sha256"],
        ["contents.bucket", "contents.sha256"],
        name="fk_images_content",
        ondelete="RESTRICT",
    ),
    Index("ix_images_content", "bucket", "content_sha256"),
    Index("ix_images_published", "bucket", "content_sha256", "published_state"),
    Index("ix_images_key", "bucket", "object_key"),
    Index("ix_images_external_id", "external_id"),
    Index("ix_images_publish_due", "publish_due"),
    Index("ix_images_created_at", "created_at"),
    Index("ix_images_state", "state"),
    Index("ix_images_bucket_state", "bucket", "state"),
    Index("ix_images_retry_due", "retry_due"),
    Index("ix_images_size", "bucket", "size"),
    sqlite_autoincrement=True,
    **_Ascii,
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", _name(255), primary_key=True),
    Column("outcome", _name(16)),
    Column("reason", _name(512)),
    Column("image_id", _hex(32)),
    Column("bucket", _name(63)),
    Column("object_key", ObjectKey),
    Column("expected", JSON),
    Column("occurred_at", UtcDateTime),
    Column("publish_due", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_requests_publish_due", "publish_due"),
    Index("ix_requests_occurred_at", "occurred_at"),
    **_Ascii,
)

progress = Table(
    "progress",
    metadata,
    Column("name", _name(190), primary_key=True),
    Column("position", JSON, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    **_Ascii,
)
"""Where a resumable job (reconcile) stands."""


def _figure(*, key: bool) -> tuple[Column[Any], ...]:
    return (
        Column("kind", _name(16), primary_key=key, nullable=False),
        Column("bucket", _name(63), primary_key=key, nullable=False),
        Column("label", _name(64), primary_key=key, nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
    )


model_switch = Table(
    "model_switch",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("state", _name(16), nullable=False),
    Column("old", JSON),
    Column("new", JSON),
    Column("changed_at", UtcDateTime),
    **_Ascii,
)
"""One row, which says which models are served. See ``schemas.model_switch``."""

counts = Table("counts", metadata, *_figure(key=True), **_Ascii)
"""Kept figures: how many images, and bytes of them, there are by state, and so on. See ``stores.catalog.figures``."""

count_changes = Table(
    "count_changes",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    *_figure(key=False),
    sqlite_autoincrement=True,
    **_Ascii,
)
"""What transactions have changed of the figures since those were last added up: each writes rows of its own, so that
no two wait for each other."""
