"""Kept figures agree with what is there, whatever happened, and whoever adds them up meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import delete, insert, select, update

from schemas import tables
from schemas.lifecycle import listed_state
from schemas.records import ContentId, ContentState, ImageState, Reason
from schemas.tables import count_changes, counts
from stores.catalog.figures import FOLDED_AT_ONCE, MINUTES_KEPT, FigureKind
from stores.catalog.reading.ports import ImageFilter, ImageOrder, Statistics
from stores.catalog.reading.sql import SqlCatalogReader
from stores.catalog.sql import SqlCatalog
from tests.harness.catalogs import (
    BUCKET,
    NOW,
    SQL_BACKENDS,
    add_content,
    add_image,
    content_id,
    database_url,
    sql_catalog,
)
from tests.harness.stepping import Stepped

PICTURES = [b"picture %d" % number for number in range(6)]


@pytest_asyncio.fixture(params=SQL_BACKENDS)
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlCatalog]:
    """An empty catalog."""
    async with sql_catalog(database_url(request.param, request, tmp_path)) as catalog:
        yield catalog


async def _kept(catalog: SqlCatalog) -> tuple[Statistics, dict[str, int]]:
    reader = SqlCatalogReader(catalog._engine)
    return await reader.statistics(BUCKET), await reader.rejections(BUCKET)


async def _objects(catalog: SqlCatalog) -> dict[ContentId, int]:
    """How many objects each content has, as it is kept."""
    names = (tables.contents.c.bucket, tables.contents.c.sha256)
    rows = await catalog.rows(select(*names, tables.contents.c.objects))
    return {ContentId(bucket, sha256): objects for bucket, sha256, objects in rows}


async def _assert_right(catalog: SqlCatalog) -> None:
    """The kept figures are what the rows say."""
    images = await catalog.page_of_images(BUCKET, prefix="", after="", limit=1000)
    contents = await catalog.page_of_contents(BUCKET, after="", limit=1000)
    states = [listed_state(image)[0] for image in images]
    kept, rejections = await _kept(catalog)
    assert (kept.objects, kept.bytes) == (len(images), sum(image.size for image in images))
    assert (kept.pending, kept.indexed, kept.rejected) == tuple(
        states.count(state) for state in (ImageState.PENDING, ImageState.INDEXED, ImageState.REJECTED)
    )
    assert kept.contents == sum(row.state is not ContentState.DELETING for row in contents)
    assert sum(rejections.values()) == kept.rejected
    referred = Counter(image.content_id for image in images if image.content_id)
    assert await _objects(catalog) == {row.id: referred[row.id] for row in contents}
    reader = SqlCatalogReader(catalog._engine)
    for state in ImageState:
        assert len(
            await reader.page(ImageFilter(BUCKET, state=state), order=ImageOrder.OLDEST, after=None, limit=1000)
        ) == (await reader.count(ImageFilter(BUCKET, state=state)))


@pytest.mark.parametrize("seed", range(3))
async def test_figures_follow_every_change(catalog: SqlCatalog, seed: int) -> None:
    """Puts, overwrites and deletes through the real handlers, seen at any moment and at rest."""
    twinlens, chance = Stepped(catalog), random.Random(seed)
    for _ in range(40):
        key = f"k{chance.randrange(8)}"
        if chance.random() < 0.3 and key in twinlens.objects.present(BUCKET):
            twinlens.delete(key)
        else:
            twinlens.put(key, chance.choice([*PICTURES, b""]))
        if chance.random() < 0.7:
            await twinlens.ingest(key)
        if chance.random() < 0.3:
            await twinlens.work()
        if chance.random() < 0.2:
            await catalog.fold_figures(NOW)
        await _assert_right(catalog)
    for number in range(8):
        await twinlens.ingest(f"k{number}")
    await twinlens.come_to_rest()
    await _assert_right(catalog)
    before = await _kept(catalog)
    while await catalog.fold_figures(NOW):
        pass
    assert await _kept(catalog) == before
    assert await catalog.rows(select(count_changes)) == []


async def test_a_rolled_back_transaction_changes_no_figure(catalog: SqlCatalog) -> None:
    """Figures are written in the transaction that they are about."""
    image = await add_image(catalog, "k", "a", size=5)

    async def fail() -> None:
        async with catalog.transaction() as tx:
            [locked] = (await tx.lock_images([image.id])).values()
            await tx.save_images([replace(locked, size=7)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await _kept(catalog))[0].bytes == 5


async def test_a_recount_mends_figures_while_others_write_and_fold(catalog: SqlCatalog) -> None:
    """Wrong figures are right after a recount; what is committed meanwhile is counted once."""
    for number in range(30):
        await add_image(catalog, f"k{number}", reason=Reason("empty", "it is") if number % 3 else None, size=1)
    await add_content(catalog, "a", version=1)
    for number in range(3):
        await add_image(catalog, f"shared{number}", "a", size=1)
    async with catalog.transaction() as tx:
        await tx.write(update(tables.contents).values(objects=9))
        await tx.write(delete(count_changes))
        await tx.write(
            insert(counts), [{"kind": "images", "bucket": BUCKET, "label": "indexed", "number": 7, "bytes": 9}]
        )

    async def others() -> None:
        for number in range(30, 60):
            await add_image(catalog, f"k{number}", reason=Reason("too_large"), size=1)
            await add_image(catalog, f"shared{number}", "a", size=1)
            await catalog.fold_figures(NOW)

    await asyncio.gather(others(), *[catalog.recount() for _ in range(3)])
    await _assert_right(catalog)
    assert (await _kept(catalog))[1] == {"too_large": 30, "empty": 20}


async def test_minutes_are_kept_and_forgotten(catalog: SqlCatalog) -> None:
    """Contents are counted in the minute in which they were indexed, also after they are gone; for some days."""
    await add_content(catalog, "a", state=ContentState.INDEXED, indexed_at=NOW, version=1)
    async with catalog.transaction() as tx:
        await tx.lock_contents([content_id("a")])
        await tx.delete_contents([content_id("a")])
    reader = SqlCatalogReader(catalog._engine)
    minute = NOW.replace(second=0, microsecond=0)
    for _ in range(2):
        assert await reader.indexed_per_minute(minute, BUCKET) == {minute: 1}
        await catalog.fold_figures(NOW)
    await catalog.fold_figures(NOW + 2 * MINUTES_KEPT)
    assert await reader.indexed_per_minute(minute, None) == {}


async def test_a_long_log_of_changes_is_folded_in_parts(catalog: SqlCatalog) -> None:
    """At most so many rows at once, the rest the next time."""
    change = {"kind": str(FigureKind.IMAGES), "bucket": BUCKET, "label": "indexed", "number": 1, "bytes": 2}
    async with catalog.transaction() as tx:
        await tx.write(insert(count_changes), [change] * (FOLDED_AT_ONCE + 1))
    assert [await catalog.fold_figures(NOW) for _ in range(3)] == [FOLDED_AT_ONCE, 1, 0]
    kept, _ = await _kept(catalog)
    assert (kept.indexed, kept.bytes) == (FOLDED_AT_ONCE + 1, 2 * (FOLDED_AT_ONCE + 1))
