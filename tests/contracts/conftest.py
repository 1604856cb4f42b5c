"""Vector indexes on which nothing was set up: Milvus, the Milvus Lite server, the one in memory, and with views."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Final, Protocol

import pytest
import pytest_asyncio

from schemas.settings import VectorSettings
from stores.vectors.memory import MemoryVectors
from stores.vectors.milvus import MilvusVectors
from stores.vectors.ports import VectorIndex
from stores.vectors.views import VectorsWithViews
from tests.contracts.vector_servers import milvus_lite_server
from tests.harness.stack.process import free_port

BACKENDS: Final = ("memory", "milvus-lite", "milvus")


class ClosableIndex(VectorIndex, Protocol):
    """A vector index that can be closed."""

    async def close(self) -> None:
        """Give back connections."""


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a running Milvus Lite server."""
    port = free_port()
    server = milvus_lite_server(tmp_path_factory.mktemp("milvus-lite"), port)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


def _opened(backend: str, request: pytest.FixtureRequest) -> ClosableIndex:
    if backend == "memory":
        return MemoryVectors()
    if backend == "milvus-lite":
        uri = request.getfixturevalue("milvus_lite")
        return MilvusVectors(VectorSettings(uri=uri, alias=f"t{secrets.token_hex(6)}"))
    uri, alias = request.getfixturevalue("milvus"), request.getfixturevalue("milvus_alias")
    return MilvusVectors(VectorSettings(uri=uri, alias=alias))


@pytest_asyncio.fixture(params=BACKENDS)
async def plain(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    """An index that knows no views, on which nothing was set up."""
    index = _opened(request.param, request)
    yield index
    await index.close()


@pytest_asyncio.fixture(params=(*BACKENDS, "with-views"))
async def blank(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    """An index on which nothing was set up; one of them has views."""
    if request.param == "with-views":
        yield VectorsWithViews(MemoryVectors(), "quarters")
        return
    index = _opened(request.param, request)
    yield index
    await index.close()
