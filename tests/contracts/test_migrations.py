"""The migrations make exactly the tables that the code expects, on SQLite, MariaDB and MySQL, whoever else is at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import Connection, inspect, text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import JSON

from schemas.errors import CatalogOutage, ConfigurationError
from schemas.migrations import NEWEST
from schemas.records import ObjectRef, Reason
from schemas.settings import DatabaseSettings
from schemas.tables import metadata
from stores.catalog.engine import create_engine
from stores.catalog.migrate import alembic_config, upgrade
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.revision import current_is_newest
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import SQL_BACKENDS, empty_database


@pytest.fixture(params=SQL_BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return empty_database(request.param, request, tmp_path)


@pytest_asyncio.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on it."""
    made = create_engine(DatabaseSettings(url=SecretStr(url)), may_create=True)
    yield made
    await made.dispose()


def _compare_type(_context: Any, _inspected: Any, column: Any, inspected_type: Any, _type: Any) -> bool | None:
    """MariaDB keeps JSON as LONGTEXT."""
    return False if isinstance(column.type, JSON) and isinstance(inspected_type, mysql.LONGTEXT) else None


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": _compare_type})
    return list(compare_metadata(context, metadata))


async def test_an_empty_database_gets_the_tables_of_the_code(url: str, engine: AsyncEngine) -> None:
    """After the migrations Alembic finds no difference between the database and ``schemas.tables``."""
    assert not await current_is_newest(engine)
    await upgrade(url)
    assert await current_is_newest(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_upgrading_again_changes_nothing(url: str, engine: AsyncEngine) -> None:
    """A second setup leaves the rows alone."""
    await upgrade(url)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO progress VALUES ('job', '1', '2026-01-01 00:00:00.000000')"))
    await upgrade(url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT COUNT(*) FROM progress")) == 1


async def test_setups_at_the_same_time_wait_for_each_other(url: str, engine: AsyncEngine) -> None:
    """Several hosts may run the setup at once."""
    await asyncio.gather(*[upgrade(url) for _ in range(4)])
    assert await current_is_newest(engine)


async def test_a_setup_that_died_half_way_is_finished(url: str, engine: AsyncEngine) -> None:
    """MySQL commits after each statement: what is there already is kept, what is missing is added."""
    await upgrade(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE images"))
        await connection.execute(text("DROP TABLE progress"))
        await connection.execute(text("DROP TABLE alembic_version"))
        on = " ON contents" if connection.dialect.name == "mysql" else ""
        await connection.execute(text(f"DROP INDEX ix_contents_state{on}"))
    await upgrade(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_a_catalog_without_its_schema_is_not_ready(url: str) -> None:
    """The check says what to do, as something that may be waited for: the setup may be on its way."""
    catalog = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(url))))
    with pytest.raises(CatalogOutage, match="twinlens setup"):
        await catalog.check()
    await upgrade(url)
    await catalog.check()
    await catalog.close()


async def test_a_database_of_a_newer_version_is_left_alone(url: str, engine: AsyncEngine) -> None:
    """A revision that this version does not know is neither current nor upgraded."""
    await upgrade(url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not await current_is_newest(engine)
    with pytest.raises(ConfigurationError, match="9999") as refused:
        await upgrade(url)
    assert isinstance(refused.value.__cause__, CommandError)


async def _run(engine: AsyncEngine, step: Callable[[Config, str], None], revision: str) -> None:
    """Run Alembic's upgrade or downgrade to a revision."""
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: step(alembic_config(sync), revision))


async def test_rows_of_the_first_release_are_kept(url: str, engine: AsyncEngine) -> None:
    """An upgrade leaves the rows as they are, and counts them; so does the way back."""
    await _run(engine, command.upgrade, "0001")
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO images (id, bucket, object_key, etag, size, content_type, metadata, reason, version,"
                " published_version, created_at, updated_at) VALUES (:id, 'pictures', :key, 'e', 7, 'image/png', '{}',"
                " 'too_many_bytes: 9', 3, 2, '2026-01-01 00:00:00.000001', '2026-01-01 00:00:00.000002')"
            ),
            {"id": ObjectRef("pictures", "ü").image_id, "key": "ü".encode()},
        )
    await upgrade(url)
    assert await current_is_newest(engine)
    catalog = SqlCatalog(engine)
    image = (await catalog.images([ObjectRef("pictures", "ü")]))[ObjectRef("pictures", "ü")]
    assert (image.size, image.reason, image.version, image.sequencer) == (7, Reason("too_many_bytes", "9"), 3, None)
    reader = SqlCatalogReader(engine)
    assert (await reader.statistics("pictures")).rejected == 1
    assert await reader.rejections(None) == {"too_many_bytes": 1}
    async with catalog.transaction() as tx:
        await tx.lock_images([image.id])
        await tx.save_images([replace(image, sequencer="1856FB8E5A1B2C3D", version=4)])
    await _run(engine, command.downgrade, "0001")
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT * FROM images"))).mappings().all()
    assert [(row["size"], row["version"], "sequencer" in row) for row in rows] == [(7, 4, False)]


async def test_the_migrations_can_be_taken_back(url: str, engine: AsyncEngine) -> None:
    """The downgrade of the first migration leaves nothing but Alembic's own table."""
    await upgrade(url)
    await _run(engine, command.downgrade, "base")
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["alembic_version"]


def test_there_is_one_newest_revision() -> None:
    """Two heads would leave it open which schema is the current one; workers know it without Alembic."""
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [NEWEST]
