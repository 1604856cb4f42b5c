"""The switch of models in every catalog: one row that workers rely on while they record what they did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.errors import ModelsChanged
from schemas.model_switch import ModelSwitch, ServedModel, SwitchState, begin, new_model, plan, swap
from schemas.records import ContentState, Neighbour
from stores.catalog.ports import Catalog
from tests.harness.catalogs import BACKENDS, BUCKET, NOW, add_content, content, content_id, open_catalog

OLD = ServedModel("old@1", "old", "twinlens_old", "old@1")
NEW = new_model("new@2", "models/new.yaml", "twinlens_new", "0badcafe")


@pytest_asyncio.fixture(params=BACKENDS)
async def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Catalog]:
    """An empty catalog."""
    async with open_catalog(request.param, request, tmp_path) as opened:
        yield opened


async def _begin(catalog: Catalog) -> ModelSwitch:
    async with catalog.transaction() as tx:
        begun = begin(plan(await tx.lock_switch(), NEW, NOW), OLD, NEW, NOW)
        await tx.save_switch(begun)
    return begun


async def test_at_first_no_switch_is_on(catalog: Catalog) -> None:
    """A catalog begins with a switch that is idle, of version 0."""
    assert replace(await catalog.switch(), changed_at=None) == ModelSwitch()
    async with catalog.transaction() as tx:
        tx.expect_switch(0)


async def test_a_switch_is_kept_as_it_was_saved(catalog: Catalog) -> None:
    """Both models, the state, the version and the time come back; what a failed transaction saved does not."""
    begun = await _begin(catalog)
    assert await catalog.switch() == begun
    assert (begun.version, begun.state) == (1, SwitchState.BUILDING)

    async def fail() -> None:
        async with catalog.transaction() as tx:
            await tx.save_switch(swap(await tx.lock_switch(), NOW))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await catalog.switch() == begun


@pytest.mark.parametrize("counts", [False, True])
async def test_nothing_is_committed_by_what_held_before(catalog: Catalog, counts: bool) -> None:
    """A transaction that expects a version fails if another was committed before, with or without figures to write."""
    await add_content(catalog, "a", state=ContentState.PENDING, version=1)
    begun = await _begin(catalog)

    async def index(expected: int) -> None:
        async with catalog.transaction() as tx:
            tx.expect_switch(expected)
            row = (await tx.lock_contents([content_id("a")]))[content_id("a")]
            state = ContentState.INDEXED if counts else row.state
            await tx.save_contents([replace(row, state=state, indexed_at=NOW, version=2)])

    with pytest.raises(ModelsChanged):
        await index(begun.version - 1)
    assert (await catalog.contents([content_id("a")]))[content_id("a")].version == 1
    await index(begun.version)
    assert (await catalog.contents([content_id("a")]))[content_id("a")].version == 2


async def test_a_change_while_a_transaction_is_open_is_found_at_its_end(catalog: Catalog) -> None:
    """What a transaction expects is looked at when it commits, not when it begins."""
    if getattr(catalog, "_on_sqlite", False):
        # SQLite has one writer: nobody could change it meanwhile.
        return

    async def overtaken() -> None:
        async with catalog.transaction() as tx:
            tx.expect_switch(0)
            await tx.lock_contents([], create=[content("a")])
            await _begin(catalog)

    with pytest.raises(ModelsChanged):
        await overtaken()
    assert await catalog.contents([content_id("a")]) == {}


async def test_a_change_waits_for_who_is_about_to_commit(catalog: Catalog) -> None:
    """Two changes at once are made one after the other, and each sees what the other has made."""

    async def change(which: int) -> int:
        async with catalog.transaction() as tx:
            switch = await tx.lock_switch()
            await tx.save_switch(replace(switch, version=switch.version + 1))
        return which

    await asyncio.gather(*[change(which) for which in range(5)])
    assert (await catalog.switch()).version == 5


async def test_a_content_remembers_both_models(catalog: Catalog) -> None:
    """The other model of a content, and the thresholds of its neighbours' scores, come back as they were saved."""
    nearest = (Neighbour("b" * 64, 81.5, 69.0), Neighbour("c" * 64, 40.0))
    added = await add_content(
        catalog, "a", state=ContentState.INDEXED, model="old@1", other_model="new@2#0badcafe", nearest=nearest
    )
    assert (await catalog.contents([content_id("a")]))[content_id("a")] == added
    assert (added.other_model, added.nearest) == ("new@2#0badcafe", nearest)


async def test_contents_are_counted(catalog: Catalog) -> None:
    """The number of a bucket's contents without those that are being deleted."""
    for letter, state in zip("abcd", ContentState, strict=True):
        await add_content(catalog, letter, state=state, version=1)
    assert await catalog.count_contents(BUCKET) == 3
    assert await catalog.count_contents("other") == 0
