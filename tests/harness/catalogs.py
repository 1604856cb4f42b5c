"""Catalogs to test on: in memory, on SQLite, MariaDB and MySQL, each with an empty schema; and rows for them."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from schemas.lifecycle import new_content, new_image, published_state
from schemas.model_switch import ModelSwitch
from schemas.records import ContentId, ContentRecord, ContentState, ImageRecord, ObjectRef
from schemas.settings import DatabaseSettings
from schemas.tables import metadata, model_switch
from stores.catalog.engine import create_engine
from stores.catalog.memory import MemoryCatalog
from stores.catalog.migrate import upgrade
from stores.catalog.ports import Catalog, CatalogTransaction
from stores.catalog.sql import SqlCatalog
from tests.harness.stack.cleanup import in_own_loop
from tests.harness.stack.fixtures import Servers, made_database
from tests.harness.stack.stack import DATABASES, DatabaseName

BUCKET = "pictures"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SQL_BACKENDS = ("sqlite", *DATABASES)
BACKENDS = ("memory", *SQL_BACKENDS)


def empty_database(backend: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a database without a schema."""
    if backend == "sqlite":
        return f"sqlite+aiosqlite:///{folder / 'catalog.db'}"
    return str(request.getfixturevalue(f"{backend}_url"))


def database_url(backend: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a database that has its schema and no rows."""
    if backend in DATABASES:
        return str(request.getfixturevalue(f"{backend}_catalog"))
    path = folder / "catalog.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def mariadb_catalog(servers: Servers) -> Iterator[str]:
    """The URL of a MariaDB database with the schema, for the whole run: making one takes longer than most tests."""
    yield from _database_with_schema(servers, "mariadb")


@pytest.fixture(scope="session")
def mysql_catalog(servers: Servers) -> Iterator[str]:
    """The same on MySQL."""
    yield from _database_with_schema(servers, "mysql")


def _database_with_schema(servers: Servers, server: DatabaseName) -> Iterator[str]:
    with made_database(servers, server, f"t{secrets.token_hex(6)}") as url:
        in_own_loop(upgrade(url))
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("catalog") / "template.db"
    in_own_loop(upgrade(f"sqlite+aiosqlite:///{path}"))
    return path


@asynccontextmanager
async def sql_catalog(url: str, *, pool_size: int = 10) -> AsyncIterator[SqlCatalog]:
    """A catalog on a database that has its schema; its rows are deleted in the end."""
    catalog = SqlCatalog(create_engine(DatabaseSettings(url=SecretStr(url), pool_size=pool_size)))
    try:
        yield catalog
    finally:
        async with catalog.transaction() as tx:
            for table in reversed(metadata.sorted_tables):
                if table is not model_switch:
                    await tx.connection.execute(delete(table))
            await tx.save_switch(ModelSwitch())
        await catalog.close()


@asynccontextmanager
async def open_catalog(backend: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Catalog]:
    """An empty catalog."""
    if backend == "memory":
        yield MemoryCatalog()
    else:
        async with sql_catalog(database_url(backend, request, folder)) as catalog:
            yield catalog


def ref(key: str) -> ObjectRef:
    """An object in the bucket of these tests."""
    return ObjectRef(BUCKET, key)


def content_id(letter: str) -> ContentId:
    """A content with a digest of one letter."""
    return ContentId(BUCKET, letter * 64)


def content(letter: str, **changes: Any) -> ContentRecord:
    """A pending content; its vector id follows from the letter."""
    return replace(ContentRecord(*content_id(letter), vector_id=ord(letter), created_at=NOW), **changes)


def placeholder(key: str) -> ImageRecord:
    """An image of which nothing was recorded yet."""
    return ImageRecord(ref(key).image_id, *ref(key), created_at=NOW, updated_at=NOW)


async def lock_image(tx: CatalogTransaction, key: str) -> ImageRecord:
    """Lock an image, after inserting a placeholder if there is none."""
    [image] = (await tx.lock_images([], create=[placeholder(key)])).values()
    return image


async def lock_content(tx: CatalogTransaction, letter: str, **changes: Any) -> ContentRecord:
    """Lock a content, after inserting it (with these changes) if there is none."""
    [row] = (await tx.lock_contents([], create=[content(letter, **changes)])).values()
    return row


async def image_of(catalog: Catalog, key: str) -> ImageRecord | None:
    """The image as last committed."""
    return (await catalog.images([ref(key)])).get(ref(key))


async def add_content(catalog: Catalog, letter: str, **changes: Any) -> ContentRecord:
    """Store a content."""
    async with catalog.transaction() as tx:
        stored = replace(await lock_content(tx, letter), **changes)
        await tx.save_contents([stored])
    return stored


async def add_image(catalog: Catalog, key: str, letter: str | None = None, **changes: Any) -> ImageRecord:
    """Store an image of an object that is there, and the content that it refers to."""
    async with catalog.transaction() as tx:
        locked = await lock_image(tx, key)
        if letter is not None:
            await lock_content(tx, letter)
        fields: dict[str, Any] = {"sha256": letter and letter * 64, "etag": "e", "last_modified": NOW, **changes}
        image = replace(placeholder(key), seq=locked.seq, **fields)
        await tx.save_images([image])
    return image


async def store_content(catalog: SqlCatalog, record: ContentRecord) -> None:
    """Store a content that the catalog does not have."""
    async with catalog.transaction() as tx:
        await tx.lock_contents([], create=[new_content(record.id, None, record.vector_id, NOW)])
        await tx.save_contents([record])


async def store_image(catalog: SqlCatalog, record: ImageRecord) -> None:
    """Store an image, in place of the one there may be, of which all that there is to say was published."""
    async with catalog.transaction() as tx:
        await tx.delete_images(list(await tx.lock_images([record.id])))
        [row] = (await tx.lock_images([], create=[new_image(record.ref, NOW)])).values()
        content_id = record.content_id
        content = (await tx.contents([content_id])).get(content_id) if content_id else None
        await tx.save_images([replace(record, seq=row.seq, published_state=published_state(record, content))])


PENDING, INDEXED, REJECTED, DELETING = ContentState
