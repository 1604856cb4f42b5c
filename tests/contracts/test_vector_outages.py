"""Milvus and Milvus Lite killed and started again under an adapter that is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.collection import collection_name, model_id_of
from schemas.errors import ConfigurationError, VectorIndexOutage
from schemas.settings import VectorSettings
from stores.vectors.memory import MemoryVectors
from stores.vectors.milvus import MilvusVectors
from tests.contracts.vector_servers import milvus_lite_server
from tests.harness.stack.process import ServerProcess, free_port
from tests.harness.stack.stack import Stack
from tests.harness.vectors import DIMENSION, MODEL, all_ids, entries, random_ids
from tests.harness.waiting import silent_port, until

pytestmark = pytest.mark.asyncio

TIMEOUT_S = 5.0


@pytest_asyncio.fixture(params=["milvus-lite", "milvus"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, str]]:
    """A server of the test's own, running, and its URI."""
    if request.param == "milvus":
        stack = Stack(tmp_path)
        process, uri = stack.process("milvus"), stack.addresses.milvus
    else:
        port = free_port()
        process, uri = milvus_lite_server(tmp_path, port), f"http://127.0.0.1:{port}"
    process.start()
    yield process, uri
    process.stop()


async def test_a_killed_server_is_an_outage_and_its_return_is_noticed(server: tuple[ServerProcess, str]) -> None:
    """While it is away every call is an outage, soon; once it is back the same adapter goes on, with all its data."""
    process, uri = server
    index = MilvusVectors(VectorSettings(uri=uri, alias="killed", timeout_s=TIMEOUT_S))
    await until(lambda: index.ensure_collection(model_name=MODEL, dimension=DIMENSION), through_outages=True)
    stored = entries(random_ids(200))
    await until(lambda: index.upsert(stored), through_outages=True)

    process.kill()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: index.search([stored[0].vector], limit=1),
        lambda: index.upsert(stored[:1]),
        lambda: index.delete([1]),
        lambda: index.get([1]),
        index.count,
        index.check,
        index.model_name,
        index.flush,
    ]
    started = time.monotonic()
    for call in calls:
        with pytest.raises(VectorIndexOutage):
            await call()
    answers = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    assert [type(answer) for answer in answers] == [VectorIndexOutage] * len(calls)
    assert time.monotonic() - started < 2 * TIMEOUT_S

    process.start()
    [hits] = await until(lambda: index.search([stored[3].vector], limit=1, strong=True), through_outages=True)
    assert hits[0].vector_id == stored[3].vector_id
    await until(lambda: index.upsert(entries([77], seed=9)), through_outages=True)
    found = await until(lambda: all_ids(index, "pictures"), through_outages=True)
    assert found == sorted([77, *(entry.vector_id for entry in stored)])
    await index.close()


async def test_a_collection_that_is_gone_or_not_loaded_is_an_outage(server: tuple[ServerProcess, str]) -> None:
    """A released collection is loaded again; without alias or collection calls wait, until somebody makes them anew."""
    _, uri = server
    index = MilvusVectors(VectorSettings(uri=uri, alias="lost", timeout_s=TIMEOUT_S))
    await until(lambda: index.ensure_collection(model_name=MODEL, dimension=DIMENSION), through_outages=True)
    [stored] = entries([1])
    await until(lambda: index.upsert([stored]), through_outages=True)
    client = await index._connected()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: index.search([stored.vector], limit=1, strong=True),
        lambda: index.upsert([stored]),
        lambda: index.delete([2]),
        lambda: index.get([1]),
        lambda: index.ids(bucket="pictures").__anext__(),
    ]

    await client.release_collection("lost")
    for call in calls:
        await until(call, through_outages=True)

    for dropped in (client.drop_alias("lost"), client.drop_collection(collection_name("lost", model_id_of(MODEL)))):
        await dropped
        for call in calls:
            with pytest.raises(VectorIndexOutage):
                await call()
        with pytest.raises(ConfigurationError, match="twinlens setup"):
            await index.model_name()
    await until(lambda: index.ensure_collection(model_name=MODEL, dimension=DIMENSION), through_outages=True)
    await until(lambda: index.upsert([stored]), through_outages=True)
    await index.close()


async def test_a_server_that_was_never_there_is_an_outage() -> None:
    """An adapter can be made without its server, and each call says that it is away."""
    index = MilvusVectors(VectorSettings(uri=f"http://127.0.0.1:{free_port()}", timeout_s=TIMEOUT_S))
    with pytest.raises(VectorIndexOutage):
        await index.check()
    with pytest.raises(VectorIndexOutage):
        await index.model_name()
    await index.close()


async def test_a_server_that_hangs_is_an_outage_after_the_time_limit() -> None:
    """A port that accepts and never answers ends in an outage, not in waiting for ever."""
    with silent_port() as port:
        index = MilvusVectors(VectorSettings(uri=f"http://127.0.0.1:{port}", timeout_s=0.5))
        with pytest.raises(VectorIndexOutage):
            await asyncio.wait_for(index.check(), 5)
        await index.close()


async def test_the_memory_index_can_be_away_too() -> None:
    """The switch `outage` makes every call an outage, and nothing is lost by it."""
    index = MemoryVectors(model_name=MODEL, dimension=DIMENSION)
    await index.upsert(entries([1, 2]))
    index.outage = True
    for call in (index.count, index.check, index.model_name, index.flush):
        with pytest.raises(VectorIndexOutage):
            await call()
    index.outage = False
    assert await index.count() == 2


async def test_the_memory_index_can_lag() -> None:
    """With `bounded_lag`, searches that aren't strong see what was there at the last `settle`."""
    index = MemoryVectors(model_name=MODEL, dimension=DIMENSION, bounded_lag=True)
    [entry] = entries([1])
    await index.upsert([entry])
    assert await index.search([entry.vector], limit=1) == [[]]
    assert len((await index.search([entry.vector], limit=1, strong=True))[0]) == 1
    index.settle()
    await index.delete([1])
    assert len((await index.search([entry.vector], limit=1))[0]) == 1
