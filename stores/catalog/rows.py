"""Between table rows and records."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping

from schemas.records import ContentRecord, ContentState, ImageRecord, Neighbour


def image_record(row: RowMapping) -> ImageRecord:
    """A row of ``images`` as a record."""
    return ImageRecord(
        id=row["id"],
        bucket=row["bucket"],
        key=row["object_key"],
        seq=row["seq"],
        external_id=row["external_id"],
        sha256=row["content_sha256"],
        etag=row["etag"],
        size=row["size"],
        last_modified=row["last_modified"],
        content_type=row["content_type"],
        metadata=row["metadata"],
        reason=row["reason"],
        version=row["version"],
        published_version=row["published_version"],
        published_state=row["published_state"],
        publish_due=row["publish_due"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def image_values(image: ImageRecord) -> dict[str, Any]:
    """The columns that saving an image writes: all but identity and ``seq``."""
    return {
        "external_id": image.external_id,
        "content_sha256": image.sha256,
        "etag": image.etag,
        "size": image.size,
        "last_modified": image.last_modified,
        "content_type": image.content_type,
        "metadata": dict(image.metadata),
        "reason": image.reason,
        "version": image.version,
        "published_version": image.published_version,
        "published_state": image.published_state,
        "publish_due": image.publish_due,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
    }


def content_record(row: RowMapping) -> ContentRecord:
    """A row of ``contents`` as a record."""
    return ContentRecord(
        bucket=row["bucket"],
        sha256=row["sha256"],
        vector_id=row["vector_id"],
        state=ContentState(row["state"]),
        md5=row["md5"],
        reason=row["reason"],
        limits=row["limits"],
        attempts=row["attempts"],
        model=row["model"],
        version=row["version"],
        dirty_since=row["dirty_since"],
        resend_due=row["resend_due"],
        width=row["width"],
        height=row["height"],
        format=row["format"],
        nearest=tuple(Neighbour(entry["sha256"], entry["score"]) for entry in row["nearest"]),
        created_at=row["created_at"],
        indexed_at=row["indexed_at"],
        retired=tuple(row["retired"] or ()),
    )


def content_values(content: ContentRecord) -> dict[str, Any]:
    """The columns that saving a content writes: all but its identity."""
    return {
        "vector_id": content.vector_id,
        "state": str(content.state),
        "md5": content.md5,
        "reason": content.reason,
        "limits": content.limits,
        "attempts": content.attempts,
        "model": content.model,
        "version": content.version,
        "dirty_since": content.dirty_since,
        "resend_due": content.resend_due,
        "width": content.width,
        "height": content.height,
        "format": content.format,
        "nearest": [{"sha256": near.sha256, "score": near.score} for near in content.nearest],
        "created_at": content.created_at,
        "indexed_at": content.indexed_at,
        "retired": list(content.retired),
    }
