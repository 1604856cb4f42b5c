"""The parts of a search, bare: what it would take if the query service itself cost nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.ceiling import embedder_of
from bench.running import Place
from imaging.decoding import decode
from imaging.digest import digest_of
from imaging.embedding import Embedder
from imaging.limits import DecodeLimits
from schemas.records import ObjectRef
from schemas.settings import Settings
from stores.catalog.reading.ports import ImageFilter, ImageOrder
from stores.catalog.reading.sql import SqlCatalogReader, open_reader
from stores.vectors.milvus import MilvusVectors

NEAREST = 37
"""Hits that a search for 20 asks the index for."""
LISTED = 51
"""Rows that a list of 50 reads."""


@dataclass(slots=True)
class Laps:
    """Milliseconds by part."""

    spent: dict[str, list[float]] = field(default_factory=dict)
    _begun: float = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def lap(self, part: str) -> None:
        """What has passed since the last lap was this part's."""
        now = time.perf_counter()
        self.spent.setdefault(part, []).append(1000 * (now - self._begun))
        self._begun = now

    def medians(self) -> dict[str, float]:
        """By part, and ``sum`` of all parts of one piece."""
        whole = [sum(parts) for parts in zip(*self.spent.values(), strict=True)]
        return {part: statistics.median(spent) for part, spent in {**self.spent, "sum": whole}.items()}


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports of a query service, and its embedder."""

    vectors: MilvusVectors
    catalog: SqlCatalogReader
    embedder: Embedder

    async def of_upload(self, pictures: Sequence[bytes]) -> dict[str, float]:
        """Median milliseconds of decode, embed, vectors, sql and their sum, one picture after the other."""
        laps = Laps()
        for data in pictures:
            laps.begin()
            pixels, digest = decode(data, DecodeLimits(), self.embedder.pixel_spec).pixels, digest_of(data)
            laps.lap("decode")
            [vector] = self.embedder.embed([pixels])
            laps.lap("embed")
            [hits] = await self.vectors.search([vector], limit=NEAREST)
            laps.lap("vectors")
            await self.catalog.hits([hit.vector_id for hit in hits], [digest.sha256], ImageFilter())
            laps.lap("sql")
        return laps.medians()

    async def of_id(self, images: Sequence[ObjectRef]) -> dict[str, float]:
        """The same for indexed pictures by id: image, vector, vectors, sql and their sum."""
        laps = Laps()
        for ref in images:
            laps.begin()
            found = await self.catalog.image(ref.image_id)
            if found is None or found.content is None:
                raise ValueError(f"{ref} is not indexed")
            laps.lap("image")
            stored = await self.vectors.get([found.content.vector_id], strong=False)
            laps.lap("vector")
            [hits] = await self.vectors.search(list(stored.values()), limit=NEAREST)
            laps.lap("vectors")
            await self.catalog.hits([hit.vector_id for hit in hits], [found.content.id.sha256], ImageFilter())
            laps.lap("sql")
        return laps.medians()

    async def of_list(self, times: int) -> dict[str, float]:
        """The same for a page of the list: sql and its sum."""
        laps = Laps()
        for _ in range(times):
            laps.begin()
            await self.catalog.page(ImageFilter(), order=ImageOrder.NEWEST, after=None, limit=LISTED)
            laps.lap("sql")
        return laps.medians()


@asynccontextmanager
async def parts(place: Place, null_model_ms: float | None) -> AsyncIterator[Parts]:
    """The parts on an installation's servers, warm."""
    settings = Settings.model_validate(
        {"database": {"url": place.database}, "vectors": {"uri": place.milvus, "alias": place.alias}}
    )
    embedder = embedder_of(settings, null_model_ms)
    found = Parts(MilvusVectors(settings.vectors), open_reader(settings.database), embedder)
    try:
        await found.vectors.check()
        await found.catalog.check()
        yield found
    finally:
        await found.vectors.close()
        await found.catalog.close()
