"""Vectors in memory with exact cosines, for tests and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import numpy as np

from schemas.collection import is_same_model
from schemas.errors import ConfigurationError, VectorIndexOutage
from stores.vectors.arguments import check_limit, checked_bucket, checked_entries, checked_id, checked_vector
from stores.vectors.ports import Vector, VectorEntry, VectorHit


class MemoryVectors:
    """A VectorIndex in memory.

    ``outage`` makes every call raise VectorIndexOutage. With ``bounded_lag``, searches that aren't strong see the
    state of the last :meth:`settle`, as Milvus' bounded ones may. Given a model and a dimension, the collection is
    there from the start.
    """

    def __init__(
        self, *, model_name: str | None = None, dimension: int | None = None, bounded_lag: bool = False
    ) -> None:
        self.outage = False
        self.bounded_lag = bounded_lag
        self._model_name = model_name
        self._dimension = dimension
        self._entries: dict[int, VectorEntry] = {}
        self._settled: dict[int, VectorEntry] = {}

    async def close(self) -> None:
        """Nothing is held."""

    def settle(self) -> None:
        """Let searches see all changes up to now."""
        self._settled = dict(self._entries)

    def present(self) -> dict[int, VectorEntry]:
        """What is stored right now, by id."""
        return dict(self._entries)

    async def search(
        self,
        queries: Sequence[Vector],
        *,
        limit: int,
        bucket: str | None = None,
        among: Collection[int] | None = None,
        strong: bool = False,
    ) -> list[list[VectorHit]]:
        """See VectorReader."""
        check_limit(limit)
        dimension = await self._before()
        seen = self._settled if self.bounded_lag and not strong else self._entries
        ids = None if among is None else set(among)
        candidates = [
            entry
            for entry in seen.values()
            if (bucket is None or entry.bucket == bucket) and (ids is None or entry.vector_id in ids)
        ]
        vectors = [checked_vector(query, dimension) for query in queries]
        await asyncio.sleep(0)
        return [_nearest(vector, candidates)[:limit] for vector in vectors]

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """See VectorReader."""
        await self._before()
        seen = self._settled if self.bounded_lag and not strong else self._entries
        found = {number: seen[number].vector for number in vector_ids if number in seen}
        await asyncio.sleep(0)
        return found

    async def count(self, bucket: str | None = None) -> int:
        """See VectorReader."""
        await self._before()
        number = sum(bucket is None or entry.bucket == bucket for entry in self._entries.values())
        await asyncio.sleep(0)
        return number

    async def check(self) -> None:
        """See VectorReader."""
        await self._before()

    async def model_name(self) -> str:
        """See VectorReader."""
        await asyncio.sleep(0)
        self._check_outage()
        if self._model_name is None:
            raise ConfigurationError("there is no collection of vectors; run `twinlens setup`")
        return self._model_name

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """See VectorIndex."""
        dimension = await self._before()
        for entry in checked_entries(entries, dimension):
            self._entries[entry.vector_id] = entry._replace(vector=entry.vector.copy())
        await asyncio.sleep(0)

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        await self._before()
        for vector_id in vector_ids:
            self._entries.pop(checked_id(vector_id), None)
        await asyncio.sleep(0)

    async def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """See VectorIndex."""
        checked_bucket(bucket)
        while True:
            await self._before()
            rising = sorted(number for number, e in self._entries.items() if number > after and e.bucket == bucket)
            if not rising:
                return
            yield rising[:page]
            after = rising[:page][-1]

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        if self._dimension not in (None, dimension) or (
            self._model_name is not None and not is_same_model(self._model_name, model_name)
        ):
            raise ConfigurationError(
                f"the live collection is of model {self._model_name} with {self._dimension} dimensions, "
                f"not of {model_name} with {dimension}"
            )
        self._model_name, self._dimension = self._model_name or model_name, dimension
        await asyncio.sleep(0)

    async def flush(self) -> None:
        """See VectorIndex. Nothing becomes visible by it."""
        await self._before()

    async def _before(self) -> int:
        await asyncio.sleep(0)
        self._check_outage()
        if self._model_name is None or self._dimension is None:
            raise VectorIndexOutage("there is no collection of vectors; run `twinlens setup`")
        return self._dimension

    def _check_outage(self) -> None:
        if self.outage:
            raise VectorIndexOutage("the vector index is away")


def _nearest(query: Vector, entries: Sequence[VectorEntry]) -> list[VectorHit]:
    """All entries by falling cosine; equal ones by id, so that answers can be repeated."""
    if not entries:
        return []
    matrix = np.stack([entry.vector for entry in entries])
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    cosines = matrix @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    hits = [VectorHit(entry.vector_id, float(cosine)) for entry, cosine in zip(entries, cosines, strict=True)]
    return sorted(hits, key=lambda hit: (-hit.cosine, hit.vector_id))
