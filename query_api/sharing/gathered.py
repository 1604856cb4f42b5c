"""Catalog and vector index as many clients at once ask them: what they ask alike goes to the server as one question.

Eight searches in one call cost Milvus, and this process, a third of eight calls; with SQL it is half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from query_api.sharing.gathering import Gathering
from stores.catalog.reading.ports import CatalogImage, FoundContent, HitReader, ImageFilter, ImageReader
from stores.vectors.ports import LiveCollection, Vector, VectorHit, VectorReader

_MOST: Final = 16
_FEW: Final = 64
"""Ids of a question that is asked together with others; a longer one would keep them waiting."""


class _Look(NamedTuple):
    limit: int
    bucket: str | None
    by_views: bool = False


class GatheredVectors(VectorReader):
    """Strong questions and those among given ids go alone: they take long, and are seldom alike."""

    def __init__(self, vectors: VectorReader) -> None:
        self._vectors = vectors
        self._searches = Gathering(self._search, most=_MOST)
        self._gets = Gathering(self._get, most=_MOST)

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        if strong or among is not None:
            return await self._vectors.search(queries, limit=limit, bucket=bucket, among=among, strong=strong)
        look = _Look(limit, bucket)
        return await asyncio.gather(*[self._searches.ask(look, query) for query in queries])

    async def search_all(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        if strong or among is not None:
            return await self._vectors.search_all(queries, limit=limit, bucket=bucket, among=among, strong=strong)
        look = _Look(limit, bucket, by_views=True)
        return await asyncio.gather(*[self._searches.ask(look, query) for query in queries])

    async def _search(self, look: _Look, queries: Sequence[Vector]) -> Sequence[list[VectorHit]]:
        search = self._vectors.search_all if look.by_views else self._vectors.search
        return await search(queries, limit=look.limit, bucket=look.bucket)

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        if strong or len(vector_ids) > 1:
            return await self._vectors.get(vector_ids, strong=strong)
        vectors = [await self._gets.ask(None, vector_id) for vector_id in vector_ids]
        return {vector_id: vector for vector_id, vector in zip(vector_ids, vectors, strict=True) if vector is not None}

    async def _get(self, _key: None, vector_ids: Sequence[int]) -> Sequence[Vector | None]:
        found = await self._vectors.get(vector_ids, strong=False)
        return [found.get(vector_id) for vector_id in vector_ids]

    async def count(self, bucket: str | None = None) -> int:
        return await self._vectors.count(bucket)

    async def check(self) -> None:
        await self._vectors.check()

    async def live(self) -> LiveCollection:
        return await self._vectors.live()

    def of(self, collection: str) -> GatheredVectors:
        return GatheredVectors(self._vectors.of(collection))

    async def model_name(self) -> str:
        return await self._vectors.model_name()


class _Sought(NamedTuple):
    vector_ids: Collection[int]
    digests: Collection[str]


class GatheredCatalog:
    """What searches ask of the catalog; the two questions that every search has are gathered."""

    def __init__(self, catalog: _Catalog) -> None:
        self._catalog = catalog
        self._images = Gathering(self._find_images, most=_MOST)
        self._hits = Gathering(self._find_hits, most=_MOST)

    async def image(self, image_id: str) -> CatalogImage | None:
        """See ImageReader."""
        return await self._images.ask(None, image_id)

    async def _find_images(self, _key: None, image_ids: Sequence[str]) -> Sequence[CatalogImage | None]:
        found = await self._catalog.images(image_ids)
        return [found.get(image_id) for image_id in image_ids]

    async def hits(
        self, vector_ids: Collection[int], digests: Collection[str], where: ImageFilter
    ) -> Sequence[FoundContent]:
        """See HitReader."""
        if len(vector_ids) > _FEW:
            return await self._catalog.hits(vector_ids, digests, where)
        return await self._hits.ask(where, _Sought(vector_ids, digests))

    async def _find_hits(self, where: ImageFilter, sought: Sequence[_Sought]) -> Sequence[Sequence[FoundContent]]:
        found = await self._catalog.hits(
            {vector_id for each in sought for vector_id in each.vector_ids},
            {digest for each in sought for digest in each.digests},
            where,
        )
        return [
            [hit for hit in found if hit.content.vector_id in each.vector_ids or hit.content.sha256 in each.digests]
            for each in sought
        ]

    async def vector_ids(self, where: ImageFilter, *, limit: int) -> Sequence[int]:
        """See HitReader."""
        return await self._catalog.vector_ids(where, limit=limit)


class _Catalog(ImageReader, HitReader, Protocol):
    """What is needed of it."""
