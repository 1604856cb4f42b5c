"""A small indexed library: by default a catalog in SQLite's memory, objects and vectors in ours, a cheap embedder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from PIL import Image
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from imaging.decoding import decode
from imaging.digest import digest_of
from imaging.embedding import Embedder
from imaging.histogram import HistogramEmbedder
from imaging.limits import DecodeLimits
from query_api.search.live_model import FixedModel, Model
from query_api.services import ReadingPorts
from query_api.sharing.gathered import GatheredVectors
from schemas.lifecycle import new_image
from schemas.records import ContentId, ContentRecord, ContentState, ObjectRef, Reason
from schemas.settings import DatabaseSettings
from schemas.tables import metadata
from stores.catalog.engine import create_engine
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.sql import SqlCatalog
from stores.objects.memory import MemoryObjects
from stores.objects.ports import ObjectWriter
from stores.vectors.memory import MemoryVectors
from stores.vectors.ports import VectorEntry, VectorIndex
from tests.harness.catalogs import store_content, store_image

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
        self._catalog = SqlCatalog(engine)
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
        image = replace(
            new_image(ref, self.now), external_id=external_id, sha256=digest.sha256, etag=etag, size=len(data),
            last_modified=self.now, content_type="image/png", metadata=dict(user_metadata or {}), version=1,
            published_version=1,
        )  # fmt: skip
        await store_image(self._catalog, image)
        return ref.image_id

    async def _content(
        self, bucket: str, data: bytes, state: ContentState, reason: str | None, *, with_vector: bool
    ) -> None:
        digest = digest_of(data)
        if await self._catalog.contents([ContentId(bucket, digest.sha256)]):
            return
        self._next_vector_id += 1
        content = ContentRecord(
            bucket, digest.sha256, vector_id=self._next_vector_id, md5=digest.md5, state=state, version=1,
            reason=Reason.parse(reason) if reason else None, attempts=0 if state is ContentState.INDEXED else 1,
            created_at=self.now, indexed_at=None if state is ContentState.PENDING else self.now,
            dirty_since=self.now if state is ContentState.PENDING else None,
        )  # fmt: skip
        if state is ContentState.INDEXED:
            decoded = decode(data, DecodeLimits(), self.embedder.pixel_spec)
            content = replace(content, width=decoded.width, height=decoded.height, format=decoded.format,
                              decoded_share=decoded.share, model=self.embedder.model_name)  # fmt: skip
            if with_vector:
                [vector] = self.embedder.embed([decoded.pixels])
                await self._vectors.upsert([VectorEntry(self._next_vector_id, bucket, vector)])
        await store_content(self._catalog, content)

    async def remove(self, key: str) -> None:
        """Delete the object; its vector stays behind, as Milvus may still find it for a moment."""
        ref = ObjectRef(self.bucket, key)
        await self._objects.delete(ref)
        await store_image(self._catalog, new_image(ref, self.now))

    async def reject_object(self, key: str, data: bytes, reason: str) -> str:
        """Put an object that is rejected for its own sake: no bytes were read, there is no content."""
        self.now += timedelta(seconds=1)
        ref = ObjectRef(self.bucket, key)
        etag = await self._objects.put(ref, data, content_type="image/png")
        image = replace(
            new_image(ref, self.now), etag=etag, size=len(data), last_modified=self.now, content_type="image/png",
            reason=Reason.parse(reason), version=1, published_version=1,
        )  # fmt: skip
        await store_image(self._catalog, image)
        return ref.image_id


@cache
def _schema() -> str:
    statements: list[str] = []
    engine = create_mock_engine(
        "sqlite://", lambda sql, *_: statements.append(str(sql.compile(dialect=sqlite.dialect())))
    )
    metadata.create_all(engine, checkfirst=False)
    return ";".join(statements)


class Library(IndexWriter):
    """A library in memory, with the ports that the service reads it through."""

    def __init__(self) -> None:
        embedder = HistogramEmbedder()
        self.objects = MemoryObjects([BUCKET, "other"])
        self.vectors = MemoryVectors(model_name=embedder.model_name, dimension=embedder.dimension)
        engine = create_engine(DatabaseSettings.model_validate({"url": "sqlite+aiosqlite:///:memory:"}))
        super().__init__(engine, self.objects, self.vectors, embedder)
        self.catalog = SqlCatalogReader(engine)

    async def open(self) -> None:
        """Create the tables, by a script: SQLAlchemy takes longer to say each of them than SQLite to make it."""
        async with self.engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.executescript(_schema())

    def _seconds(self) -> float:
        return self.now.timestamp()

    @property
    def ports(self) -> ReadingPorts:
        """The reading ports."""
        model = FixedModel(Model(self.embedder, COPY_THRESHOLD, GatheredVectors(self.vectors)))
        return ReadingPorts(
            self.catalog,
            self.vectors,
            self.objects,
            model,
            now=lambda: self.now,
            clock=self._seconds,
        )
