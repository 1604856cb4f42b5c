"""No query of a port reads more rows in a large catalog than it has to: each, on real MySQL, with 200,000 images."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas.settings import DatabaseSettings
from stores.catalog import figures
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.ports import Catalog, CatalogTransaction
from stores.catalog.reading.ports import CatalogReader, DuplicateReader, HitReader, ImageReader, StatisticsReader
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.sql import SqlCatalog
from tests.harness.large_catalog import fill, rows_read
from tests.harness.queries import QUERIES, Large, Query
from tests.harness.stack.fixtures import Servers, made_database

COUNT = 200_000
FACTOR, SLACK = 4, 60
"""A query may read so many rows for each that it returns, and so many more."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(servers: Servers) -> AsyncIterator[Large]:
    """Filled once, for the queries leave it as it is, or change a few rows."""
    with made_database(servers, "mysql", "flat") as url:
        await upgrade(url)
        engine = create_engine(DatabaseSettings.model_validate({"url": url, "pool_size": 1, "timeout_s": 600}))
        async with engine.connect() as connection:
            await fill(connection, COUNT)
        catalog = SqlCatalog(engine)
        async with catalog.transaction(repeatable=True) as tx:
            await figures.recount(tx, on_sqlite=False)
        yield Large(catalog, SqlCatalogReader(engine))
        await engine.dispose()


ASK_NOTHING = {"Catalog.transaction", "CatalogReader.close"}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_query_reads_about_what_it_returns(large: Large, name: str) -> None:
    """Each query of the ports, where the answer is in the middle of a large catalog."""
    for query in QUERIES[name]:
        returned_rows = 0

        async def ask(query: Query = query) -> None:
            nonlocal returned_rows
            returned_rows = await query(large)

        await ask()  # What is prepared once is not counted.
        read = await rows_read(large.catalog._engine, ask)
        assert read <= FACTOR * returned_rows + SLACK, f"query {QUERIES[name].index(query)}: {read} for {returned_rows}"


def test_every_query_of_the_ports_is_here() -> None:
    """A query that is added to a port without saying here what it reads fails."""
    ports = (CatalogTransaction, Catalog, ImageReader, HitReader, StatisticsReader, DuplicateReader, CatalogReader)
    asked = {f"{port.__name__}.{name}" for port in ports for name in vars(port) if not name.startswith("_")}
    assert asked == {*QUERIES, *ASK_NOTHING}
