"""A joined row of an image and its content: the columns that people are shown, and no more.

Half of either table is the workers' bookkeeping (versions, due times, neighbours); to carry it through the driver took
longer than the query itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row

from schemas.records import ContentRecord, ContentState, ImageRecord, Reason
from schemas.tables import contents, images
from stores.catalog.reading.ports import CatalogImage

_IMAGE: Final = ("seq", "id", "bucket", "object_key", "external_id", "content_sha256", "etag", "size", "last_modified",
                 "content_type", "metadata", "reason", "created_at", "updated_at")  # fmt: skip
_CONTENT: Final = ("vector_id", "state", "md5", "reason", "attempts", "width", "height", "format", "indexed_at",
                   "decoded_share")  # fmt: skip

JOINED_COLUMNS: Final = (
    *(images.c[name] for name in _IMAGE),
    *(contents.c[name].label(f"content__{name}") for name in _CONTENT),
)
"""What :func:`joined_record` reads. Both tables have a ``reason`` and more, so those of the content have a prefix."""
IMAGE_COLUMNS: Final = len(_IMAGE)
"""How many of them are the image's."""
CONTENT_COLUMNS: Final = (contents.c.bucket, contents.c.sha256, *(contents.c[name] for name in _CONTENT))
"""What :func:`content_record` reads."""


def joined_record(row: Row[Any]) -> CatalogImage:
    """Image and content of a row that begins with ``JOINED_COLUMNS``. By place: names would be looked up row by row."""
    (
        seq, image_id, bucket, key, external_id, sha256, etag, size, last_modified, content_type, metadata, reason,
        created_at, updated_at,
    ) = row[: len(_IMAGE)]  # fmt: skip
    image = ImageRecord(
        id=image_id,
        bucket=bucket,
        key=key,
        seq=seq,
        external_id=external_id,
        sha256=sha256,
        etag=etag,
        size=size,
        last_modified=last_modified,
        content_type=content_type,
        metadata=metadata,
        reason=Reason.parse(reason) if reason else None,
        created_at=created_at,
        updated_at=updated_at,
    )
    values = row[len(_IMAGE) : len(JOINED_COLUMNS)]
    exists = values[0] is not None
    return CatalogImage(image, listed_content((bucket, sha256, *values)) if exists else None)


def listed_content(row: Sequence[Any]) -> ContentRecord:
    """The content of a row of ``CONTENT_COLUMNS``."""
    bucket, sha256, vector_id, state, md5, reason, attempts, width, height, kind, indexed_at, share = row
    return ContentRecord(
        bucket=bucket,
        sha256=sha256,
        vector_id=vector_id,
        state=ContentState(state),
        md5=md5,
        reason=Reason.parse(reason) if reason else None,
        attempts=attempts,
        width=width,
        height=height,
        format=kind,
        indexed_at=indexed_at,
        decoded_share=share,
    )
