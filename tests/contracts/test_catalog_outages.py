"""The SQL catalog when the database is away, refuses, or asks for the transaction again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text

from schemas.errors import CatalogContention, CatalogOutage
from schemas.settings import DatabaseSettings
from stores.catalog.engine import create_engine
from stores.catalog.migrate import upgrade
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import (
    INDEXED,
    PENDING,
    add_content,
    add_image,
    content_id,
    database_url,
    image_of,
    lock_image,
    sql_catalog,
)
from tests.harness.stack.cleanup import in_own_loop, run_sql
from tests.harness.stack.process import free_port
from tests.harness.stack.stack import DATABASES, DatabaseName, Stack
from tests.harness.waiting import silent_port, until


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that has its schema and no rows, on each kind of server."""
    return database_url(request.param, request, tmp_path)


@pytest_asyncio.fixture
async def catalog(url: str) -> AsyncIterator[SqlCatalog]:
    """An empty catalog there."""
    async with sql_catalog(url) as opened:
        yield opened


@pytest.fixture(params=DATABASES)
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mortal]:
    """A server of this test's own, to be killed and started again."""
    stack = Stack(tmp_path, database=request.param)
    try:
        stack.start(request.param)
        in_own_loop(run_sql(stack.addresses.database, "CREATE DATABASE mortal CHARACTER SET utf8mb4"))
        yield Mortal(stack, request.param)
    finally:
        stack.stop()


@dataclass(frozen=True)
class Mortal:
    """A database server that may be killed."""

    stack: Stack
    name: DatabaseName

    @property
    def url(self) -> str:
        """The URL of an empty database on it."""
        return self.stack.addresses.database_url("mortal")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.stack.kill(self.name)

    def start(self) -> None:
        """Bring it back."""
        self.stack.start(self.name)


async def test_waiting_too_long_for_a_lock_is_an_outage(url: str) -> None:
    """Error 1205 asks to run the transaction again."""
    async with sql_catalog(url) as catalog:
        await add_image(catalog, "k")
        impatient = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(url), timeout_s=2)))
        async with catalog.transaction() as tx:
            await lock_image(tx, "k")
            with pytest.raises(CatalogContention, match="1205"):
                await add_image(impatient, "k")
        await impatient.close()


@pytest.mark.parametrize("code", [3, 1021, 1026, 1030, 1040, 1114, 1203, 1290, 1836])
async def test_a_full_disk_and_a_read_only_server_are_outages(catalog: SqlCatalog, code: int) -> None:
    """Nobody's work is given up because of the server's state: each such error is waited out."""
    async with catalog.transaction() as tx:
        with pytest.raises(CatalogOutage, match=str(code)):
            await tx.write(
                text(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'as the server does'")
            )


async def test_a_statement_that_takes_too_long_is_an_outage(url: str) -> None:
    """The server itself ends it after `database.timeout_s`."""
    hasty = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(url), timeout_s=1)))
    with pytest.raises(CatalogOutage):
        await hasty.rows(text("SELECT 1 FROM (SELECT 1) AS one WHERE SLEEP(20)"))
    assert len(await hasty.rows(text("SELECT 1"))) == 1
    await hasty.close()


async def test_a_server_that_never_answers_is_an_outage_after_the_time_limit() -> None:
    """A port that accepts and is silent ends in an outage, not in waiting for ever."""
    with silent_port() as port:
        url = SecretStr(f"mysql+asyncmy://u:p@127.0.0.1:{port}/twinlens")
        catalog = SqlCatalog(create_engine(DatabaseSettings(url=url, timeout_s=0.5)))
        with pytest.raises(CatalogOutage):
            await asyncio.wait_for(image_of(catalog, "k"), 5)
        await catalog.close()


async def test_mysql_reads_what_was_committed_meanwhile(catalog: SqlCatalog) -> None:
    """READ COMMITTED: who waited for a lock sees what the one before it committed, in plain reads too."""
    await add_content(catalog, "a")
    async with catalog.transaction() as tx:
        before = await tx.contents([content_id("a")])
        await add_content(catalog, "a", state=INDEXED)
        after = await tx.contents([content_id("a")])
    assert [row.state for row in (*before.values(), *after.values())] == [PENDING, INDEXED]


async def test_a_killed_connection_is_an_outage_and_the_next_one_works(catalog: SqlCatalog) -> None:
    """A connection that an operator ends takes its transaction along, and nothing else."""
    with pytest.raises(CatalogOutage):
        await _insert_on_a_killed_connection(catalog)
    await add_image(catalog, "k", size=2)
    image = await image_of(catalog, "k")
    assert image is not None
    assert image.size == 2


async def _insert_on_a_killed_connection(catalog: SqlCatalog) -> None:
    async with catalog.transaction() as tx:
        await lock_image(tx, "k")
        number = (await tx.connection.execute(text("SELECT CONNECTION_ID()"))).scalar_one()
        async with catalog._engine.connect() as other:
            await other.execute(text(f"KILL {number}"))
        await lock_image(tx, "k2")


async def test_connections_that_were_closed_while_idle_are_replaced(catalog: SqlCatalog) -> None:
    """Neither a read nor a transaction notices that the server has closed every connection of the pool meanwhile."""
    await asyncio.gather(*[add_image(catalog, f"k{number}", size=number) for number in range(3)])
    await _kill_idle_connections(catalog)
    image = await image_of(catalog, "k1")
    assert image is not None
    assert image.size == 1
    await asyncio.gather(*[image_of(catalog, "k1") for _ in range(3)])
    await _kill_idle_connections(catalog)
    await add_image(catalog, "k1", size=9)
    await catalog.check()


async def _kill_idle_connections(catalog: SqlCatalog) -> None:
    """By one of its connections, which it gives up then."""
    others = text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
    async with catalog._engine.connect() as connection:
        numbers = (await connection.execute(others)).scalars().all()
        assert numbers
        for number in numbers:
            await connection.execute(text(f"KILL {number}"))
        await connection.invalidate()


async def test_a_server_killed_within_a_transaction_is_an_outage_and_recovers(mortal: Mortal) -> None:
    """What was not committed is gone, what was committed is there, and the same catalog works again by itself."""
    await upgrade(mortal.url)
    async with sql_catalog(mortal.url) as catalog:
        await add_image(catalog, "before", size=1)
        with pytest.raises(CatalogOutage):
            await _kill_within(catalog, mortal)
        with pytest.raises(CatalogOutage):
            await image_of(catalog, "before")
        with pytest.raises(CatalogOutage):
            await catalog.check()
        await asyncio.to_thread(mortal.start)
        await until(catalog.check, seconds=30, through_outages=True)
        before = await image_of(catalog, "before")
        assert before is not None
        assert before.size == 1
        assert await image_of(catalog, "during") is None


async def _kill_within(catalog: SqlCatalog, server: Mortal) -> None:
    async with catalog.transaction() as tx:
        await lock_image(tx, "during")
        await asyncio.to_thread(server.kill)
        # The first call may find the connection closed, the last one certainly does.
        await lock_image(tx, "during")


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    """Refused connections are waited out."""
    catalog = SqlCatalog(
        create_engine(DatabaseSettings(url=SecretStr(f"mysql+asyncmy://u:p@127.0.0.1:{free_port()}/twinlens")))
    )
    for call in (catalog.check(), image_of(catalog, "k"), add_image(catalog, "k")):
        with pytest.raises(CatalogOutage):
            await call
    await catalog.close()


async def test_a_crowd_waits_for_a_connection_instead_of_failing(url: str) -> None:
    """More transactions at once than the pool has connections all come through."""
    async with sql_catalog(url, pool_size=2) as catalog:
        await asyncio.gather(*[add_image(catalog, f"k{number}") for number in range(40)])
        assert await catalog.count_images("pictures") == 40


async def test_a_locked_sqlite_file_is_an_outage(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Another process that holds SQLite's write lock for longer than we wait is waited out by the caller."""
    url = database_url("sqlite", request, tmp_path)
    async with sql_catalog(url) as catalog, sql_catalog(url) as other:
        async with catalog._engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout = 100")
        async with other.transaction() as tx:
            await lock_image(tx, "k")
            with pytest.raises(CatalogOutage, match="locked"):
                await add_image(catalog, "k")
        await add_image(catalog, "k")


async def _fill(catalog: SqlCatalog) -> None:
    for number in range(200):
        await add_image(catalog, f"{number:04}" * 200)


@pytest.mark.parametrize(
    ("pragma", "complaint"), [("max_page_count = 1", "full"), ("query_only = ON", "readonly")], ids=["full", "readonly"]
)
async def test_a_full_disk_and_a_read_only_file_are_outages_on_sqlite(
    request: pytest.FixtureRequest, tmp_path: Path, pragma: str, complaint: str
) -> None:
    """Likewise on SQLite, whose pragmas can bring both about."""
    async with sql_catalog(database_url("sqlite", request, tmp_path), pool_size=1) as catalog:
        async with catalog._engine.connect() as connection:
            await connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(CatalogOutage, match=complaint):
            await _fill(catalog)
        async with catalog._engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA query_only = OFF")
            await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
