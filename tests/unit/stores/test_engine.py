"""The SQL engine's own limits."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from schemas.errors import CatalogOutage
from schemas.settings import DatabaseSettings
from stores.catalog import engine
from stores.catalog.sql import SqlCatalog


async def test_a_database_that_never_answers_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts the connection and says nothing: no statement waits for ever."""
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT_S", 0.1)
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = SecretStr(f"mysql+asyncmy://nobody:none@127.0.0.1:{port}/none")
        catalog = SqlCatalog(engine.create_engine(DatabaseSettings(url=url)))
        async with asyncio.timeout(10):
            with pytest.raises(CatalogOutage):
                await catalog.progress("anything")
            await left.wait()
        await catalog.close()
