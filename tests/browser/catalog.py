"""A catalog for the page: pictures that the project paints, indexed into SQLite and memory stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from imaging.decoding import decode
from imaging.digest import Digest, digest_of
from imaging.embedding import Embedder
from imaging.limits import DecodeLimits
from schemas.lifecycle import published_state
from schemas.records import ContentRecord, ContentState, ImageRecord, ObjectRef, Reason
from schemas.tables import contents, images
from stores.catalog.rows import content_values, image_values
from stores.catalog.sql import SqlCatalog
from stores.objects.memory import MemoryObjects
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry

BUCKET = "pictures"
UNKNOWN_TYPE = "application/octet-stream"
NEWEST = datetime(2026, 6, 30, 12, tzinfo=UTC)
"""When the first picture was added; each later one in the list was added an hour before the one above it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An object to be in the bucket, and what became of it."""

    key: str
    data: bytes
    state: ContentState = ContentState.INDEXED
    reason: str | None = None


@dataclass(slots=True)
class Stores:
    """Where the query service will read from."""

    engine: AsyncEngine
    objects: MemoryObjects = field(default_factory=lambda: MemoryObjects([BUCKET]))
    vectors: MemoryVectors = field(default_factory=MemoryVectors)


@lru_cache(maxsize=256)
def _digest(data: bytes) -> Digest:
    """Large catalogs repeat the same bytes objects, whose hash Python keeps."""
    return digest_of(data)


def pictures_of(paths: Sequence[Path], prefix: str) -> list[Picture]:
    """Files as indexed pictures under a key prefix."""
    return [Picture(f"{prefix}{path.name}", path.read_bytes()) for path in paths]


async def fill(stores: Stores, pictures: Sequence[Picture], embedder: Embedder) -> None:
    """Put the pictures into the stores as the write side would have left them; equal bytes make one content."""
    rows: dict[str, ContentRecord] = {}
    records: list[ImageRecord] = []
    for number, picture in enumerate(pictures):
        created = NEWEST - timedelta(hours=number)
        sha256 = _digest(picture.data).sha256
        if sha256 not in rows:
            rows[sha256] = await _content(stores, picture, embedder, vector_id=number + 1, created=created)
        image = _image(stores.objects, picture, sha256, created)
        records.append(replace(image, published_state=published_state(image, rows[sha256])))
    content_rows = [{"bucket": row.bucket, "sha256": row.sha256, **content_values(row)} for row in rows.values()]
    image_rows = [
        {"id": row.id, "bucket": row.bucket, "object_key": row.key, **image_values(row)} for row in reversed(records)
    ]
    async with stores.engine.connect() as connection:
        # Nothing has to survive a crash here.
        await connection.exec_driver_sql("PRAGMA synchronous=OFF")
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.execute(insert(contents), content_rows)
        await connection.execute(insert(images), image_rows)
        await connection.commit()
    await SqlCatalog(stores.engine).recount()


async def _content(
    stores: Stores, picture: Picture, embedder: Embedder, *, vector_id: int, created: datetime
) -> ContentRecord:
    digest = _digest(picture.data)
    row = ContentRecord(
        BUCKET,
        digest.sha256,
        vector_id,
        picture.state,
        md5=digest.md5,
        reason=Reason.parse(picture.reason) if picture.reason else None,
        version=1,
        created_at=created,
    )
    if picture.state is ContentState.PENDING:
        return replace(row, dirty_since=created)
    if picture.state is ContentState.REJECTED:
        return row
    decoded = decode(picture.data, DecodeLimits(), embedder.pixel_spec)
    [vector] = embedder.embed([decoded.pixels])
    await stores.vectors.upsert([VectorEntry(vector_id, BUCKET, vector)])
    return replace(
        row,
        model=embedder.model_name,
        width=decoded.width,
        height=decoded.height,
        format=decoded.format,
        # The throughput chart looks at the last hour.
        indexed_at=datetime.now(UTC) - timedelta(minutes=vector_id % 50),
    )


def _image(objects: MemoryObjects, picture: Picture, sha256: str, created: datetime) -> ImageRecord:
    ref = ObjectRef(BUCKET, picture.key)
    stored = objects.put_now(ref, picture.data, content_type=guess_type(picture.key)[0] or UNKNOWN_TYPE)
    return ImageRecord(
        ref.image_id,
        ref.bucket,
        ref.key,
        sha256=sha256,
        etag=stored.etag,
        size=stored.size,
        last_modified=stored.last_modified,
        content_type=stored.content_type,
        metadata={"photographer": "Ada"},
        version=1,
        published_version=1,
        created_at=created,
        updated_at=created,
    )
