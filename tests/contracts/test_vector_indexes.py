"""The types of index over the vectors, on a real Milvus: choosing one, and changing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from pymilvus import AsyncMilvusClient

from ops.rebuild_index import run_rebuild_index
from schemas.collection import VECTOR_FIELD, collection_name, model_id_of
from schemas.errors import ConfigurationError, VectorIndexOutage
from schemas.settings import Settings, VectorIndexType, VectorSettings
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorEntry
from tests.harness.vectors import DIMENSION, MODEL, entries, random_ids
from tests.harness.waiting import until

pytestmark = pytest.mark.asyncio

STORED = entries(random_ids(1500))
"""Of fewer than 1,024 vectors Milvus makes no index."""


@pytest.fixture
def settings(milvus: str, milvus_alias: str) -> VectorSettings:
    """With HNSW, on a collection of this test's own."""
    return VectorSettings(uri=milvus, alias=milvus_alias)


@pytest_asyncio.fixture
async def vectors(settings: VectorSettings) -> AsyncIterator[MilvusVectors]:
    """A collection that holds `STORED` under an HNSW index."""
    index = MilvusVectors(settings)
    await index.ensure_collection(model_name=MODEL, dimension=DIMENSION)
    await index.upsert(STORED)
    await index.flush()
    yield index
    await index.close()


async def found(index: MilvusVectors, wanted: VectorEntry) -> bool:
    """Whether a search finds this vector first."""
    [hits] = await index.search([wanted.vector], limit=10, strong=True)
    return [hit.vector_id for hit in hits[:1]] == [wanted.vector_id]


def with_index(settings: VectorSettings, index: VectorIndexType) -> VectorSettings:
    """The same settings with another index; few clusters, as there are few vectors."""
    return settings.model_copy(update={"index": index, "ivf_nlist": 16, "ivf_nprobe": 16})


async def test_another_index_is_refused_and_searching_goes_on(settings: VectorSettings, vectors: MilvusVectors) -> None:
    """The setup says what to do; whoever has the new settings already searches the index that is there."""
    for changed in (with_index(settings, "IVF_SQ8"), settings.model_copy(update={"hnsw_m": 32})):
        other = MilvusVectors(changed)
        try:
            with pytest.raises(ConfigurationError, match=r"HNSW \(M 16, .*ask for .*twinlens rebuild-index"):
                await other.ensure_collection(model_name=MODEL, dimension=DIMENSION)
            assert await found(other, STORED[3])
        finally:
            await other.close()
    assert await found(vectors, STORED[3])


@pytest.mark.parametrize("index", ["IVF_SQ8", "SCANN"])
async def test_a_rebuilt_index_finds_what_is_stored(
    settings: VectorSettings, vectors: MilvusVectors, index: VectorIndexType
) -> None:
    """Other processes search on throughout: they meet outages or miss hits, and find everything afterwards.

    Vectors come back bit by bit also from an index that keeps them quantised, and the setup is content.
    """
    changed = with_index(settings, index)
    searching = asyncio.create_task(_search_on(vectors))
    assert (await run_rebuild_index(Settings(vectors=changed)))[1] == len(STORED)
    await until(lambda: found(vectors, STORED[3]), bool, through_outages=True)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    other = MilvusVectors(changed)
    try:
        await other.ensure_collection(model_name=MODEL, dimension=DIMENSION)
        assert await other.rows_indexed() == (len(STORED), len(STORED))
        assert all([await found(other, entry) for entry in STORED[::100]])
        got = await other.get([entry.vector_id for entry in STORED])
        assert all(np.array_equal(got[entry.vector_id], entry.vector) for entry in STORED)
    finally:
        await other.close()


async def test_a_rebuild_that_was_interrupted_can_be_repeated(settings: VectorSettings, vectors: MilvusVectors) -> None:
    """Also where the old index is gone, and the new one was never asked for."""
    name = collection_name(settings.alias, model_id_of(MODEL))
    client = AsyncMilvusClient(settings.uri)
    await client.release_collection(name)
    await client.drop_index(name, VECTOR_FIELD)
    await client.close()
    await run_rebuild_index(Settings(vectors=settings))
    await until(lambda: found(vectors, STORED[3]), bool, through_outages=True)


async def _search_on(index: MilvusVectors) -> None:
    """Search for ever; whatever is no outage ends it."""
    while True:
        try:
            await index.search([STORED[0].vector], limit=1)
        except VectorIndexOutage:
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("vectors")
async def test_among_few_vectors_the_nearest_are_found_wherever_they_lie(settings: VectorSettings) -> None:
    """An index of clusters looks into all of them then: in one of 64 most of the ten nearest would be missed."""
    changed = settings.model_copy(update={"index": "IVF_FLAT", "ivf_nlist": 64, "ivf_nprobe": 1})
    await run_rebuild_index(Settings(vectors=changed))
    few = STORED[::10]
    query = STORED[3].vector
    nearest = sorted(few, key=lambda entry: -float(entry.vector @ query))[:10]
    index = MilvusVectors(changed)
    try:
        [hits] = await index.search([query], limit=10, among=[entry.vector_id for entry in few], strong=True)
    finally:
        await index.close()
    assert [hit.vector_id for hit in hits] == [entry.vector_id for entry in nearest]
