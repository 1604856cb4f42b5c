"""What the SQL catalog asks of the database: how many statements, and how many rows they read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event, text

from schemas.records import ContentRecord, ContentState, Neighbour
from schemas.tables import requests
from stores.catalog import statements
from stores.catalog.requests import SqlRequestLedger
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import (
    BUCKET,
    NOW,
    SQL_BACKENDS,
    add_image,
    content_id,
    database_url,
    image_of,
    lock_image,
    placeholder,
    sql_catalog,
)

SERVERS = [backend for backend in SQL_BACKENDS if backend != "sqlite"]


@pytest_asyncio.fixture(params=SQL_BACKENDS)
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlCatalog]:
    """An empty catalog that uses one connection, as its calls come one after the other, and has used it before."""
    async with sql_catalog(database_url(request.param, request, tmp_path), pool_size=1) as opened:
        await image_of(opened, "k")
        yield opened


class _Counted:
    """How many statements were sent."""

    statements = 0


@asynccontextmanager
async def _counting(catalog: SqlCatalog) -> AsyncIterator[_Counted]:
    """Count what is sent to the database within the block."""
    counted = _Counted()
    engine = catalog._engine.sync_engine

    def count(*_: object) -> None:
        counted.statements += 1

    event.listen(engine, "before_cursor_execute", count)
    yield counted
    event.remove(engine, "before_cursor_execute", count)


async def _status(catalog: SqlCatalog, like: str) -> int:
    """The sum of the connection's own counters with such a name."""
    rows = await catalog.rows(text("SHOW SESSION STATUS LIKE :name"), {"name": like})
    return sum(int(value) for _, value in rows)


async def _asked_of_the_server(catalog: SqlCatalog, like: str, before: int, noise: int) -> int:
    """By how much a counter has risen, beyond what it takes to read it."""
    return await _status(catalog, like) - before - noise


def _fresh_contents(number: int) -> list[ContentRecord]:
    return [ContentRecord(BUCKET, f"{each:064x}", vector_id=each, created_at=NOW) for each in range(number)]


async def _create_and_save(catalog: SqlCatalog, number: int) -> None:
    """What a batch of new objects needs at least."""
    images = [placeholder(f"k{each}") for each in range(number)]
    contents = _fresh_contents(number)
    async with catalog.transaction() as tx:
        locked = await tx.lock_images([image.id for image in images], create=images)
        rows = await tx.lock_contents([row.id for row in contents], create=contents)
        near = (Neighbour("a" * 64, 99.5),)
        described: dict[str, Any] = {"etag": "e", "metadata": {"name": "50 % 'ü' %s"}}
        await tx.save_images(
            [
                replace(locked[image.id], sha256=row.sha256, **described)
                for image, row in zip(images, contents, strict=True)
            ]
        )
        await tx.save_contents([replace(row, state=ContentState.INDEXED, nearest=near) for row in rows.values()])


@pytest.mark.parametrize("number", [1, 64])
async def test_a_batch_takes_nine_statements_whatever_its_size(catalog: SqlCatalog, number: int) -> None:
    """BEGIN, two to lock new images, three to lock new contents, one to save either, COMMIT; reading takes one."""
    async with _counting(catalog) as sent:
        await _create_and_save(catalog, number)
    assert sent.statements == 9
    images = [placeholder(f"k{each}") for each in range(number)]
    contents = _fresh_contents(number)
    async with _counting(catalog) as sent:
        assert len(await catalog.images([image.ref for image in images])) == number
        assert len(await catalog.contents([row.id for row in contents])) == number
        assert len(await catalog.contents_by_vector([row.vector_id for row in contents])) == number
    assert sent.statements == 3


async def test_known_rows_take_one_statement_a_method(catalog: SqlCatalog) -> None:
    """A batch of rows that are there is locked, looked into and deleted with a statement each."""
    await _create_and_save(catalog, 32)
    contents = _fresh_contents(32)
    ids = [row.id for row in contents]
    images = await catalog.images([placeholder(f"k{each}").ref for each in range(32)])
    image_ids = [image.id for image in images.values()]
    async with catalog.transaction() as tx, _counting(catalog) as sent:
        await tx.lock_images(image_ids)
        await tx.lock_contents(ids)
        await tx.contents(ids)
        assert len(await tx.oldest_references(ids)) == 32
        assert len(await tx.unpublished_references(dict.fromkeys(ids, "indexed"), limit=99)) == 32
        assert len(await tx.carried_vectors(range(32))) == 32
        await tx.delete_images(image_ids)
        await tx.delete_contents(ids)
    assert sent.statements == 8


@pytest.mark.parametrize("catalog", SERVERS, indirect=True)
async def test_the_server_is_asked_no_more_than_that(catalog: SqlCatalog) -> None:
    """Many rows are one question, nothing is rolled back after a read, and no warning has to be fetched."""
    before = await _status(catalog, "Questions")
    noise = await _status(catalog, "Questions") - before
    before = await _status(catalog, "Questions")
    await _create_and_save(catalog, 32)
    assert await _asked_of_the_server(catalog, "Questions", before, noise) == 9
    before = await _status(catalog, "Questions")
    for _ in range(5):
        await image_of(catalog, "k1")
    assert await _asked_of_the_server(catalog, "Questions", before, noise) == 5


async def _make_popular(catalog: SqlCatalog, letter: str, number: int) -> None:
    await add_image(catalog, "first", letter)
    async with catalog.transaction() as tx:
        locked = await tx.lock_images([], create=[placeholder(f"copy {each}") for each in range(number - 1)])
        await tx.save_images([replace(image, sha256=letter * 64) for image in locked.values()])


@pytest.mark.parametrize("catalog", SERVERS, indirect=True)
async def test_the_oldest_images_of_a_popular_content_are_found_at_once(catalog: SqlCatalog) -> None:
    """No more rows are read than are returned, though 2,000 images refer to the content."""
    await add_image(catalog, "other", "b")
    await _make_popular(catalog, "a", 2000)
    ids = [content_id(letter) for letter in "abc"]
    before = await _status(catalog, "Handler_read%")
    noise = await _status(catalog, "Handler_read%") - before
    before = await _status(catalog, "Handler_read%")
    async with catalog.transaction() as tx:
        found = await tx.oldest_references(ids, limit=3)
    assert {each.sha256[0]: len(own) for each, own in found.items()} == {"a": 3, "b": 1}
    assert found[ids[0]][0].key == "first"
    # Of each content the place in the index, and what follows there: of "b" and "c" one row that is not theirs.
    assert await _asked_of_the_server(catalog, "Handler_read%", before, noise) <= len(ids) + 4


@pytest.mark.parametrize("catalog", SERVERS, indirect=True)
async def test_old_requests_are_found_by_the_index(catalog: SqlCatalog) -> None:
    """Of 1,000 concluded requests only those are read that are old enough to be dropped."""
    ledger = SqlRequestLedger(catalog)
    rows = [
        {"request_id": f"r-{number}", "outcome": "stored", "occurred_at": NOW + timedelta(seconds=number)}
        for number in range(1000)
    ]
    async with catalog.transaction() as tx:
        await tx.insert_missing(requests, [{**row, "created_at": NOW} for row in rows])
    before = await _status(catalog, "Handler_read%")
    noise = await _status(catalog, "Handler_read%") - before
    before = await _status(catalog, "Handler_read%")
    assert await ledger.drop_concluded(NOW + timedelta(seconds=5), limit=10) == 5
    assert await _asked_of_the_server(catalog, "Handler_read%", before, noise) <= 20


async def test_sqlite_finds_the_oldest_images_by_the_index(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its plan sorts nothing and scans no table."""
    query, parameters = statements.oldest_references([content_id("a"), content_id("b")], 3, on_sqlite=True)
    async with (
        sql_catalog(database_url("sqlite", request, tmp_path)) as catalog,
        catalog._engine.connect() as connection,
    ):
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)).all()
    steps = [detail for *_, detail in plan]
    assert sum("ix_images_content (bucket=? AND content_sha256=?)" in step for step in steps) == 2
    assert not any("B-TREE" in step or "SCAN images" in step for step in steps)


async def test_saving_draws_no_numbers(catalog: SqlCatalog) -> None:
    """However often images are saved, the next new one has the next number."""
    async with catalog.transaction() as tx:
        images = [await lock_image(tx, "k"), await lock_image(tx, "l")]
        for size in range(20):
            await tx.save_images([replace(image, size=size) for image in images])
        fresh = await lock_image(tx, "m")
    assert fresh.seq == images[1].seq + 1
