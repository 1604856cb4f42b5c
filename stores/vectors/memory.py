"""Vectors in memory with exact cosines, for tests and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from copy import copy
from typing import Self

import numpy as np

from schemas.collection import ALIAS, collection_name, is_same_model, model_id_of
from schemas.errors import ConfigurationError, VectorIndexOutage
from stores.vectors.arguments import check_limit, checked_entries, checked_id, checked_vector, filterable_bucket
from stores.vectors.ports import LiveCollection, Vector, VectorEntry, VectorHit
from stores.vectors.whole import WholesOnly


class _Collection:
    """What is stored, and what searches that aren't strong see of it."""

    def __init__(self, model_name: str, dimension: int) -> None:
        self.model_name = model_name
        self.dimension = dimension
        self.entries: dict[int, VectorEntry] = {}
        self.settled: dict[int, VectorEntry] = {}


class _Server:
    """What several views share: the collections by name, and the one that the alias names."""

    def __init__(self) -> None:
        self.collections: dict[str, _Collection] = {}
        self.alias: str | None = None
        self.outage = False


class MemoryVectors(WholesOnly):
    """A VectorIndex in memory.

    ``outage`` makes every call raise VectorIndexOutage. With ``bounded_lag``, searches that aren't strong see the
    state of the last :meth:`settle`, as Milvus' bounded ones may. Given a model and a dimension, the collection is
    there from the start.
    """

    def __init__(
        self, *, model_name: str | None = None, dimension: int | None = None, bounded_lag: bool = False
    ) -> None:
        self.bounded_lag = bounded_lag
        self._server = _Server()
        self._pinned: str | None = None
        if model_name is not None and dimension is not None:
            self._server.alias = collection_name(ALIAS, model_id_of(model_name))
            self._server.collections[self._server.alias] = _Collection(model_name, dimension)

    @property
    def outage(self) -> bool:
        """Whether every call fails, of all views of this index."""
        return self._server.outage

    @outage.setter
    def outage(self, outage: bool) -> None:
        self._server.outage = outage

    def of(self, collection: str) -> Self:
        """See VectorIndex."""
        view = copy(self)
        view._pinned = collection  # noqa: SLF001 - it is of this class
        return view

    async def close(self) -> None:
        """Nothing is held."""

    def settle(self) -> None:
        """Let searches see all changes up to now."""
        collection = self._collection()
        collection.settled = dict(collection.entries)

    def present(self) -> dict[int, VectorEntry]:
        """What is stored right now, by id."""
        return dict(self._collection().entries)

    def lose(self, vector_id: int) -> None:
        """Lose a vector, as a damaged index does."""
        self._collection().entries.pop(vector_id, None)

    def collections(self) -> set[str]:
        """The names of all collections."""
        return set(self._server.collections)

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
        collection = await self._before()
        seen = self._seen(collection, strong=strong)
        ids = None if among is None else set(among)
        candidates = [
            entry
            for entry in seen.values()
            if (bucket is None or entry.bucket == bucket) and (ids is None or entry.vector_id in ids)
        ]
        vectors = [checked_vector(query, collection.dimension) for query in queries]
        await asyncio.sleep(0)
        return [_nearest(vector, candidates)[:limit] for vector in vectors]

    async def get(self, vector_ids: Sequence[int], *, strong: bool = True) -> Mapping[int, Vector]:
        """See VectorReader."""
        seen = self._seen(await self._before(), strong=strong)
        found = {number: seen[number].vector for number in vector_ids if number in seen}
        await asyncio.sleep(0)
        return found

    async def known(self, vector_ids: Collection[int]) -> set[int]:
        """See VectorIndex."""
        entries = (await self._before()).entries
        return {number for number in vector_ids if number in entries}

    async def count(self, bucket: str | None = None) -> int:
        """See VectorReader."""
        collection = await self._before()
        number = sum(bucket is None or entry.bucket == bucket for entry in collection.entries.values())
        await asyncio.sleep(0)
        return number

    async def check(self) -> None:
        """See VectorReader."""
        await self._before()

    async def model_name(self) -> str:
        """See VectorReader."""
        await asyncio.sleep(0)
        self._check_outage()
        name = self._pinned or self._server.alias
        if name not in self._server.collections:
            raise ConfigurationError("there is no collection of vectors; run `twinlens setup`")
        return self._server.collections[name].model_name

    async def live(self) -> LiveCollection:
        """See VectorReader."""
        await asyncio.sleep(0)
        self._check_outage()
        if self._server.alias is None:
            raise ConfigurationError("there is no collection of vectors; run `twinlens setup`")
        return LiveCollection(self._server.alias, self._server.collections[self._server.alias].model_name)

    async def upsert(self, entries: Sequence[VectorEntry]) -> None:
        """See VectorIndex."""
        collection = await self._before()
        for entry in checked_entries(entries, collection.dimension):
            collection.entries[entry.vector_id] = entry._replace(vector=entry.vector.copy())
        await asyncio.sleep(0)

    async def delete(self, vector_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        collection = await self._before()
        for vector_id in vector_ids:
            collection.entries.pop(checked_id(vector_id), None)
        await asyncio.sleep(0)

    async def ids(self, *, bucket: str, after: int = -1, page: int = 1000) -> AsyncIterator[Sequence[int]]:
        """See VectorIndex."""
        filterable_bucket(bucket)
        while True:
            entries = (await self._before()).entries
            rising = sorted(number for number, e in entries.items() if number > after and e.bucket == bucket)
            if not rising:
                return
            yield rising[:page]
            after = rising[:page][-1]

    async def ensure_collection(self, *, model_name: str, dimension: int) -> None:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        server = self._server
        self.make(server.alias or collection_name(ALIAS, model_id_of(model_name)), model_name, dimension)
        server.alias = server.alias or collection_name(ALIAS, model_id_of(model_name))
        await asyncio.sleep(0)

    async def create(self, collection: str, *, model_name: str, dimension: int) -> None:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        self.make(collection, model_name, dimension)
        await asyncio.sleep(0)

    def make(self, name: str, model_name: str, dimension: int) -> None:
        """Create a collection at once. Safe to repeat. Raises ConfigurationError as `create` does."""
        present = self._server.collections.setdefault(name, _Collection(model_name, dimension))
        if present.dimension != dimension or not is_same_model(present.model_name, model_name):
            raise ConfigurationError(
                f"the collection {name} is of model {present.model_name} with {present.dimension} dimensions, "
                f"not of {model_name} with {dimension}"
            )

    async def make_live(self, collection: str) -> None:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        if collection not in self._server.collections:
            raise VectorIndexOutage(f"there is no collection {collection}")
        self._server.alias = collection
        await asyncio.sleep(0)

    async def drop(self, collection: str) -> None:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        if collection == self._server.alias:
            raise ConfigurationError(f"the collection {collection} is the live one, which is not dropped")
        self._server.collections.pop(collection, None)
        await asyncio.sleep(0)

    async def has(self, collection: str) -> bool:
        """See VectorIndex."""
        await asyncio.sleep(0)
        self._check_outage()
        return collection in self._server.collections

    async def flush(self) -> None:
        """See VectorIndex. Nothing becomes visible by it."""
        await self._before()

    async def _before(self) -> _Collection:
        await asyncio.sleep(0)
        self._check_outage()
        return self._collection()

    def _collection(self) -> _Collection:
        name = self._pinned or self._server.alias
        if name not in self._server.collections:
            raise VectorIndexOutage("there is no collection of vectors; run `twinlens setup`")
        return self._server.collections[name]

    def _seen(self, collection: _Collection, *, strong: bool) -> dict[int, VectorEntry]:
        return collection.settled if self.bounded_lag and not strong else collection.entries

    def _check_outage(self) -> None:
        if self._server.outage:
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
