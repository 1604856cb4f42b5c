"""A small indexed library: by default a catalog in SQLite's memory, objects and vectors in ours, a cheap embedder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from imaging.decoding import decode
from imaging.digest import digest_of
from imaging.embedding import Embedder
from imaging.histogram import HistogramEmbedder
from imaging.limits import DecodeLimits
from query_api.live_model import FixedModel, Model
from query_api.services import Ports
from schemas.records import ContentState, ObjectRef
from schemas.settings import DatabaseSettings
from schemas.tables import contents, images, metadata
from stores.catalog.engine import create_engine
from stores.catalog.reading.sql import SqlCatalogReader
from stores.objects.memory import MemoryObjects
from stores.objects.ports import ObjectWriter
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry, VectorIndex

BUCKET = "pictures"
COPY_THRESHOLD = 90.0
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def picture(seed: int, *, width: int = 96, height: int = 72, kind: str = "PNG", quality: int = 90) -> bytes:
    """A picture file of smooth random colours; each seed looks different."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, kind, quality=quality)
    return out.getvalue()


class IndexWriter:
    """Leaves behind what the workers would: objects, rows and vectors, in order of time."""

    def __init__(
        self, engine: AsyncEngine, objects: ObjectWriter, vectors: VectorIndex, embedder: Embedder, bucket: str = BUCKET
    ) -> None:
        self.engine = engine
        self.embedder = embedder
        self.bucket = bucket
        self.now = STARTED
        self._objects = objects
        self._vectors = vectors
        self._next_vector_id = 1000

    async def open(self) -> None:
        """Create the tables."""
        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    async def close(self) -> None:
        """Give the database back."""
        await self.engine.dispose()

    async def add(
        self,
        key: str,
        data: bytes,
        *,
        bucket: str | None = None,
        external_id: str | None = None,
        state: ContentState = ContentState.INDEXED,
        reason: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        with_vector: bool = True,
    ) -> str:
        """Put an object and index it; returns its image id."""
        self.now += timedelta(seconds=1)
        bucket = bucket or self.bucket
        ref = ObjectRef(bucket, key)
        etag = await self._objects.put(ref, data, content_type="image/png")
        digest = digest_of(data)
        await self._content(bucket, data, state, reason, with_vector=with_vector)
        values = {
            "id": ref.image_id, "bucket": bucket, "object_key": key, "external_id": external_id,
            "content_sha256": digest.sha256, "etag": etag, "size": len(data), "last_modified": self.now,
            "content_type": "image/png", "metadata": dict(user_metadata or {}), "reason": None, "version": 1,
            "published_version": 1, "created_at": self.now, "updated_at": self.now,
        }  # fmt: skip
        async with self.engine.begin() as connection:
            await connection.execute(delete(images).where(images.c.id == ref.image_id))
            await connection.execute(insert(images).values(values))
        return ref.image_id

    async def _content(
        self, bucket: str, data: bytes, state: ContentState, reason: str | None, *, with_vector: bool
    ) -> None:
        digest = digest_of(data)
        sha256, md5 = digest.sha256, digest.md5
        async with self.engine.begin() as connection:
            known = select(contents.c.sha256).where(contents.c.bucket == bucket, contents.c.sha256 == sha256)
            if (await connection.execute(known)).first():
                return
            self._next_vector_id += 1
            values: dict[str, Any] = {
                "bucket": bucket, "sha256": sha256, "md5": md5, "vector_id": self._next_vector_id,
                "state": str(state), "reason": reason, "version": 1, "nearest": [],
                "attempts": 0 if state is ContentState.INDEXED else 1, "created_at": self.now,
                "indexed_at": None if state is ContentState.PENDING else self.now,
            }  # fmt: skip
            if state is ContentState.INDEXED:
                decoded = decode(data, DecodeLimits(), self.embedder.pixel_spec)
                values |= {"width": decoded.width, "height": decoded.height, "format": decoded.format,
                           "model": self.embedder.model_id}  # fmt: skip
                if with_vector:
                    [vector] = self.embedder.embed([decoded.pixels])
                    await self._vectors.upsert([VectorEntry(self._next_vector_id, bucket, vector)])
            await connection.execute(insert(contents).values(values))

    async def remove(self, key: str) -> None:
        """Delete the object; its vector stays behind, as Milvus may still find it for a moment."""
        ref = ObjectRef(self.bucket, key)
        await self._objects.delete(ref)
        gone = update(images).where(images.c.id == ref.image_id)
        async with self.engine.begin() as connection:
            await connection.execute(gone.values(etag=None, content_sha256=None))

    async def reject_object(self, key: str, data: bytes, reason: str) -> str:
        """Put an object that is rejected for its own sake: no bytes were read, there is no content."""
        self.now += timedelta(seconds=1)
        ref = ObjectRef(self.bucket, key)
        etag = await self._objects.put(ref, data, content_type="image/png")
        values = {
            "id": ref.image_id, "bucket": self.bucket, "object_key": key, "etag": etag, "size": len(data),
            "last_modified": self.now, "content_type": "image/png", "metadata": {}, "reason": reason, "version": 1,
            "published_version": 1, "created_at": self.now, "updated_at": self.now,
        }  # fmt: skip
        async with self.engine.begin() as connection:
            await connection.execute(insert(images).values(values))
        return ref.image_id


class Library(IndexWriter):
    """A library in memory, with the ports that the service reads it through."""

    def __init__(self) -> None:
        embedder = HistogramEmbedder()
        self.objects = MemoryObjects([BUCKET, "other"])
        self.vectors = MemoryVectors(model_id=embedder.model_id, dimension=embedder.dimension)
        engine = create_engine(DatabaseSettings.model_validate({"url": "sqlite+aiosqlite:///:memory:"}))
        super().__init__(engine, self.objects, self.vectors, embedder)
        self.catalog = SqlCatalogReader(engine)

    @property
    def ports(self) -> Ports:
        """The reading ports."""
        model = FixedModel(Model(self.embedder, COPY_THRESHOLD))
        return Ports(self.catalog, self.vectors, self.objects, model, now=lambda: self.now)
